//! What is agreed on about the cluster itself, and the questions it answers.

use std::sync::Arc;

use imbl::OrdMap;

use crate::members::{Down, FEATURES, JoinSecret, LIVENESS_CHECK, Member, Operator};
use crate::model::{Check, Index, Instance, Probe};
use crate::snapshot::Snapshot;
use crate::trust::{Denied, Issuer, KeyHash, Mode, Root, RootState};

/// State of the cluster. One reference count in a snapshot: it changes seldom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    pub(crate) id: Arc<str>,
    pub(crate) members: OrdMap<Arc<str>, Arc<Member>>,
    pub(crate) secrets: OrdMap<KeyHash, JoinSecret>,
    pub(crate) operators: OrdMap<KeyHash, Operator>,
    pub(crate) roots: OrdMap<KeyHash, Arc<Root>>,
    pub(crate) issuers: OrdMap<Arc<str>, Arc<Issuer>>,
    pub(crate) denied: OrdMap<KeyHash, Denied>,
    /// Highest server number given out.
    pub(crate) last_server: u64,
    pub(crate) members_index: Index,
    pub(crate) trust_index: Index,
}

impl Cluster {
    /// The cluster's id, also its trust domain; empty before `init`.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Members by name.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.values()
    }

    /// One member.
    pub fn member(&self, name: &str) -> Option<&Arc<Member>> {
        self.members.get(name)
    }

    /// The member that has this key.
    pub fn member_of_key(&self, key: KeyHash) -> Option<&Arc<Member>> {
        self.members().find(|member| member.key == key)
    }

    /// The server with this number.
    pub fn server(&self, id: u64) -> Option<&Arc<Member>> {
        self.members().find(|member| member.server_id == id && id != 0)
    }

    /// Join secrets that were not used up, by hash; some may have expired.
    pub fn join_secrets(&self) -> impl Iterator<Item = &JoinSecret> {
        self.secrets.values()
    }

    /// The operator whose token has this hash.
    pub fn operator(&self, hash: KeyHash) -> Option<&Operator> {
        self.operators.get(&hash)
    }

    /// Operators, by hash.
    pub fn operators(&self) -> impl Iterator<Item = &Operator> {
        self.operators.values()
    }

    /// Every root that is trusted, whether it signs or not.
    pub fn roots(&self) -> impl Iterator<Item = &Arc<Root>> {
        self.roots.values()
    }

    /// The root that signs.
    pub fn active_root(&self) -> Option<&Arc<Root>> {
        self.roots().find(|root| root.state == RootState::Active)
    }

    /// A root by its key.
    pub fn root(&self, key: KeyHash) -> Option<&Arc<Root>> {
        self.roots.get(&key)
    }

    /// Servers' issuers, by server.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.values()
    }

    /// One server's issuer.
    pub fn issuer(&self, node: &str) -> Option<&Arc<Issuer>> {
        self.issuers.get(node)
    }

    /// Whether nobody may use this key.
    pub fn is_denied(&self, key: KeyHash) -> bool {
        self.denied.contains_key(&key)
    }

    /// Keys that nobody may use, by hash.
    pub fn denied(&self) -> impl Iterator<Item = &Denied> {
        self.denied.values()
    }

    /// Index for watchers of the members.
    pub fn members_index(&self) -> Index {
        self.members_index
    }

    /// Index for watchers of roots, issuers, denied keys, operators and the mode.
    pub fn trust_index(&self) -> Index {
        self.trust_index
    }

    /// Level that every member understands.
    pub fn features(&self) -> u32 {
        self.members().map(|member| member.features).min().unwrap_or(FEATURES)
    }
}

impl Snapshot {
    /// What is agreed on about the cluster itself.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// How strictly the cluster asks who is speaking.
    pub fn mode(&self) -> Mode {
        self.settings.mode
    }

    /// The verdict on a node that fell silent; none on one that lives or is not registered.
    pub fn down(&self, node: &str) -> Option<Down> {
        self.nodes.get(node)?.down
    }

    /// Every check that judges an instance: those of the node that it is registered on, then its own. Where
    /// another node keeps its lease, that node's life counts and not the first one's.
    pub fn checks_of<'a>(&'a self, instance: &'a Instance) -> impl Iterator<Item = &'a Arc<Check>> {
        let life = instance.life();
        let is_elsewhere = *life != instance.node;
        let here = self.nodes.get(&instance.node).into_iter().flat_map(|node| node.checks.iter());
        let here = here.filter(move |check| !is_elsewhere || &*check.def.id != LIVENESS_CHECK);
        let there = is_elsewhere.then(|| self.check(life, LIVENESS_CHECK)).flatten();
        there.into_iter().chain(here).chain(&instance.checks)
    }
}

impl Instance {
    /// Whether somebody must renew it or report on it.
    pub fn keeps_lease(&self) -> bool {
        self.def.lease.is_some() || self.checks.iter().any(|c| matches!(c.def.probe, Probe::Ttl { .. }))
    }

    /// The node by which it lives: the one that keeps its lease, else the one it is registered on.
    pub fn life(&self) -> &Arc<str> {
        if self.owner.node != self.node && self.keeps_lease() { &self.owner.node } else { &self.node }
    }
}
