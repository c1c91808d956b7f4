//! What Cargo resolved: every package in the tree and every arrow between two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Packages and arrows, as `cargo metadata` reports them for the platforms that we build for.
#[derive(Deserialize)]
pub(crate) struct Graph {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    #[serde(default)]
    workspace_default_members: BTreeSet<String>,
    resolve: Resolve,
}

/// One package at one version.
#[derive(Deserialize)]
pub(crate) struct Package {
    id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// None for a package of this workspace.
    pub(crate) source: Option<String>,
    manifest_path: String,
    #[serde(default)]
    targets: Vec<Target>,
}

/// What a package is built into.
#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// An arrow that starts at a package of ours.
pub(crate) struct Arrow<'a> {
    pub(crate) from: &'a Package,
    pub(crate) to: &'a Package,
    /// Only tests follow it.
    pub(crate) for_tests: bool,
}

impl Package {
    /// The folder in the workspace: `log` for `crates/log`, `testing/sim`, `xtask`.
    pub(crate) fn room(&self) -> &str {
        let folder = self.manifest_path.trim_end_matches("/Cargo.toml");
        match folder
            .rfind("/crates/")
            .map(|at| at + "/crates/".len())
            .or_else(|| folder.rfind("/testing/").map(|at| at + 1))
        {
            Some(start) => &folder[start..],
            None => folder.rsplit('/').next().unwrap_or(folder),
        }
    }

    /// The manifest's path from the root, for a finding.
    pub(crate) fn manifest(&self) -> String {
        match self.room() {
            room if room.starts_with("testing/") || room == "xtask" => format!("{room}/Cargo.toml"),
            room => format!("crates/{room}/Cargo.toml"),
        }
    }
}

impl Graph {
    /// Asks Cargo. `--locked`: a lock file that is out of date is a finding of its own.
    pub(crate) fn read(root: &Path, targets: &[String]) -> Result<Self> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(root);
        for target in targets {
            command.args(["--filter-platform", target]);
        }
        let output = command.output().context("run cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        serde_json::from_slice(&output.stdout).context("read what cargo metadata printed")
    }

    /// Packages of this workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// Programs that a bare `cargo run` has to choose from.
    pub(crate) fn runnable(&self) -> Vec<&str> {
        let default = self.packages.iter().filter(|one| self.workspace_default_members.contains(&one.id));
        let targets = default.flat_map(|package| &package.targets);
        let programs = targets.filter(|target| target.kind.iter().any(|kind| kind == "bin"));
        programs.map(|target| target.name.as_str()).collect()
    }

    /// Packages of others that are built on our platforms.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Package> {
        let built: BTreeSet<&str> = self.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
        self.packages
            .iter()
            .filter(move |package| package.source.is_some() && built.contains(package.id.as_str()))
    }

    /// Arrows that start at a package of ours, to ours and to others.
    pub(crate) fn arrows(&self) -> Vec<Arrow<'_>> {
        let by_id = self.by_id();
        let mut arrows = Vec::new();
        for node in self.resolve.nodes.iter().filter(|node| self.workspace_members.contains(&node.id)) {
            for dependency in &node.deps {
                let (Some(from), Some(to)) =
                    (by_id.get(node.id.as_str()), by_id.get(dependency.pkg.as_str()))
                else {
                    continue;
                };
                arrows.push(Arrow { from, to, for_tests: dependency.only_for_tests() });
            }
        }
        arrows
    }

    /// Packages of others that a package of ours links or runs while building, without its tests.
    pub(crate) fn shipped_with(&self, name: &str) -> usize {
        let nodes: BTreeMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut waiting: Vec<&str> = self
            .members()
            .filter(|package| package.name == name)
            .map(|package| package.id.as_str())
            .collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            if seen.insert(id) {
                let shipped = nodes.get(id).into_iter().flat_map(|node| &node.deps);
                waiting.extend(shipped.filter(|dep| !dep.only_for_tests()).map(|dep| dep.pkg.as_str()));
            }
        }
        seen.iter().filter(|id| !self.workspace_members.contains(**id)).count()
    }

    fn by_id(&self) -> BTreeMap<&str, &Package> {
        self.packages.iter().map(|package| (package.id.as_str(), package)).collect()
    }
}

impl Dependency {
    fn only_for_tests(&self) -> bool {
        !self.dep_kinds.is_empty() && self.dep_kinds.iter().all(|kind| kind.kind.as_deref() == Some("dev"))
    }
}

/// A graph out of a few words: `ours` as rooms with arrows, `others` as name, version, licence.
#[cfg(test)]
pub(crate) mod fixture {
    use std::collections::BTreeSet;

    use super::{Dependency, DependencyKind, Graph, Node, Package, Resolve, Target};

    pub(crate) const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

    /// `arrows`: from, to, kind (`""` or `"dev"`). A `to` with `@` is a package of others. All of ours are default
    /// members; `portolan` and what is below `testing/` are programs.
    pub(crate) fn graph(arrows: &[(&str, &str, &str)], others: &[(&str, &str, &str)]) -> Graph {
        let mut ours: Vec<&str> = arrows.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        ours.retain(|room| !room.contains('@'));
        ours.sort_unstable();
        ours.dedup();
        let nodes = ours
            .iter()
            .map(|room| Node {
                id: (*room).into(),
                deps: arrows.iter().filter(|arrow| arrow.0 == *room).map(dependency).collect(),
            })
            .chain(others.iter().map(|other| Node { id: format!("{}@{}", other.0, other.1), deps: vec![] }))
            .collect();
        let packages = ours.iter().map(|room| package(room)).chain(others.iter().map(other)).collect();
        let workspace_members: BTreeSet<String> = ours.iter().map(|room| (*room).to_owned()).collect();
        let workspace_default_members = workspace_members.clone();
        Graph { packages, workspace_members, workspace_default_members, resolve: Resolve { nodes } }
    }

    fn dependency((_, to, kind): &(&str, &str, &str)) -> Dependency {
        let kind = (!kind.is_empty()).then(|| (*kind).to_owned());
        Dependency { pkg: (*to).into(), dep_kinds: vec![DependencyKind { kind }] }
    }

    fn package(room: &str) -> Package {
        let is_program = room == "portolan" || room.starts_with("testing/");
        let kind = vec![if is_program { "bin" } else { "lib" }.to_owned()];
        let folder = if room.contains('/') { room.to_owned() } else { format!("crates/{room}") };
        Package {
            id: room.into(),
            name: room.into(),
            version: "0.1.0".into(),
            license: Some("MIT OR Apache-2.0".into()),
            source: None,
            manifest_path: format!("/somewhere/{folder}/Cargo.toml"),
            targets: vec![Target { name: room.into(), kind }],
        }
    }

    fn other((name, version, license): &(&str, &str, &str)) -> Package {
        Package {
            id: format!("{name}@{version}"),
            name: (*name).into(),
            version: (*version).into(),
            license: Some((*license).into()),
            source: Some(REGISTRY.into()),
            manifest_path: format!("/registry/{name}/Cargo.toml"),
            targets: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::graph;

    #[test]
    fn tests_dependencies_do_not_ship() {
        let graph = graph(
            &[("portolan", "log", ""), ("log", "bytes@1.0.0", ""), ("log", "proptest@1.0.0", "dev")],
            &[("bytes", "1.0.0", "MIT"), ("proptest", "1.0.0", "MIT")],
        );
        assert_eq!(graph.shipped_with("portolan"), 1);
        assert_eq!(graph.others().count(), 2);
    }

    #[test]
    fn rooms_are_folders() {
        let graph = graph(&[("portolan", "testing/sim", "")], &[]);
        let rooms: Vec<_> = graph.members().map(super::Package::room).collect();
        assert_eq!(rooms, ["portolan", "testing/sim"]);
    }
}
