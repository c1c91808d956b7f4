//! The files, where they are installed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::finish;

/// A directory laid out like the host's root.
pub(super) struct Tree {
    at: PathBuf,
}

/// Where completions are looked for: by Debian's packages of these shells.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/portolan"),
    ("zsh", "usr/share/zsh/vendor-completions/_portolan"),
    ("fish", "usr/share/fish/vendor_completions.d/portolan.fish"),
];
const DOCUMENTATION: &str = "usr/share/doc/portolan";

impl Tree {
    /// Fills `at` with everything but what only Debian reads.
    pub(super) fn fill(root: &Path, binary: &Path, at: &Path) -> Result<Tree> {
        let tree = Tree { at: at.to_owned() };
        let packaging = root.join("packaging");
        tree.copy(binary, "usr/bin/portolan", 0o755)?;
        tree.copy(&packaging.join("portolan.service"), "usr/lib/systemd/system/portolan.service", 0o644)?;
        tree.copy(&packaging.join("portolan.sysusers"), "usr/lib/sysusers.d/portolan.conf", 0o644)?;
        tree.copy(&packaging.join("portolan.toml"), "etc/portolan/portolan.toml", 0o644)?;
        tree.document(root)?;
        for (shell, to) in COMPLETIONS {
            let script = finish(Command::new(binary).args(["completions", shell]))?;
            tree.write(to, script.as_bytes(), 0o644)?;
        }
        tree.manual(binary)?;
        Ok(tree)
    }

    /// The same documents that stand in the repository, links between them included.
    fn document(&self, root: &Path) -> Result<()> {
        for (name, to) in
            [("README.md", "README.md"), ("CHANGELOG.md", "changelog"), ("LICENSE-MIT", "copyright")]
        {
            self.copy(&root.join(name), &format!("{DOCUMENTATION}/{to}"), 0o644)?;
        }
        self.copy(&root.join("LICENSE-APACHE"), &format!("{DOCUMENTATION}/LICENSE-APACHE"), 0o644)?;
        for path in files(&root.join("docs"))? {
            let name =
                path.file_name().and_then(|name| name.to_str()).context("a document with a plain name")?;
            self.copy(&path, &format!("{DOCUMENTATION}/{name}"), 0o644)?;
        }
        Ok(())
    }

    fn manual(&self, binary: &Path) -> Result<()> {
        let pages = self.path("usr/share/man/man1")?;
        finish(Command::new(binary).arg("man").arg("--out").arg(&pages))?;
        let written = files(&pages)?;
        finish(Command::new("gzip").args(["--best", "--no-name"]).args(&written))?;
        for page in files(&pages)? {
            mode(&page, 0o644)?;
        }
        Ok(())
    }

    pub(super) fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.write(to, &bytes, mode)
    }

    pub(super) fn write(&self, to: &str, bytes: &[u8], bits: u32) -> Result<()> {
        let path = self.path(to)?;
        fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        mode(&path, bits)
    }

    /// Its place below this tree, in a directory that there is.
    fn path(&self, to: &str) -> Result<PathBuf> {
        let path = self.at.join(to);
        let folder = path.parent().context("a path below the tree")?;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(path)
    }
}

fn mode(path: &Path, bits: u32) -> Result<()> {
    let changed = fs::set_permissions(path, fs::Permissions::from_mode(bits));
    changed.with_context(|| format!("change the mode of {}", path.display()))
}

/// The files of one directory, those below it left out.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = paths.with_context(|| format!("list {}", folder.display()))?;
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}
