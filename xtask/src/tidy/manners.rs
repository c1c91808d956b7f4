//! Small manners of source files.

use super::Finding;
use super::source::Source;
use super::tree::Tree;

/// Macros that say "not finished".
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Every crate's first file opens with `//!`: what it is, and what it deliberately leaves out.
pub(crate) fn headers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in tree.packages() {
        let places = [format!("{folder}/src/lib.rs"), format!("{folder}/src/main.rs")];
        let first = places.iter().find_map(|path| Some((path, tree.text(path)?)));
        match first {
            Some((_, text)) if text.starts_with("//!") => {}
            Some((path, _)) => findings.push(Finding::new(path, 1, "opens without a `//!` header")),
            None => findings.push(Finding::new(&places[0], 0, "a crate without lib.rs or main.rs")),
        }
    }
    findings
}

/// No macro that stands for work not done.
pub(crate) fn unfinished(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let source = Source::new(text);
        for name in UNFINISHED {
            for at in source.words(name).filter(|at| source.after(at + name.len()).starts_with('!')) {
                findings.push(Finding::new(
                    path,
                    source.line_of(at),
                    format!("{name}! is not finished work"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{headers, unfinished};
    use crate::tidy::tree::Tree;

    #[test]
    fn a_crate_introduces_itself() {
        let tree = Tree::fixture(&[
            ("crates/a/Cargo.toml", ""),
            ("crates/a/src/lib.rs", "//! A.\n"),
            ("crates/b/Cargo.toml", ""),
            ("crates/b/src/lib.rs", "use x;\n"),
        ]);
        assert_eq!(headers(&tree)[0].path, "crates/b/src/lib.rs");
        assert_eq!(headers(&tree).len(), 1);
    }

    #[test]
    fn unfinished_work_is_found_and_words_are_not() {
        let text = "// todo!()\nfn f() { let todo = 1; todo !(); }\n";
        let found = unfinished(&Tree::fixture(&[("a.rs", text)]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
    }
}
