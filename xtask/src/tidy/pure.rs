//! Pure crates take the world as arguments: no runtime, no clock, no sockets, no files.

use super::Finding;
use super::arrows::Table;
use super::graph::Graph;
use super::source::{Source, is_test_file};
use super::tree::Tree;

/// Direct dependencies and words of the pure crates, against the lists in `arrows.toml`.
pub(crate) fn check(table: &Table, graph: &Graph, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for arrow in graph.arrows() {
        let (room, name) = (arrow.from.room(), &arrow.to.name);
        if table.is_pure(room) && !arrow.for_tests && table.pure.crates.contains(name) {
            let what = format!("a pure crate depends on {name}");
            findings.push(Finding::new(&arrow.from.manifest(), 0, what));
        }
    }
    for (path, text) in tree.rust().filter(|(path, _)| !is_test_file(path)) {
        let room = path.strip_prefix("crates/").and_then(|rest| rest.split('/').next());
        if room.is_some_and(|room| table.is_pure(room)) {
            findings.extend(words(&table.pure.words, path, text));
        }
    }
    findings
}

fn words(words: &[String], path: &str, text: &str) -> Vec<Finding> {
    let source = Source::new(text);
    let tests = source.test_ranges();
    let outside_tests = |at: &usize| !tests.iter().any(|range| range.contains(at));
    words
        .iter()
        .flat_map(|word| source.words(word).map(move |at| (word, at)))
        .filter(|(_, at)| outside_tests(at))
        .map(|(word, at)| {
            Finding::new(path, source.line_of(at), format!("{word} in a pure crate: take it as an argument"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::arrows::tests::table;
    use crate::tidy::graph::fixture::graph;
    use crate::tidy::tree::Tree;

    #[test]
    fn a_runtime_or_a_clock_in_a_pure_crate_is_found() {
        let graph = graph(
            &[("catalog", "tokio@1.0.0", ""), ("dns", "tokio@1.0.0", "")],
            &[("tokio", "1.0.0", "MIT")],
        );
        let clock = "fn f() { Instant::now(); }\n#[cfg(test)]\nmod tests { fn g() { Instant::now(); } }";
        let tree = Tree::fixture(&[("crates/catalog/src/a.rs", clock), ("crates/dns/src/a.rs", clock)]);
        let found: Vec<String> = check(&table(), &graph, &tree).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("depends on tokio"));
        assert!(found[1].starts_with("crates/catalog/src/a.rs:1:"));
    }
}
