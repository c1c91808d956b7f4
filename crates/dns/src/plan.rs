//! The projection: snapshot and facts in, zone out. Pure; where most of this crate's tests live.

pub(crate) mod service;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use catalog::{Kind, Service, Snapshot};
use imbl::ordmap::DiffItem;
use route::{Facts, Policy};

use crate::config::{Config, seconds};
use crate::lookup::Spot;
use crate::zone::entry::{NodeEntry, ServiceEntry, node_key};
use crate::zone::redirected::Redirected;
use crate::zone::table::Change;
use crate::zone::{Holders, Zone, lower, mapped};

/// What of the configuration shapes the zone.
#[derive(Debug, Clone)]
pub struct Plan {
    ttl_s: u32,
    service_ttl_s: BTreeMap<Box<[u8]>, u32>,
}

impl Plan {
    /// The plan that `config` asks for.
    pub fn new(config: &Config) -> Plan {
        let lower = |name: &String| name.to_ascii_lowercase().into_bytes().into();
        let services = config.service_ttl.iter();
        let service_ttl_s = services.map(|(name, ttl)| (lower(name), seconds(ttl.0))).collect();
        Plan { ttl_s: seconds(config.ttl), service_ttl_s }
    }

    /// The redirections of a policy, as the zone has them.
    pub(crate) fn redirected(&self, policy: &Arc<Policy>) -> Option<Arc<Redirected>> {
        let ttl_s = |name: &str| {
            let own = self.service_ttl_s.get(name.to_ascii_lowercase().as_bytes());
            own.copied().unwrap_or(self.ttl_s)
        };
        Redirected::new(policy, &ttl_s)
    }

    /// The whole projection.
    pub fn project(&self, snapshot: &Snapshot, facts: &Facts) -> Zone {
        let mut turn = Turn::new(self, snapshot, Zone::default());
        turn.take_facts(facts);
        snapshot.services().for_each(|service| turn.note_service(&service.name));
        snapshot.nodes().for_each(|node| turn.note_node(&node.def.name));
        turn.finish()
    }

    /// The projection of `snapshot`, made from `zone` by looking at what changed since. Equal to
    /// [`Plan::project`], only cheaper.
    pub fn advance(&self, zone: &Zone, snapshot: &Snapshot, facts: &Facts) -> Zone {
        let Some(touched) = snapshot.services_touched_since(zone.index()) else {
            return self.project(snapshot, facts);
        };
        let mut turn = Turn::new(self, snapshot, zone.clone());
        turn.take_facts(facts);
        touched.for_each(|name| turn.note_service(name));
        turn.note_node_verdicts();
        if snapshot.tables().nodes != zone.snapshot.tables().nodes {
            turn.note_changed_nodes(zone.index());
        }
        turn.finish()
    }
}

/// A zone on its way from one state to the next: first note what may differ, then finish.
struct Turn<'p> {
    plan: &'p Plan,
    snapshot: &'p Snapshot,
    zone: Zone,
    /// Names in lower case whose entries are made anew.
    services: BTreeSet<Arc<str>>,
    nodes: BTreeSet<Arc<str>>,
    /// Nodes whose own address or checks differ: every instance on them may.
    changed_nodes: Vec<Arc<str>>,
}

impl<'p> Turn<'p> {
    fn new(plan: &'p Plan, snapshot: &'p Snapshot, zone: Zone) -> Turn<'p> {
        let (services, nodes, changed_nodes) = Default::default();
        Turn { plan, snapshot, zone, services, nodes, changed_nodes }
    }

    /// Takes over the facts and notes the services whose sockets changed.
    fn take_facts(&mut self, facts: &Facts) {
        if *self.zone.own_addresses != *facts.own_addresses {
            self.zone.own_addresses = facts.own_addresses.as_slice().into();
        }
        let changed = self.zone.virtual_sockets.diff(&facts.virtual_sockets).map(|item| match item {
            DiffItem::Add(key, _) | DiffItem::Remove(key, _) | DiffItem::Update { new: (key, _), .. } => key,
        });
        self.services.extend(changed.cloned());
        self.zone.virtual_sockets = facts.virtual_sockets.clone();
        self.zone.six = facts.six;
    }

    fn note_service(&mut self, name: &Arc<str>) {
        self.zone.service_case.note(name, self.snapshot.service(name).is_some());
        self.services.insert(lower(name));
    }

    fn note_node(&mut self, name: &Arc<str>) {
        self.zone.node_case.note(name, self.snapshot.node(name).is_some());
        self.nodes.insert(lower(name));
    }

    /// Notes the nodes that judge or place their instances in another way than before.
    fn note_node_verdicts(&mut self) {
        let (then, now) = (&self.zone.snapshot, self.snapshot);
        if (then.tables().nodes, then.tables().checks) == (now.tables().nodes, now.tables().checks) {
            return;
        }
        let differs = now.node_changes(then).filter_map(|change| match (change.old, change.new) {
            (Some(old), Some(new)) if old.def == new.def && old.checks == new.checks => None,
            (old, new) => old.or(new).map(|node| node.def.name.clone()),
        });
        self.changed_nodes = differs.collect();
    }

    /// Looks at every node: definitions change seldom, and the catalog keeps no list of those that did.
    fn note_changed_nodes(&mut self, since: u64) {
        let (mut registered, mut added) = (0, 0);
        for node in self.snapshot.nodes() {
            registered += 1;
            added += usize::from(node.create_index > since);
            if node.modify_index > since {
                self.note_node(&node.def.name);
            }
        }
        if registered != self.zone.nodes_registered + added {
            let known = self.zone.nodes.iter().map(|entry| &entry.def.name).chain(self.zone.node_case.iter());
            let is_gone = |name: &&Arc<str>| self.snapshot.node(name).is_none();
            let gone: Vec<_> = known.filter(is_gone).cloned().collect();
            gone.iter().for_each(|name| self.note_node(name));
        }
    }

    fn finish(mut self) -> Zone {
        self.zone.kept = match self.changed_nodes[..] {
            [] => Arc::new(self.zone.kept.without(&self.services)),
            _ => Arc::default(),
        };
        let services = std::mem::take(&mut self.services);
        let changes = services.iter().map(|name| self.service(name)).collect();
        self.zone.services = self.zone.services.with(changes);
        let nodes = std::mem::take(&mut self.nodes);
        let changes = nodes.iter().filter_map(|name| self.node(name)).collect();
        self.zone.nodes = self.zone.nodes.with(changes);
        if self.zone.snapshot.tables().nodes != self.snapshot.tables().nodes {
            self.zone.nodes_registered = self.snapshot.nodes().count();
        }
        self.zone.snapshot = self.snapshot.clone();
        self.zone
    }

    /// The entry of the service that has `name`: of several that differ in case, the oldest.
    fn service(&mut self, name: &Arc<str>) -> Change<ServiceEntry> {
        let named = self.zone.service_case.candidates(name);
        let registered = named.filter_map(|name| self.snapshot.service(name));
        let service = registered.min_by_key(|service| (service.create_index, &service.name));
        let before = self.zone.services.get(name.as_bytes()).cloned();
        let made = service
            .filter(|service| service.kind != Kind::Tunnel)
            .and_then(|service| self.service_entry(before.as_deref(), service));
        let (entry, mut edited) = made.unzip();
        if edited.is_none() {
            let all = before.iter().flat_map(|entry| entry.own_addresses());
            edited = Some(all.collect())
        }
        for ip in edited.unwrap_or_default() {
            let holds = entry.as_ref().is_some_and(|entry| entry.has_own_address(ip));
            put_holder(&mut self.zone.service_addresses, name, ip, holds);
        }
        let Some(mut entry) = entry else { return Change::Remove(name.as_bytes().into()) };
        entry.ttl = self.plan.service_ttl_s.get(name.as_bytes()).copied().unwrap_or(self.plan.ttl_s);
        entry.spot = self.zone.virtual_sockets.get(name).map(Spot::of);
        Change::Put(Arc::new(entry))
    }

    /// The entry of `service`, made anew; with the addresses at which it stands now and did not before, or the
    /// other way round: of ten thousand, one change edits one.
    fn service_entry(
        &self,
        before: Option<&ServiceEntry>,
        service: &Service,
    ) -> Option<(ServiceEntry, Vec<IpAddr>)> {
        let then = &self.zone.snapshot;
        let old = then.service(&service.name).map(|old| (then, &**old));
        let advanced = before.zip(old).and_then(|(before, old)| {
            service::advance(before, old, (self.snapshot, service), &self.changed_nodes)
        });
        if advanced.is_some() {
            return advanced;
        }
        let entry = service::project(self.snapshot, service)?;
        let sorted = |entry: &ServiceEntry| {
            let mut addresses: Vec<IpAddr> = entry.own_addresses().collect();
            addresses.sort_unstable();
            addresses.dedup();
            addresses
        };
        let edited = differing(&before.map(sorted).unwrap_or_default(), &sorted(&entry));
        Some((entry, edited))
    }

    /// The same for a node; `None` when its name is no DNS name.
    fn node(&mut self, name: &Arc<str>) -> Option<Change<NodeEntry>> {
        let named = self.zone.node_case.candidates(name);
        let registered = named.filter_map(|name| self.snapshot.node(name));
        let node = registered.min_by_key(|node| (node.create_index, &node.def.name));
        let entry = node.and_then(|node| NodeEntry::new(&node.def));
        let key = node_key(name)?;
        let before = self.zone.nodes.get(&key).cloned();
        for ip in before.iter().flat_map(|entry| entry.addresses.iter()) {
            put_holder(&mut self.zone.node_addresses, name, *ip, false);
        }
        for ip in entry.iter().flat_map(|entry| entry.addresses.iter()) {
            put_holder(&mut self.zone.node_addresses, name, *ip, true);
        }
        Some(match entry {
            Some(entry) => Change::Put(Arc::new(entry)),
            None => Change::Remove(key),
        })
    }
}

/// What is in one of two sorted lists alone.
fn differing(then: &[IpAddr], now: &[IpAddr]) -> Vec<IpAddr> {
    let (mut then, mut now, mut found) = (then.iter().peekable(), now.iter().peekable(), Vec::new());
    loop {
        let order = match (then.peek(), now.peek()) {
            (Some(old), Some(new)) => old.cmp(new),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return found,
        };
        match order {
            Ordering::Less => found.extend(then.next()),
            Ordering::Greater => found.extend(now.next()),
            Ordering::Equal => drop((then.next(), now.next())),
        }
    }
}

/// Says whether `name` stands at `ip`.
fn put_holder(holders: &mut Holders, name: &Arc<str>, ip: IpAddr, holds: bool) {
    match holds {
        true => holders.insert((mapped(ip), name.clone())),
        false => holders.remove(&(mapped(ip), name.clone())),
    };
}
