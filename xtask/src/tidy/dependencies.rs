//! What we take from others: licences, sources, duplicates, and how many there are. The allowances are in
//! `deny.toml`, in cargo-deny's own form, so that both tools say the same.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;
use super::graph::{Graph, Package};
use super::length;
use super::tree::Tree;

const PATH: &str = "deny.toml";

/// The parts of `deny.toml` that these rules read.
#[derive(Deserialize)]
pub(crate) struct Deny {
    graph: Targets,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Targets {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Skip {
    /// `name@1` or `name@0.3`.
    #[serde(rename = "crate")]
    spec: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

impl Deny {
    pub(crate) fn read(tree: &Tree) -> Result<Self> {
        toml::from_str(tree.need(PATH)?).with_context(|| format!("read {PATH}"))
    }

    /// Platforms whose trees are judged.
    pub(crate) fn targets(&self) -> &[String] {
        &self.graph.targets
    }
}

/// Every package's licence is allowed, or excepted by name.
pub(crate) fn licences(deny: &Deny, graph: &Graph) -> Vec<Finding> {
    let allowed = |package: &Package| {
        let Some(expression) = &package.license else { return false };
        let excepted = deny.licenses.exceptions.iter().filter(|exception| exception.name == package.name);
        let mut names: BTreeSet<&str> = deny.licenses.allow.iter().map(String::as_str).collect();
        names.extend(excepted.flat_map(|exception| exception.allow.iter().map(String::as_str)));
        satisfied(expression, &names)
    };
    let refused = graph.others().filter(|package| !allowed(package)).map(|package| {
        let licence = package.license.as_deref().unwrap_or("no licence given");
        Finding::new(PATH, 0, format!("{} {}: {licence} is not allowed", package.name, package.version))
    });
    let idle = deny
        .licenses
        .exceptions
        .iter()
        .filter(|exception| !graph.others().any(|package| package.name == exception.name));
    let idle = idle.map(|exception| Finding::new(PATH, 0, format!("{} is not in the tree", exception.name)));
    refused.chain(idle).collect()
}

/// Evaluates an SPDX expression. `AND` binds tighter than `OR`; the old slash means `OR`.
fn satisfied(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    either(&tokens, &mut at, allowed) && at == tokens.len()
}

fn either(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut met = both(tokens, at, allowed);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(tokens, at, allowed);
    }
    met
}

fn both(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut met = term(tokens, at, allowed);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        met &= term(tokens, at, allowed);
    }
    met
}

fn term(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let Some(token) = tokens.get(*at) else { return false };
    *at += 1;
    if *token == "(" {
        let met = either(tokens, at, allowed);
        *at += 1;
        return met;
    }
    if tokens.get(*at) == Some(&"WITH") {
        let name = format!("{token} WITH {}", tokens.get(*at + 1).unwrap_or(&""));
        *at += 2;
        return allowed.contains(name.as_str());
    }
    // "or a later version": the version that we allow is among them
    allowed.contains(token.trim_end_matches('+'))
}

/// Everything comes from a registry on the list, nothing from Git.
pub(crate) fn sources(deny: &Deny, graph: &Graph) -> Vec<Finding> {
    let known = |source: &str| {
        source
            .strip_prefix("registry+")
            .is_some_and(|url| deny.sources.allow_registry.iter().any(|one| one == url))
    };
    let from = |package: &Package| package.source.clone().unwrap_or_default();
    graph
        .others()
        .filter(|package| !known(&from(package)))
        .map(|package| {
            Finding::new("Cargo.lock", 0, format!("{} comes from {}", package.name, from(package)))
        })
        .collect()
}

/// One version of each crate, but for the pairs on the list; a row without a pair is a finding too.
pub(crate) fn duplicates(deny: &Deny, graph: &Graph) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in graph.others() {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let mut findings = Vec::new();
    for (name, versions) in &versions {
        let skipped =
            versions.iter().filter(|version| deny.bans.skip.iter().any(|skip| skip.covers(name, version)));
        if versions.len() - skipped.count() > 1 {
            let list = versions.iter().copied().collect::<Vec<_>>().join(", ");
            findings.push(Finding::new("Cargo.lock", 0, format!("{name} is there as {list}: agree on one")));
        }
    }
    for skip in &deny.bans.skip {
        let used = versions.iter().any(|(name, versions)| versions.iter().any(|one| skip.covers(name, one)));
        if !used || skip.reason.is_empty() {
            findings.push(Finding::new(PATH, 0, format!("skip of {} has no pair or no reason", skip.spec)));
        }
    }
    findings
}

impl Skip {
    fn covers(&self, name: &str, version: &str) -> bool {
        let Some((skipped, prefix)) = self.spec.split_once('@') else { return false };
        skipped == name && (version == prefix || version.starts_with(&format!("{prefix}.")))
    }
}

/// How many crates of others the tree holds.
pub(crate) struct Count {
    pub(crate) all: usize,
    pub(crate) shipped: usize,
}

pub(crate) fn count(graph: &Graph) -> Count {
    Count { all: graph.others().count(), shipped: graph.shipped_with("portolan") }
}

/// The tree stays within the budget of `ratchet.toml`.
pub(crate) fn budget(budget: &length::Budget, graph: &Graph) -> Vec<Finding> {
    let count = count(graph);
    [("the whole tree", count.all, budget.all), ("the shipped binary", count.shipped, budget.shipped)]
        .into_iter()
        .filter(|(_, found, allowed)| found > allowed)
        .map(|(what, found, allowed)| {
            let what = format!("{what} has {found} crates of others, over its budget of {allowed}");
            Finding::new(length::PATH, 0, what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Deny, budget, duplicates, licences, satisfied, sources};
    use crate::tidy::graph::fixture::graph;
    use crate::tidy::length::Budget;

    fn deny(skip: &str) -> Deny {
        let text = format!(
            "graph.targets = []\nlicenses.allow = ['MIT', 'Apache-2.0']\n\
             licenses.exceptions = [{{ crate = 'imbl', allow = ['MPL-2.0'] }}]\nbans.skip = [{skip}]\n\
             sources.allow-registry = ['https://github.com/rust-lang/crates.io-index']"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn expressions_follow_spdx() {
        let allowed = BTreeSet::from(["MIT", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]);
        assert!(satisfied("GPL-3.0 OR MIT", &allowed));
        assert!(satisfied("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
        assert!(satisfied("Apache-2.0 WITH LLVM-exception", &allowed));
        assert!(satisfied("Unlicense/MIT", &allowed));
        assert!(satisfied("MIT+", &allowed));
        assert!(!satisfied("MIT AND GPL-3.0", &allowed));
        assert!(!satisfied("Apache-2.0", &allowed));
        assert!(!satisfied("", &allowed));
    }

    #[test]
    fn a_licence_is_allowed_or_excepted_by_name() {
        let graph =
            graph(&[], &[("imbl", "7.0.0", "MPL-2.0"), ("b", "1.0.0", "MPL-2.0"), ("c", "1.0.0", "MIT")]);
        let found = licences(&deny(""), &graph);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.starts_with("b 1.0.0"));
        assert_eq!(sources(&deny(""), &graph), []);
    }

    #[test]
    fn a_second_version_needs_a_row_and_a_row_needs_a_second_version() {
        let two = graph(&[], &[("syn", "2.0.1", "MIT"), ("syn", "3.0.0", "MIT")]);
        assert_eq!(duplicates(&deny(""), &two).len(), 1);
        let skip = "{ crate = 'syn@2', reason = 'held by x' }";
        assert_eq!(duplicates(&deny(skip), &two), []);
        let one = graph(&[], &[("syn", "3.0.0", "MIT")]);
        assert_eq!(duplicates(&deny(skip), &one).len(), 1);
    }

    #[test]
    fn the_budget_holds() {
        let graph = graph(&[("portolan", "a@1.0.0", "")], &[("a", "1.0.0", "MIT"), ("b", "1.0.0", "MIT")]);
        assert_eq!(budget(&Budget { all: 2, shipped: 1 }, &graph), []);
        assert_eq!(budget(&Budget { all: 1, shipped: 0 }, &graph).len(), 2);
    }
}
