//! Homes with several hosts: of the nodes behind one router, one at a time has each of its ports.
//!
//! Which one follows from the catalog alone, so nobody has to be asked: the log orders who came first, whose instance
//! fails, and who is dead, and everybody draws the same conclusion from the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use catalog::exposure::{ExposureDef, Port, Protocol, WrittenPort};
use catalog::{NodeDef, NodeEntry, Snapshot, Status};

use crate::inside;
use crate::wish::host;

/// Metadata of a node: the home that it is in, by the name of its `[exposure] site`.
pub const SITE: &str = "portolan-site";
/// Metadata of a node: the port where it serves the world by HTTPS.
pub const FRONT: &str = "portolan-front";
/// Metadata of a node: its `[exposure] inside`, with commas between.
pub const INSIDE: &str = "portolan-inside";

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

/// Public names of services that another node of the home has, with its address inside, where everything answers there
/// that the world finds at the router.
pub(super) fn neighbours(
    site: Option<&Arc<str>>,
    own: &str,
    snapshot: &Snapshot,
) -> BTreeMap<Arc<str>, BTreeSet<IpAddr>> {
    let household = Household::of(site, snapshot);
    let mut found: BTreeMap<Arc<str>, BTreeSet<IpAddr>> = BTreeMap::new();
    for def in snapshot.exposures().map(|exposure| &exposure.def).filter(|def| def.via.is_empty()) {
        let Some(node) = household.holding(snapshot, def).filter(|node| *node.def.name != *own) else {
            continue;
        };
        let Some(address) = address_inside(&node.def) else { continue };
        let is_whole = leads(snapshot, node, def).is_some_and(|leads| {
            leads.iter().all(|(port, internal)| inside::is_same(*port, *internal, &said(&node.def)))
        });
        for name in def.names.iter().filter(|_| is_whole) {
            found.entry(host(name).into()).or_default().insert(address);
        }
    }
    found
}

/// What the router leads to this node: each port, and the one there. Plain HTTP of a site is not missed: it only sends on.
fn leads(snapshot: &Snapshot, node: &NodeEntry, def: &ExposureDef) -> Option<Vec<(Port, u16)>> {
    let instance = || {
        let there = snapshot.service(&def.service)?.iter().find(|one| one.node == node.def.name)?;
        Some(there.def.port)
    };
    let front = || node.def.meta.get(FRONT)?.parse().ok();
    let https = def.https.then(|| Some((Port { protocol: Protocol::Tcp, number: 443 }, front()?)));
    let pairs = def.ports.iter().map(|pair| Some((pair.external, pair.internal.or_else(instance)?)));
    pairs.chain(https).collect()
}

/// Where clients of the same home find a node.
fn address_inside(node: &NodeDef) -> Option<IpAddr> {
    let address: IpAddr = node.address.parse().ok()?;
    let is_private = match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    is_private.then_some(address)
}

fn said(node: &NodeDef) -> BTreeSet<Port> {
    let all = node.meta.get(INSIDE).into_iter().flat_map(|text| text.split(','));
    let read = |text: &str| WrittenPort::try_from(text.to_owned()).ok();
    all.filter_map(read).map(|WrittenPort(port)| port).collect()
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

    /// The node of the home that carries a wish out now, if one does.
    fn holding(&self, snapshot: &'a Snapshot, def: &ExposureDef) -> Option<&'a Arc<NodeEntry>> {
        let serving = self.holder(snapshot, &def.service)?;
        let holder = if def.https { self.front()? } else { serving };
        let is_free = self.other(holder, snapshot, def).is_none();
        self.nodes().find(|node| is_free && node.def.name == *holder)
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
