//! Signs of life that reach a node which does not keep the deadline. They are passed on to the node that does;
//! how is not this crate's business.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Snapshot, Status};
use serde::{Deserialize, Serialize};

/// A renewal or a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// See [`Leases::renew`](crate::Leases::renew).
    Renewal {
        /// Node that the instance is registered on.
        node: Arc<str>,
        /// Instance id.
        id: Arc<str>,
    },
    /// See [`Leases::report`](crate::Leases::report).
    Report {
        /// Node of the check.
        node: Arc<str>,
        /// Check id.
        id: Arc<str>,
        /// What is reported.
        status: Status,
        /// What is said.
        output: Arc<str>,
    },
}

impl Sign {
    /// The node that keeps the deadline; `None` when there is no such instance or check.
    pub fn keeper(&self, snapshot: &Snapshot) -> Option<Arc<str>> {
        let (node, instance) = match self {
            Sign::Renewal { node, id } => (node, id.clone()),
            Sign::Report { node, id, .. } => (node, snapshot.check(node, id)?.def.service_id.clone()),
        };
        match snapshot.instance(node, &instance) {
            Some(instance) => Some(instance.owner.node.clone()),
            None if instance.is_empty() => Some(node.clone()),
            None => None,
        }
    }

    /// The instance that it is about; `None` for a check of a node.
    pub fn instance(&self, snapshot: &Snapshot) -> Option<(Arc<str>, Arc<str>)> {
        let (node, id) = match self {
            Sign::Renewal { node, id } => (node, id.clone()),
            Sign::Report { node, id, .. } => (node, snapshot.check(node, id)?.def.service_id.clone()),
        };
        snapshot.instance(node, &id).map(|instance| (instance.node.clone(), instance.def.id.clone()))
    }
}

/// Why a sign of life reached nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NotPassedOn {
    /// The keeper knows no such thing, or it ran out: register it again.
    #[error("{0}")]
    Gone(String),
    /// The keeper does not answer. Try again: it comes back, or another node takes over.
    #[error("{0}")]
    Unreachable(String),
}

/// What [`PassOn::pass_on`] returns: how long the lease lasts from now, zero where there is none.
pub type PassingOn<'a> = Pin<Box<dyn Future<Output = Result<Duration, NotPassedOn>> + Send + 'a>>;

/// Brings signs of life to whoever keeps the deadline, or takes the deadline over when nobody does any more.
pub trait PassOn: Send + Sync {
    /// Passes one on.
    fn pass_on(&self, sign: Sign) -> PassingOn<'_>;
}

/// A node that knows no other.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyElse;

impl PassOn for NobodyElse {
    fn pass_on(&self, _: Sign) -> PassingOn<'_> {
        let why = "another node keeps this deadline, and this one is linked with none".to_owned();
        Box::pin(std::future::ready(Err(NotPassedOn::Unreachable(why))))
    }
}

/// The other nodes that an instance id is registered on. Clients of Consul's API name no node: they mean the
/// one they speak to, and when that died they speak to another.
pub fn instances_elsewhere(snapshot: &Snapshot, own: &str, id: &str) -> Vec<Arc<str>> {
    let others = snapshot.nodes().filter(|entry| *entry.def.name != *own);
    others.filter(|entry| entry.instances.contains_key(id)).map(|entry| entry.def.name.clone()).collect()
}

/// The same for a check.
pub fn checks_elsewhere(snapshot: &Snapshot, own: &str, id: &str) -> Vec<Arc<str>> {
    let others = snapshot.nodes().map(|entry| &entry.def.name).filter(|name| ***name != *own);
    others.filter(|name| snapshot.check(name, id).is_some()).cloned().collect()
}
