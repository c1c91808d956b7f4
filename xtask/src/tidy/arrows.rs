//! The arrows between our own crates, against the table in `arrows.toml`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;
use super::graph::{Arrow, Graph};
use super::tree::Tree;

/// The file.
pub(crate) const PATH: &str = "xtask/arrows.toml";

/// What may import what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    crates: BTreeMap<String, Room>,
    pub(crate) pure: Pure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Room {
    tier: Tier,
    imports: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Tier {
    Pure,
    Engine,
    Face,
    Library,
    Root,
}

/// What a pure crate does without.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pure {
    pub(crate) crates: Vec<String>,
    pub(crate) words: Vec<String>,
}

impl Table {
    pub(crate) fn read(tree: &Tree) -> Result<Self> {
        toml::from_str(tree.need(PATH)?).with_context(|| format!("read {PATH}"))
    }

    pub(crate) fn is_pure(&self, room: &str) -> bool {
        self.crates.get(room).is_some_and(|room| room.tier == Tier::Pure)
    }

    fn allows(&self, arrow: &Arrow<'_>) -> bool {
        let (from, to) = (arrow.from.room(), arrow.to.room());
        // A crate's tests may ask for itself, to switch on its `testing` feature.
        if from.starts_with("testing/") || (from == to && arrow.for_tests) {
            return true;
        }
        if to.starts_with("testing/") {
            return arrow.for_tests;
        }
        let (Some(room), Some(target)) = (self.crates.get(from), self.crates.get(to)) else { return false };
        let named = room.imports.iter().any(|import| match import.strip_suffix('*') {
            Some(tier) => tier == target.tier.name(),
            None => import == to,
        });
        named
            || (arrow.for_tests
                && matches!(target.tier, Tier::Pure | Tier::Engine)
                && room.tier != Tier::Pure)
    }
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Tier::Pure => "pure",
            Tier::Engine => "engine",
            Tier::Face => "face",
            Tier::Library => "library",
            Tier::Root => "root",
        }
    }
}

/// Every arrow between two crates of ours is in the table, and every crate is.
pub(crate) fn check(table: &Table, graph: &Graph) -> Vec<Finding> {
    let unknown = graph
        .members()
        .filter(|package| {
            let room = package.room();
            room != "xtask" && !room.starts_with("testing/") && !table.crates.contains_key(room)
        })
        .map(|package| Finding::new(PATH, 0, format!("has no row for crates/{}", package.room())));
    let arrows = graph.arrows();
    let forbidden =
        arrows.iter().filter(|arrow| arrow.to.source.is_none() && !table.allows(arrow)).map(|arrow| {
            let kind = if arrow.for_tests { "dev-dependency" } else { "dependency" };
            let what = format!("{kind} on {}: {PATH} has no such arrow", arrow.to.room());
            Finding::new(&arrow.from.manifest(), 0, what)
        });
    unknown.chain(forbidden).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Table, check};
    use crate::tidy::graph::fixture::graph;

    pub(crate) fn table() -> Table {
        toml::from_str(
            "[crates]
             catalog = { tier = 'pure', imports = [] }
             state = { tier = 'engine', imports = [] }
             dns = { tier = 'face', imports = ['pure*', 'engine*'] }
             proxy = { tier = 'face', imports = ['pure*', 'engine*'] }
             [pure]
             crates = ['tokio']
             words = ['Instant::now']",
        )
        .unwrap()
    }

    #[test]
    fn a_face_may_import_what_is_below_it() {
        let graph = graph(
            &[
                ("dns", "catalog", ""),
                ("dns", "state", ""),
                ("dns", "dns", "dev"),
                ("testing/sim", "dns", ""),
            ],
            &[],
        );
        assert_eq!(check(&table(), &graph), []);
    }

    #[test]
    fn an_arrow_up_or_sideways_is_found() {
        let graph =
            graph(&[("catalog", "state", ""), ("dns", "proxy", "dev"), ("state", "testing/sim", "")], &[]);
        let found: Vec<String> = check(&table(), &graph).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("crates/catalog/Cargo.toml: dependency on state"));
        assert!(found[1].starts_with("crates/dns/Cargo.toml: dev-dependency on proxy"));
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        let graph = graph(&[("dns", "newcomer", "")], &[]);
        assert!(check(&table(), &graph)[0].to_string().contains("no row for crates/newcomer"));
    }
}
