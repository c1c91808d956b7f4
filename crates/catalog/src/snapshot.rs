//! The immutable value that readers hold, and the questions it answers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::acl::Acl;
use crate::cluster::Cluster;
use crate::exposure::Exposure;
use crate::model::{Check, Index, Instance, KvEntry, NodeEntry, Service, Settings, Status};
use crate::query::Queries;
use crate::restore::Staged;
use crate::rules::Rules;
use crate::session::Sessions;
use crate::tombstones::Tombstones;
use crate::topic::Topics;
use crate::virtual_ip::{Slot, Slots};

/// Indexes of whole tables, for watchers that want to know of any change in one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tables {
    /// Node definitions.
    pub nodes: Index,
    /// Service names and tags (Consul's `catalog/services`).
    pub services: Index,
    /// Checks of any kind.
    pub checks: Index,
    /// Keys.
    pub kv: Index,
    /// Sessions.
    #[serde(default)]
    pub sessions: Index,
    /// Topics and their messages.
    #[serde(default)]
    pub topics: Index,
    /// Events.
    #[serde(default)]
    pub events: Index,
    /// Wishes to be reachable from outside.
    #[serde(default)]
    pub exposures: Index,
    /// Prepared queries.
    #[serde(default)]
    pub queries: Index,
}

/// Node and id of an instance.
pub(crate) type InstanceKey = (Arc<str>, Arc<str>);

/// Which of a proposer's commands were applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proposer {
    pub(crate) epoch: u64,
    /// Everything up to here was applied.
    pub(crate) floor: u64,
    /// Applied above the floor, out of order.
    pub(crate) above: OrdSet<u64>,
}

/// Everything that is agreed on, at one index. Cloning costs a few reference counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub(crate) index: Index,
    pub(crate) time_ms: u64,
    pub(crate) services: OrdMap<Arc<str>, Arc<Service>>,
    pub(crate) nodes: OrdMap<Arc<str>, Arc<NodeEntry>>,
    pub(crate) kv: OrdMap<Arc<str>, Arc<KvEntry>>,
    pub(crate) sessions: Sessions,
    pub(crate) topics: Topics,
    pub(crate) exposures: OrdMap<Arc<str>, Arc<Exposure>>,
    pub(crate) queries: Queries,
    /// An archive on its way in.
    pub(crate) staged: Option<Arc<Staged>>,
    pub(crate) gone_services: Tombstones,
    pub(crate) gone_keys: Tombstones,
    /// One entry per service, living or buried, at the index of its last change.
    pub(crate) changed_services: OrdSet<(Index, Arc<str>)>,
    pub(crate) tables: Tables,
    pub(crate) settings: Settings,
    pub(crate) slots: Slots,
    pub(crate) proposers: OrdMap<Arc<str>, Proposer>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) acl: Arc<Acl>,
    /// Instances that live by another node than the one they are registered on, by that other node.
    pub(crate) elsewhere: OrdMap<Arc<str>, OrdSet<InstanceKey>>,
}

impl Snapshot {
    /// Index of the last command applied.
    pub fn index(&self) -> Index {
        self.index
    }

    /// The newest time that any command brought, in Unix milliseconds.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Indexes of whole tables.
    pub fn tables(&self) -> Tables {
        self.tables
    }

    /// Highest boot epoch that `node` has proposed in, 0 when never.
    pub fn epoch_of(&self, node: &str) -> u64 {
        self.proposers.get(node).map_or(0, |proposer| proposer.epoch)
    }

    /// What was agreed on about the cluster itself.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A service by its name, exactly as registered.
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter().map(|(_, service)| service)
    }

    /// How many services there are.
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// How many instances there are.
    pub fn instance_count(&self) -> usize {
        self.nodes.iter().map(|(_, node)| node.instances.len()).sum()
    }

    /// Index for watchers of one service, also of one that is gone or never was. At least 1, because
    /// clients take 0 for "no index"; nobody can miss a change at index 1, because a daemon registers its
    /// own node there before it serves anybody.
    pub fn service_index(&self, name: &str) -> Index {
        let index = match self.services.get(name) {
            Some(service) => service.touched_index,
            None => self.gone_services.index_of(name),
        };
        index.max(1)
    }

    /// Names of the services that changed, appeared or vanished after `seen`, oldest first. `None` when
    /// that is too long ago to tell: project everything anew.
    pub fn services_touched_since(&self, seen: Index) -> Option<impl Iterator<Item = &Arc<str>>> {
        let from: (Index, Arc<str>) = (seen + 1, "".into());
        (seen >= self.gone_services.floor())
            .then(|| self.changed_services.range(from..).map(|(_, name)| name))
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&Arc<NodeEntry>> {
        self.nodes.get(name)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<NodeEntry>> {
        self.nodes.iter().map(|(_, node)| node)
    }

    /// An instance by node and id.
    pub fn instance(&self, node: &str, id: &str) -> Option<&Arc<Instance>> {
        self.nodes.get(node)?.instances.get(id)
    }

    /// A check by node and id, of the node or of an instance.
    pub fn check(&self, node: &str, id: &str) -> Option<&Arc<Check>> {
        let entry = self.nodes.get(node)?;
        let checks = match entry.instance_checks.get(id) {
            Some(instance) => &entry.instances.get(instance)?.checks,
            None => &entry.checks,
        };
        checks.iter().find(|check| &*check.def.id == id)
    }

    /// All checks, by node, the node's own before its instances'.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<Check>> {
        self.nodes().flat_map(|node| node.all_checks())
    }

    /// Verdict on an instance: the worst of its own checks and of its node's. Passing without any check.
    pub fn health(&self, instance: &Instance) -> Status {
        self.checks_of(instance).map(|check| check.status).max().unwrap_or(Status::Passing)
    }

    /// Address that an instance is reached at: its own, else its node's. May be a host name.
    pub fn address_of(&self, instance: &Instance) -> Arc<str> {
        if !instance.def.address.is_empty() {
            return instance.def.address.clone();
        }
        self.nodes.get(&instance.node).map(|node| node.def.address.clone()).unwrap_or_default()
    }

    /// The same, where it is an IP address.
    pub fn ip_of(&self, instance: &Instance) -> Option<IpAddr> {
        self.address_of(instance).parse().ok()
    }

    /// Service that holds a virtual address.
    pub fn service_of_virtual_ip(&self, address: Ipv4Addr) -> Option<&Arc<Service>> {
        match self.slots.get(&address)? {
            Slot::Taken { service } => self.services.get(service),
            Slot::Resting { .. } | Slot::Avoided => None,
        }
    }

    /// One key.
    pub fn key(&self, key: &str) -> Option<&Arc<KvEntry>> {
        self.kv.get(key)
    }

    /// Keys that start with `prefix`, in byte order.
    pub fn keys_under<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<KvEntry>)> {
        let from: Arc<str> = prefix.into();
        self.kv.range(from..).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Index for watchers of one key, also of an absent one. At least 1.
    pub fn key_index(&self, key: &str) -> Index {
        let index = match self.kv.get(key) {
            Some(entry) => entry.modify_index,
            None => self.gone_keys.index_of(key),
        };
        index.max(1)
    }

    /// Index for watchers of a prefix. At least 1.
    pub fn prefix_index(&self, prefix: &str) -> Index {
        if prefix.is_empty() {
            return self.tables.kv.max(1);
        }
        let living = self.keys_under(prefix).map(|(_, entry)| entry.modify_index).max().unwrap_or(0);
        living.max(self.gone_keys.index_under(prefix)).max(1)
    }
}

impl NodeEntry {
    /// Every check on this node: its own, then its instances', by instance id.
    pub fn all_checks(&self) -> impl Iterator<Item = &Arc<Check>> {
        let of_instances = self.instances.iter().flat_map(|(_, instance)| instance.checks.iter());
        self.checks.iter().chain(of_instances)
    }
}

impl Service {
    /// Instances in the stable order (node, id).
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.iter().map(|(_, instance)| instance)
    }

    /// All tags of all instances, sorted, once each.
    pub fn tags(&self) -> Vec<Arc<str>> {
        let mut tags: Vec<_> = self.iter().flat_map(|instance| instance.def.tags.iter().cloned()).collect();
        tags.sort();
        tags.dedup();
        tags
    }
}
