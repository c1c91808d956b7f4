//! The one place where replicated state changes.

mod acl;
mod check;
mod compact;
mod deregister;
mod exposure;
mod kv;
pub(crate) mod life;
mod lock;
mod members;
mod query;
mod register;
mod restore;
mod rules;
mod service;
mod session;
mod topic;
mod transaction;
mod trust;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::command::{Command, Envelope, Outcome};
use crate::model::{Index, Settings};
use crate::snapshot::{Proposer, Snapshot};
use crate::virtual_ip::Slot;

/// A scope that somebody may be waiting on. Who waits is woken by its own topic and by no other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Anything of one service: instances, their checks, their nodes.
    Service(Arc<str>),
    /// The set of service names and their tags.
    ServiceNames,
    /// Anything on one node.
    Node(Arc<str>),
    /// The set of nodes and their definitions.
    Nodes,
    /// Any check.
    Checks,
    /// Any session.
    Sessions,
    /// Messages of one topic.
    Messages(Arc<str>),
    /// Any topic.
    Topics,
    /// Any event.
    Events,
    /// Any wish to be reachable from outside.
    Exposures,
    /// Any prepared query.
    Queries,
    /// All of it: the state was replaced.
    Everything,
    /// One key. Watchers of a prefix are found from the key.
    Key(Arc<str>),
    /// The members of the cluster.
    Members,
    /// Roots, issuers, denied keys, operators and the mode.
    Trust,
    /// Rules and redirections.
    Rules,
    /// Tokens, policies and roles.
    Acl,
}

/// What one envelope did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its place in the order.
    pub index: Index,
    /// What became of it.
    pub outcome: Outcome,
    /// Whose watchers to wake, once each, in order.
    pub touched: Vec<Topic>,
}

/// The state with the only method that changes it.
#[derive(Debug, Default)]
pub struct Catalog {
    state: Snapshot,
    touched: BTreeSet<Topic>,
}

impl Catalog {
    /// Continues from a snapshot.
    pub fn from_snapshot(state: Snapshot) -> Catalog {
        Catalog { state, touched: BTreeSet::new() }
    }

    /// The state now. Cheap.
    pub fn snapshot(&self) -> Snapshot {
        self.state.clone()
    }

    /// Applies the envelope decided at `index`. Deterministic; refusals are outcomes, not errors.
    pub fn apply(&mut self, index: Index, envelope: &Envelope) -> Applied {
        self.state.index = index;
        self.state.time_ms = self.state.time_ms.max(envelope.time_ms);
        let outcome = if self.is_first_time(envelope) {
            let mut turn = Turn { index, envelope, state: &mut self.state, touched: &mut self.touched };
            turn.lift_if_back();
            turn.command(&envelope.command)
        } else {
            Outcome::Duplicate
        };
        Applied { index, outcome, touched: std::mem::take(&mut self.touched).into_iter().collect() }
    }

    /// Records the envelope's number; false when it was applied before or belongs to an earlier boot.
    fn is_first_time(&mut self, envelope: &Envelope) -> bool {
        let proposer = self.state.proposers.entry(envelope.node.clone()).or_default();
        if envelope.epoch < proposer.epoch {
            return false;
        }
        if envelope.epoch > proposer.epoch {
            *proposer = Proposer { epoch: envelope.epoch, ..Proposer::default() };
        }
        if envelope.sequence <= proposer.floor || proposer.above.contains(&envelope.sequence) {
            return false;
        }
        proposer.above.insert(envelope.sequence);
        while proposer.above.remove(&(proposer.floor + 1)).is_some() {
            proposer.floor += 1;
        }
        true
    }
}

/// One envelope being applied.
struct Turn<'a> {
    index: Index,
    envelope: &'a Envelope,
    state: &'a mut Snapshot,
    touched: &'a mut BTreeSet<Topic>,
}

impl Turn<'_> {
    fn command(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Register(register) => self.register(register),
            Command::Deregister(deregister) => self.deregister(deregister),
            Command::SetStatus { node, check, status, output } => {
                self.set_status(node, check, *status, output)
            }
            Command::Kv(command) => self.kv(command),
            Command::Session(command) => self.session(command),
            Command::Topic(command) => self.topic(command),
            Command::Expose(command) => self.exposure(command),
            Command::Transact(operations) => self.transaction(operations.iter()),
            Command::AvoidVirtualIp { address } => self.avoid(*address),
            Command::Configure(settings) => self.configure(settings),
            Command::Query(command) => self.query(command),
            Command::Restore(command) => self.restore(command),
            Command::Cluster(command) => self.cluster(command),
            Command::Intention(command) => self.intention(command),
            Command::Redirection(command) => self.redirection(command),
            Command::Acl(command) => self.acl(command),
            Command::Batch(commands) => {
                Outcome::Batch(commands.iter().map(|command| self.command(command)).collect())
            }
        }
    }

    fn configure(&mut self, settings: &Settings) -> Outcome {
        let changed = self.state.settings != *settings;
        if self.state.settings.mode != settings.mode {
            self.touch_trust();
        }
        self.state.settings = settings.clone();
        Outcome::Done { changed }
    }

    /// Moves the service at `address` to another address, and never uses this one again.
    fn avoid(&mut self, address: std::net::Ipv4Addr) -> Outcome {
        let previous = self.state.slots.insert(address, Slot::Avoided);
        if let Some(Slot::Taken { service }) = &previous {
            self.assign_virtual_ip(&service.clone());
            self.touch_service(&service.clone());
        }
        Outcome::Done { changed: previous != Some(Slot::Avoided) }
    }
}
