//! House rules as code: `cargo xtask tidy`.
//!
//! Each rule is one function over a [`Tree`] (the files) or a [`Graph`] (what Cargo resolved) and returns
//! findings; each is tested on a fixture that breaks it. What a rule allows stands in a file that a
//! reviewer can read: `arrows.toml`, `ratchet.toml` and `words.toml` beside this crate, `deny.toml` at the root.

mod arrows;
mod dependencies;
mod documents;
mod graph;
mod length;
mod links;
mod manifests;
mod manners;
mod pure;
mod source;
mod tree;
mod unsafety;
mod words;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use graph::Graph;
use tree::Tree;

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// 1-based; 0 when the whole file is meant.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Finding { path: path.to_owned(), line, what: what.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Runs every rule and prints what it finds.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<ExitCode> {
    anyhow::ensure!(args.is_empty(), "tidy takes no arguments");
    let tree = Tree::read(root)?;
    let deny = dependencies::Deny::read(&tree)?;
    let graph = Graph::read(root, deny.targets())?;
    let mut findings = check(&tree, &graph, &deny)?;
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    let count = dependencies::count(&graph);
    println!(
        "tidy: {} files, {} crates of our own, {} of others ({} in the shipped binary), {} findings",
        tree.paths().count(),
        graph.members().count(),
        count.all,
        count.shipped,
        findings.len()
    );
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(tree: &Tree, graph: &Graph, deny: &dependencies::Deny) -> Result<Vec<Finding>> {
    let table = arrows::Table::read(tree)?;
    let ratchet = length::Ratchet::read(tree)?;
    let mut findings = Vec::new();
    findings.extend(arrows::check(&table, graph));
    findings.extend(pure::check(&table, graph, tree));
    findings.extend(manifests::check(tree));
    findings.extend(manifests::one_program(graph));
    findings.extend(unsafety::check(tree));
    findings.extend(dependencies::licences(deny, graph));
    findings.extend(dependencies::sources(deny, graph));
    findings.extend(dependencies::duplicates(deny, graph));
    findings.extend(dependencies::budget(ratchet.tree(), graph));
    findings.extend(length::files(&ratchet, tree));
    findings.extend(length::functions(&ratchet, tree));
    findings.extend(manners::headers(tree));
    findings.extend(manners::unfinished(tree));
    findings.extend(words::check(&words::List::read(tree)?, tree));
    findings.extend(links::check(tree));
    findings.extend(documents::every_crate_on_the_map(tree));
    findings.extend(documents::decisions(tree));
    Ok(findings)
}
