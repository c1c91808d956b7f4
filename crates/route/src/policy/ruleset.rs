//! Rules in order, indexed by service and by each kind of source: what is asked does not grow with their number.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use catalog::intention::ANY_SERVICE;
use catalog::{Action, Direction, Intention, Source};

use super::leaf::{Leaf, Slot};
use super::networks::{Collected, Networks};
use super::{Counters, RuleShown};
use crate::caller::PeerHost;

/// What rules ask about.
#[derive(Debug, Clone, Copy)]
pub struct Facets<'a> {
    /// User on this host.
    pub uid: Option<u32>,
    /// Names that were proven.
    pub names: [Option<&'a str>; 2],
    /// Node that the program runs on.
    pub node: Option<&'a str>,
    /// Address.
    pub from: Option<IpAddr>,
    /// The other side.
    pub host: Option<&'a PeerHost>,
    /// Its address; a rule about either is about it.
    pub resolved: Option<&'a PeerHost>,
    /// By what.
    pub scheme: &'a str,
    /// Which way.
    pub direction: Direction,
}

/// What the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling {
    /// Whether it may.
    pub allowed: bool,
    /// Place of the rule that says so; `None` where none matched, which denies.
    pub rule: Option<u32>,
}

/// One rule with how often it decided.
#[derive(Debug, Clone)]
pub struct RuleView<'a> {
    /// The rule.
    pub intention: &'a Arc<Intention>,
    /// True when it is this host's own.
    pub is_local: bool,
    /// Connections and requests that it decided about on this node, since it started.
    pub hits: u64,
}

#[derive(Debug)]
struct Entry {
    intention: Arc<Intention>,
    is_local: bool,
    hits: Arc<AtomicU64>,
}

/// The rules about one service, or about every one, by source.
#[derive(Debug, Default)]
struct Class {
    any: Leaf,
    uids: BTreeMap<u32, Leaf>,
    names: BTreeMap<Arc<str>, Leaf>,
    nodes: BTreeMap<Arc<str>, Leaf>,
    hosts: BTreeMap<Arc<str>, Leaf>,
    networks: Networks,
}

impl Class {
    fn push(&mut self, slot: Slot, source: &Source, networks: &mut Collected) {
        match source {
            Source::Any => self.any.push(slot),
            Source::Uid(uid) => self.uids.entry(*uid).or_default().push(slot),
            Source::Identity(name) => self.names.entry(name.clone()).or_default().push(slot),
            Source::Node(name) => self.nodes.entry(name.clone()).or_default().push(slot),
            Source::Host { name, .. } => self.hosts.entry(name.clone()).or_default().push(slot),
            Source::Network(network) => networks.push(*network, slot),
        }
    }

    #[inline]
    fn ask(&self, facets: &Facets<'_>, best: &mut u32) {
        self.any.ask(facets, best);
        let by_uid = facets.uid.and_then(|uid| self.uids.get(&uid));
        let [first, second] = facets.names.map(|name| self.names.get(name?));
        let by_node = facets.node.and_then(|node| self.nodes.get(node));
        let [by_host, by_address] = [facets.host, facets.resolved].map(|host| self.hosts.get(&host?.name));
        for leaf in [by_uid, first, second, by_node, by_host, by_address].into_iter().flatten() {
            leaf.ask(facets, best);
        }
        if let Some(from) = facets.from {
            self.networks.ask(from, facets, best);
        }
    }
}

/// The compiled rules.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Entry>,
    by_service: BTreeMap<Box<str>, Class>,
    of_any: Class,
    /// Connections that no rule matched.
    unmatched: Arc<AtomicU64>,
}

impl RuleSet {
    /// Compiles rules in their order, each with whether it is this host's own.
    pub(super) fn compile<'a>(
        rules: impl Iterator<Item = (&'a Arc<Intention>, bool)>,
        before: Option<&RuleSet>,
    ) -> RuleSet {
        let counters: Counters = before.map(RuleSet::counters).unwrap_or_default();
        let unmatched = before.map(|before| before.unmatched.clone()).unwrap_or_default();
        let mut set = RuleSet { unmatched, ..RuleSet::default() };
        let mut networks: BTreeMap<Box<str>, Collected> = BTreeMap::new();
        for (at, (intention, is_local)) in (0..).zip(rules) {
            let key: Box<str> = intention.service.to_ascii_lowercase().into();
            let class = match &*key {
                ANY_SERVICE => &mut set.of_any,
                _ => set.by_service.entry(key.clone()).or_default(),
            };
            let slot = Slot::new(at, intention);
            class.push(slot, &intention.source, networks.entry(key).or_default());
            let hits = counters.get(&(intention.id.clone(), is_local)).cloned().unwrap_or_default();
            set.rules.push(Entry { intention: intention.clone(), is_local, hits });
        }
        for (key, collected) in networks {
            let class = match &*key {
                ANY_SERVICE => Some(&mut set.of_any),
                _ => set.by_service.get_mut(&key),
            };
            if let Some(class) = class {
                class.networks = collected.compile();
            }
        }
        set
    }

    fn counters(&self) -> Counters {
        let key = |entry: &Entry| (entry.intention.id.clone(), entry.is_local);
        self.rules.iter().map(|entry| (key(entry), entry.hits.clone())).collect()
    }

    /// The first rule that matches decides. `service` in any case.
    #[inline]
    pub fn judge(&self, facets: &Facets<'_>, service: &str) -> Ruling {
        let mut best = u32::MAX;
        let class = match service.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => self.by_service.get(&*service.to_ascii_lowercase()),
            false => self.by_service.get(service),
        };
        class.into_iter().for_each(|class| class.ask(facets, &mut best));
        self.of_any.ask(facets, &mut best);
        match self.rules.get(best as usize) {
            Some(entry) => Ruling { allowed: entry.intention.action == Action::Allow, rule: Some(best) },
            None => Ruling { allowed: false, rule: None },
        }
    }

    /// Counts a connection that a ruling decided about.
    pub(crate) fn hit(&self, ruling: Ruling) {
        let entry = ruling.rule.and_then(|at| self.rules.get(at as usize));
        entry.map_or(&self.unmatched, |entry| &entry.hits).fetch_add(1, Relaxed);
    }

    /// True when some rule allows this very host, by name or address. Looks at every rule: ask it of connections that
    /// are out of the ordinary.
    pub fn names_host(&self, host: &PeerHost) -> bool {
        self.rules.iter().any(|entry| {
            entry.intention.action == Action::Allow
                && matches!(&entry.intention.source, Source::Host { name, port }
                    if *name == host.name && (port.is_none() || *port == host.port))
        })
    }

    /// The rule at a place.
    pub fn rule(&self, at: u32) -> Option<&Arc<Intention>> {
        Some(&self.rules.get(at as usize)?.intention)
    }

    /// The rule at a place, for people.
    pub fn shown(&self, at: u32) -> Option<RuleShown> {
        let Entry { intention, is_local, .. } = self.rules.get(at as usize)?;
        let origin = intention.origin.as_ref().map(ToString::to_string).unwrap_or_default();
        Some(RuleShown { id: intention.id.clone(), rule: intention.to_string(), origin, is_local: *is_local })
    }

    /// Every rule, in the order in which they are asked.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RuleView<'_>> {
        self.rules.iter().map(|entry| RuleView {
            intention: &entry.intention,
            is_local: entry.is_local,
            hits: entry.hits.load(Relaxed),
        })
    }

    /// Connections and requests that no rule matched.
    pub fn unmatched(&self) -> u64 {
        self.unmatched.load(Relaxed)
    }

    pub(super) fn names_users(&self) -> bool {
        self.rules.iter().any(|entry| matches!(entry.intention.source, Source::Uid(_)))
    }
}
