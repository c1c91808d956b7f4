//! `peers.toml`: which programs of others we talk to, and why.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The whole table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) debian: Vec<Debian>,
    pub(crate) pypi: Vec<PyPi>,
    pub(crate) go: Vec<GoModule>,
    pub(crate) suite: Vec<Suite>,
}

/// A Debian package and the executables wanted from it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Debian {
    pub(crate) package: String,
    /// A release other than the host's; then the host's own copy does not count.
    pub(crate) suite: Option<String>,
    #[serde(default)]
    pub(crate) tools: Vec<String>,
    /// What else must be there, below the unpacked tree: a module that another peer loads.
    #[serde(default)]
    pub(crate) files: Vec<String>,
    #[serde(rename = "for")]
    pub(crate) group: Group,
    /// Read by people.
    #[serde(rename = "why")]
    pub(crate) _why: String,
}

/// A package of the Python index.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PyPi {
    pub(crate) package: String,
    #[serde(rename = "for")]
    pub(crate) group: Group,
    #[serde(rename = "why")]
    pub(crate) _why: String,
}

/// A program of a Go module.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GoModule {
    pub(crate) package: String,
    pub(crate) version: String,
    /// What it is called once it is built: the last part of its package.
    pub(crate) tool: String,
    #[serde(rename = "for")]
    pub(crate) group: Group,
    #[serde(rename = "why")]
    pub(crate) _why: String,
}

/// A client's own tests, which are in its sources only.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// Its folder, and what tests ask for.
    pub(crate) name: String,
    pub(crate) from: Registry,
    /// What the registry calls it.
    pub(crate) package: String,
    pub(crate) version: String,
    /// Modules that it takes from folders beside it in its own repository, which are not in its archive.
    #[serde(default)]
    pub(crate) beside: Vec<String>,
    #[serde(rename = "for")]
    pub(crate) group: Group,
    #[serde(rename = "why")]
    pub(crate) _why: String,
}

/// Who keeps a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Registry {
    /// Source distributions of the Python index.
    #[serde(rename = "pypi")]
    Python,
    /// The proxy of Go's modules.
    #[serde(rename = "go")]
    Go,
    /// crates.io.
    #[serde(rename = "crates")]
    Rust,
}

/// When a peer is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Group {
    /// By `cargo xtask test`.
    Test,
    /// By `PORTOLAN_SUITES=all cargo xtask test` besides: what takes minutes to build.
    Suites,
    /// By `cargo xtask bench` besides.
    Bench,
}

impl Table {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let path = root.join("xtask/peers.toml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("read {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn every_peer_has_a_reason_and_is_named_once() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let table = Table::read(root).unwrap();
        let mut names: Vec<_> = table.debian.iter().map(|peer| (&peer.package, &peer._why)).collect();
        names.extend(table.pypi.iter().map(|peer| (&peer.package, &peer._why)));
        names.extend(table.go.iter().map(|peer| (&peer.tool, &peer._why)));
        assert!(table.go.iter().all(|peer| peer.package.ends_with(&format!("/{}", peer.tool))));
        assert!(names.iter().all(|(_, why)| why.len() > 10));
        let count = names.len();
        names.sort();
        names.dedup_by_key(|name| name.0);
        assert_eq!(names.len(), count);
        let mut suites: Vec<_> = table.suite.iter().map(|suite| &suite.name).collect();
        assert!(table.suite.iter().all(|suite| suite._why.len() > 10 && !suite.version.is_empty()));
        suites.sort();
        suites.dedup();
        assert_eq!(suites.len(), table.suite.len());
    }
}
