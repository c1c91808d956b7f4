//! Files and functions that fit in a head, with a ratchet for those that do not yet.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;
use super::source::{Source, is_test_file};
use super::tree::Tree;

/// The file.
pub(crate) const PATH: &str = "xtask/ratchet.toml";

const FILE_LINES: usize = 600;
const TEST_FILE_LINES: usize = 900;
const FUNCTION_LINES: usize = 70;

/// What was let in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ratchet {
    tree: Budget,
    files: BTreeMap<String, Row>,
    functions: BTreeMap<String, Row>,
}

/// How many crates of others we carry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    pub(crate) all: usize,
    pub(crate) shipped: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    lines: usize,
    why: String,
}

impl Ratchet {
    pub(crate) fn read(tree: &Tree) -> Result<Self> {
        toml::from_str(tree.need(PATH)?).with_context(|| format!("read {PATH}"))
    }

    pub(crate) fn tree(&self) -> &Budget {
        &self.tree
    }
}

/// Rust files within their bound.
pub(crate) fn files(ratchet: &Ratchet, tree: &Tree) -> Vec<Finding> {
    let measured = tree.rust().map(|(path, text)| Measured {
        path: path.to_owned(),
        line: 0,
        key: path.to_owned(),
        lines: text.lines().count(),
        bound: if is_test_file(path) { TEST_FILE_LINES } else { FILE_LINES },
    });
    judge(&ratchet.files, measured.collect())
}

/// Functions within their bound.
pub(crate) fn functions(ratchet: &Ratchet, tree: &Tree) -> Vec<Finding> {
    let measured = tree.rust().flat_map(|(path, text)| {
        Source::new(text).functions().into_iter().map(move |function| Measured {
            path: path.to_owned(),
            line: function.line,
            key: format!("{path}::{}", function.name),
            lines: function.lines,
            bound: FUNCTION_LINES,
        })
    });
    judge(&ratchet.functions, measured.collect())
}

struct Measured {
    path: String,
    line: usize,
    key: String,
    lines: usize,
    bound: usize,
}

fn judge(rows: &BTreeMap<String, Row>, measured: Vec<Measured>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut longest: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &measured {
        let longest = longest.entry(&one.key).or_default();
        *longest = one.lines.max(*longest);
        let allowed = rows.get(&one.key).map_or(one.bound, |row| row.lines);
        if one.lines > allowed {
            let what = format!("{} lines, over {allowed}: split it", one.lines);
            findings.push(Finding::new(&one.path, one.line, what));
        }
    }
    for (key, row) in rows {
        let lines = longest.get(key.as_str()).copied().unwrap_or(0);
        if lines < row.lines {
            findings.push(Finding::new(
                PATH,
                0,
                format!("{key} is down to {lines} lines: lower or drop its row"),
            ));
        } else if row.why.is_empty() {
            findings.push(Finding::new(PATH, 0, format!("{key} needs a reason")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Ratchet, files, functions};
    use crate::tidy::tree::Tree;

    fn ratchet(rows: &str) -> Ratchet {
        toml::from_str(&format!("tree = {{ all = 0, shipped = 0 }}\n{rows}")).unwrap()
    }

    #[test]
    fn long_files_are_found_and_tests_may_be_longer() {
        let long = "\n".repeat(601);
        let tree = Tree::fixture(&[("crates/a/src/a.rs", &long), ("crates/a/tests/a.rs", &long)]);
        let found = files(&ratchet("files = {}\nfunctions = {}"), &tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "crates/a/src/a.rs");
    }

    #[test]
    fn a_row_lets_a_function_in_but_only_at_its_length() {
        let body = format!("fn f() {{\n{}}}\n", "\n".repeat(80));
        let tree = Tree::fixture(&[("a.rs", &body)]);
        let row = |lines: usize| {
            ratchet(&format!(
                "files = {{}}\nfunctions = {{ 'a.rs::f' = {{ lines = {lines}, why = 'old' }} }}"
            ))
        };
        assert_eq!(functions(&ratchet("files = {}\nfunctions = {}"), &tree).len(), 1);
        assert_eq!(functions(&row(82), &tree), []);
        assert!(functions(&row(81), &tree)[0].what.contains("over 81"));
        assert!(functions(&row(90), &tree)[0].what.contains("lower or drop"));
    }
}
