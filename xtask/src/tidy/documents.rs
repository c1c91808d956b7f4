//! The map names every room, and every decision says what it cost.

use super::Finding;
use super::tree::Tree;

const MAP: &str = "ARCHITECTURE.md";
const DECISIONS: &str = "docs/decisions/";
const HEADINGS: [&str; 3] = ["## Context", "## Choice", "## Cost"];

/// Every package's folder stands on the map.
pub(crate) fn every_crate_on_the_map(tree: &Tree) -> Vec<Finding> {
    let map = tree.text(MAP).unwrap_or_default();
    tree.packages()
        .filter(|folder| !map.contains(&format!("`{folder}`")))
        .map(|folder| Finding::new(MAP, 0, format!("does not say what `{folder}` is")))
        .collect()
}

/// Decisions are numbered once each and have their three headings.
pub(crate) fn decisions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut last = "";
    for (path, text) in tree.texts().filter(|(path, _)| is_decision(path)) {
        let name = &path[DECISIONS.len()..];
        let (number, rest) = name.split_at_checked(4).unwrap_or((name, ""));
        if !number.bytes().all(|byte| byte.is_ascii_digit()) || !rest.starts_with('-') {
            findings.push(Finding::new(path, 0, "should be named NNNN-title.md"));
        } else if number == last {
            findings.push(Finding::new(path, 0, format!("number {number} is taken")));
        }
        last = number;
        for heading in HEADINGS.iter().filter(|heading| !text.lines().any(|line| line == **heading)) {
            findings.push(Finding::new(path, 0, format!("has no `{heading}`")));
        }
    }
    findings
}

/// Everything in the folder but the note on how to write one.
fn is_decision(path: &str) -> bool {
    path.starts_with(DECISIONS) && path.ends_with(".md") && !path.ends_with("/README.md")
}

#[cfg(test)]
mod tests {
    use super::{decisions, every_crate_on_the_map};
    use crate::tidy::tree::Tree;

    #[test]
    fn a_room_off_the_map_is_found() {
        let tree = Tree::fixture(&[
            ("ARCHITECTURE.md", "| `crates/a` | it |"),
            ("crates/a/Cargo.toml", ""),
            ("crates/b/Cargo.toml", ""),
        ]);
        let found = every_crate_on_the_map(&tree);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("crates/b"));
    }

    #[test]
    fn a_decision_has_its_parts_and_its_number() {
        let good = "# 1\n## Context\n## Choice\n## Cost\n";
        let tree = Tree::fixture(&[
            ("docs/decisions/0001-a.md", good),
            ("docs/decisions/0001-b.md", good),
            ("docs/decisions/0002-c.md", "## Context\n## Choice\n"),
            ("docs/decisions/notes.md", good),
            ("docs/decisions/README.md", "how to write one"),
        ]);
        let found: Vec<String> = decisions(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("0001 is taken") && found[1].contains("## Cost") && found[2].contains("NNNN")
        );
    }
}
