//! The files of the repository, as Git sees them: tracked, or new and not ignored.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Every file by its path from the root; text where it is text.
pub(crate) struct Tree {
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads the working tree, not the index: a rule should hold before a commit is made.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("run git ls-files")?;
        ensure!(
            listing.status.success(),
            "git ls-files: {}",
            String::from_utf8_lossy(&listing.stderr).trim()
        );
        let mut files = BTreeMap::new();
        for path in listing.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
            let path = String::from_utf8_lossy(path).into_owned();
            // A file that was removed and not yet staged is still listed.
            let Ok(bytes) = std::fs::read(root.join(&path)) else { continue };
            files.insert(path, String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')));
        }
        Ok(Tree { files })
    }

    #[cfg(test)]
    pub(crate) fn fixture(files: &[(&str, &str)]) -> Self {
        Tree { files: files.iter().map(|(path, text)| ((*path).into(), Some((*text).into()))).collect() }
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether a file or a folder of that name exists.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.files.contains_key(path)
            || self.files.range(folder.clone()..).next().is_some_and(|(found, _)| found.starts_with(&folder))
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    pub(crate) fn need(&self, path: &str) -> Result<&str> {
        self.text(path).with_context(|| format!("read {path}"))
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// Rust files of our own, the fuzz targets included.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| path.ends_with(".rs"))
    }

    /// Folders that hold a package of the workspace: `crates/log`, `testing/sim`, `xtask`.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &str> {
        self.paths()
            .filter_map(|path| path.strip_suffix("/Cargo.toml"))
            .filter(|folder| ["crates/", "testing/", "xtask"].iter().any(|place| folder.starts_with(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[test]
    fn a_folder_exists_when_a_file_is_in_it() {
        let tree = Tree::fixture(&[("docs/a.md", ""), ("docs-old", "")]);
        assert!(tree.exists("docs"));
        assert!(tree.exists("docs/a.md"));
        assert!(!tree.exists("doc"));
    }

    #[test]
    fn packages_are_the_folders_with_a_manifest() {
        let tree =
            Tree::fixture(&[("crates/log/Cargo.toml", ""), ("fuzz/Cargo.toml", ""), ("Cargo.toml", "")]);
        assert_eq!(tree.packages().collect::<Vec<_>>(), ["crates/log"]);
    }
}
