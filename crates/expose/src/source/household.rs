//! Homes with several hosts: of the nodes behind one router, one at a time has each of its ports.
//!
//! Which one follows from the catalog alone, so nobody has to be asked: the log orders who came first, whose instance
//! fails, and who is dead, and everybody draws the same conclusion from the same state.

use std::sync::Arc;

use catalog::exposure::{ExposureDef, Port};
use catalog::{NodeEntry, Snapshot, Status};

/// Metadata of a node: the home that it is in, by the name of its `[exposure] site`.
pub const SITE: &str = "portolan-site";
/// Metadata of a node: the port where it serves the world by HTTPS.
pub const FRONT: &str = "portolan-front";

/// The nodes of one home that carry exposures out and live, the oldest first.
pub(super) struct Household<'a>(Vec<&'a Arc<NodeEntry>>);

/// All other nodes of a home, the dead among them: what they showed is taken over.
pub(super) fn siblings<'a>(
    site: Option<&'a Arc<str>>,
    own: &'a str,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = Arc<str>> + 'a {
    let is_there = move |node: &&Arc<NodeEntry>| {
        site.is_some() && *node.def.name != *own && node.def.meta.get(SITE) == site
    };
    snapshot.nodes().filter(is_there).map(|node| node.def.name.clone())
}

impl<'a> Household<'a> {
    /// Of a site; nobody's when there is none.
    pub(super) fn of(site: Option<&Arc<str>>, snapshot: &'a Snapshot) -> Household<'a> {
        let is_here =
            |node: &&Arc<NodeEntry>| node.down.is_none() && site.is_some() && node.def.meta.get(SITE) == site;
        let mut nodes: Vec<_> = snapshot.nodes().filter(is_here).collect();
        nodes.sort_by(|a, b| (a.create_index, &a.def.name).cmp(&(b.create_index, &b.def.name)));
        Household(nodes)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &'a Arc<NodeEntry>> {
        self.0.iter().copied()
    }

    pub(super) fn has(&self, node: &str) -> bool {
        self.0.iter().any(|one| *one.def.name == *node)
    }

    /// Who has HTTPS of this home.
    pub(super) fn front(&self) -> Option<&'a Arc<str>> {
        self.nodes().find(|node| node.def.meta.get(FRONT).is_some()).map(|node| &node.def.name)
    }

    /// Who has the ports of a service: the first with an instance that does not fail.
    pub(super) fn holder(&self, snapshot: &Snapshot, service: &str) -> Option<&'a Arc<str>> {
        let service = snapshot.service(service)?;
        let has_one = |node: &&'a Arc<NodeEntry>| {
            let mut there = service.iter().filter(|instance| instance.node == node.def.name);
            there.any(|instance| snapshot.health(instance) != Status::Critical)
        };
        self.nodes().find(has_one).map(|node| &node.def.name)
    }

    /// Why another node has what is wished here; `None` when this one may.
    pub(super) fn other(&self, node: &str, snapshot: &'a Snapshot, def: &ExposureDef) -> Option<String> {
        let holder = if def.https { self.front() } else { self.holder(snapshot, &def.service) };
        if let Some(holder) = holder.filter(|holder| ***holder != *node) {
            return Some(format!("node \"{holder}\" has it for this home"));
        }
        let (rival, port, holder) = self.rival(node, snapshot, def)?;
        Some(format!("\"{rival}\" on node \"{holder}\" has {port} of this home's router"))
    }

    /// Of two services for one port the first by name has it, as on one host.
    fn rival(
        &self,
        node: &str,
        snapshot: &'a Snapshot,
        def: &ExposureDef,
    ) -> Option<(&'a Arc<str>, Port, &'a Arc<str>)> {
        let before = snapshot.exposures().map(|exposure| &exposure.def);
        let before =
            before.filter(|other| other.service < def.service && !other.https && other.via.is_empty());
        before.into_iter().find_map(|other| {
            let shared =
                def.ports.iter().find(|pair| other.ports.iter().any(|one| one.external == pair.external))?;
            let holder = self.holder(snapshot, &other.service).filter(|holder| ***holder != *node)?;
            Some((&other.service, shared.external, holder))
        })
    }
}
