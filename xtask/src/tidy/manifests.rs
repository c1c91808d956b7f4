//! Every manifest takes its lints, version and licence from the workspace, and `cargo run` knows what to run.

use super::Finding;
use super::graph::Graph;
use super::tree::Tree;

/// Keys that a package inherits rather than repeats.
const INHERITED: [&str; 4] = ["version", "edition", "license", "publish"];

/// The one crate with lints of its own, since it alone may say `unsafe`.
const OWN_LINTS: &str = "crates/sys";

/// Checks `[package]` and `[lints]` of every package.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.packages().flat_map(|folder| check_one(tree, folder)).collect()
}

/// The first thing that a newcomer types is `cargo run`: it must not ask which of several programs is meant.
pub(crate) fn one_program(graph: &Graph) -> Vec<Finding> {
    match graph.runnable()[..] {
        ["portolan"] => Vec::new(),
        ref others => {
            let text =
                format!("`cargo run` should mean portolan alone, by default-members; it means {others:?}");
            vec![Finding::new("Cargo.toml", 0, text)]
        }
    }
}

fn check_one(tree: &Tree, folder: &str) -> Vec<Finding> {
    let path = format!("{folder}/Cargo.toml");
    let manifest: toml::Table = match tree.text(&path).unwrap_or_default().parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Finding::new(&path, 0, format!("not TOML: {error}"))],
    };
    let mut findings = Vec::new();
    for key in INHERITED {
        if !inherits(manifest.get("package").and_then(|package| package.get(key))) {
            findings.push(Finding::new(&path, 0, format!("[package] should say `{key}.workspace = true`")));
        }
    }
    let lints = manifest.get("lints");
    if folder == OWN_LINTS {
        if lints.is_none_or(|lints| inherits(Some(lints))) {
            findings.push(Finding::new(
                &path,
                0,
                "sys needs [lints] of its own: the workspace's forbid unsafe",
            ));
        }
    } else if !inherits(lints) {
        findings.push(Finding::new(&path, 0, "needs [lints] workspace = true"));
    }
    findings
}

fn inherits(value: Option<&toml::Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::{check, one_program};
    use crate::tidy::graph::fixture::graph;
    use crate::tidy::tree::Tree;

    const GOOD: &str = "[package]\nname = 'x'\nversion.workspace = true\nedition.workspace = true\n\
        license.workspace = true\npublish.workspace = true\n";

    #[test]
    fn cargo_run_means_one_program() {
        assert_eq!(one_program(&graph(&[("portolan", "log", "")], &[])), []);
        let found = one_program(&graph(&[("portolan", "log", ""), ("testing/sim", "log", "")], &[]));
        assert!(found[0].to_string().contains("testing/sim"), "{found:?}");
    }

    #[test]
    fn a_package_inherits() {
        let good = format!("{GOOD}[lints]\nworkspace = true\n");
        let own = format!("{GOOD}[lints.rust]\nunsafe_code = 'warn'\n");
        let tree = Tree::fixture(&[("crates/a/Cargo.toml", &good), ("crates/sys/Cargo.toml", &own)]);
        assert_eq!(check(&tree), []);
    }

    #[test]
    fn missing_lints_and_own_versions_are_found() {
        let own = GOOD.replace("version.workspace = true", "version = '1.0.0'");
        let swapped = format!("{GOOD}[lints]\nworkspace = true\n");
        let tree = Tree::fixture(&[("crates/a/Cargo.toml", &own), ("crates/sys/Cargo.toml", &swapped)]);
        let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("version.workspace"));
        assert!(found[1].contains("[lints] workspace"));
        assert!(found[2].contains("lints] of its own"));
    }
}
