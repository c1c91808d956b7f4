//! `unsafe` stands in `crates/sys` alone, and each use says why it is sound.

use super::Finding;
use super::source::Source;
use super::tree::Tree;

/// How far above an `unsafe` its reason may begin.
const REACH: usize = 8;

/// Checks every Rust file.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let source = Source::new(text);
        let lines: Vec<&str> = text.lines().collect();
        for at in source.words("unsafe") {
            let line = source.line_of(at);
            if !path.starts_with("crates/sys/") {
                findings.push(Finding::new(path, line, "unsafe belongs in crates/sys, behind a small trait"));
            } else if !is_explained(&lines, line) {
                findings.push(Finding::new(path, line, "unsafe without a `// SAFETY:` line right above"));
            }
        }
    }
    findings
}

/// Looks upward from a line, as far as the paragraph goes, for the reason.
fn is_explained(lines: &[&str], line: usize) -> bool {
    let at = line - 1;
    let above = lines[..at].iter().rev().take(REACH).take_while(|line| !line.trim().is_empty());
    std::iter::once(&lines[at]).chain(above).any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::tree::Tree;

    #[test]
    fn unsafe_elsewhere_and_unexplained_are_found() {
        let tree = Tree::fixture(&[
            ("crates/dns/src/a.rs", "// unsafe here is only a word\nfn f() {\n    unsafe { g() }\n}\n"),
            ("crates/sys/src/good.rs", "// SAFETY: the pointer is ours\nlet x =\n    unsafe { g() };\n"),
            ("crates/sys/src/bad.rs", "// SAFETY: of another paragraph\n\nunsafe { g() }\n"),
        ]);
        let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("crates/dns/src/a.rs:3:"));
        assert!(found[1].starts_with("crates/sys/src/bad.rs:3:"));
    }
}
