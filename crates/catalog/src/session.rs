//! Sessions: who holds locks on keys, and what ends that.

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::changes::Change;
use crate::model::{Index, Owner};
use crate::snapshot::Snapshot;
use crate::validate::{self, Invalid};

/// Shortest term of a session, in milliseconds, as in Consul.
pub const MIN_TTL_MS: u64 = 10_000;
/// Longest term of a session and longest lock delay, in milliseconds.
pub const MAX_TTL_MS: u64 = 24 * 60 * 60 * 1000;
/// Most checks that one session is bound to.
pub const MAX_BOUND: usize = 64;

/// What becomes of the keys that a session holds when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behavior {
    /// They stay, unlocked.
    #[default]
    Release,
    /// They go.
    Delete,
}

/// A session, as created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDef {
    /// Unique everywhere (UUID text), chosen by the proposer.
    pub id: Arc<str>,
    /// For people, may be empty.
    #[serde(default)]
    pub name: Arc<str>,
    /// Node that it stands and falls with.
    pub node: Arc<str>,
    /// Checks on that node that end it when they turn critical or go: of the node itself.
    #[serde(default)]
    pub node_checks: Vec<Arc<str>>,
    /// The same, of instances.
    #[serde(default)]
    pub service_checks: Vec<Arc<str>>,
    /// What becomes of its keys.
    #[serde(default)]
    pub behavior: Behavior,
    /// Must be renewed within this time, in milliseconds.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// How long its keys cannot be locked after it ended, in milliseconds.
    #[serde(default)]
    pub lock_delay_ms: u64,
}

impl SessionDef {
    /// Every check that it is bound to.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<str>> {
        self.node_checks.iter().chain(&self.service_checks)
    }

    /// # Errors
    /// [`Invalid`] with the rule that is broken.
    pub fn validate(&self) -> Result<(), Invalid> {
        validate::id("session id", &self.id)?;
        validate::text("session name", &self.name)?;
        if let Some(ttl_ms) = self.ttl_ms.filter(|ttl_ms| !(MIN_TTL_MS..=MAX_TTL_MS).contains(ttl_ms)) {
            let rule = "it must be between 10 s and 24 h";
            return Err(Invalid::new("session TTL", &format!("{ttl_ms} ms"), rule));
        }
        if self.lock_delay_ms > MAX_TTL_MS {
            let value = format!("{} ms", self.lock_delay_ms);
            return Err(Invalid::new("lock delay", &value, "it must not be longer than 24 h"));
        }
        if self.checks().count() > MAX_BOUND {
            let rule = format!("a session is bound to at most {MAX_BOUND} checks");
            return Err(Invalid::new("session", &self.id, rule));
        }
        Ok(())
    }
}

/// A living session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// As created.
    pub def: Arc<SessionDef>,
    /// Node that keeps its lease.
    pub owner: Owner,
    /// Index at which the owner took it; an end that was decided upon an older one is refused.
    pub claimed_index: Index,
    /// Index of its creation.
    pub create_index: Index,
}

/// Commands on sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionCommand {
    /// Creates one; the proposer keeps its lease.
    Create(Box<SessionDef>),
    /// Ends one; what is not there has ended already.
    End {
        /// Session id.
        id: Arc<str>,
        /// Only if its owner took it at this index: a lease that ran out must not end a session that
        /// another node keeps now.
        #[serde(default)]
        claimed_index: Option<Index>,
    },
    /// The proposer keeps its lease from now on, because a renewal reached it.
    Claim {
        /// Session id.
        id: Arc<str>,
    },
}

/// Every session, with what is bound to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    pub(crate) by_id: OrdMap<Arc<str>, Arc<Session>>,
    /// (node, check, session).
    pub(crate) bound: OrdSet<(Arc<str>, Arc<str>, Arc<str>)>,
    /// (node, session).
    pub(crate) by_node: OrdSet<(Arc<str>, Arc<str>)>,
    /// (session, key).
    pub(crate) held: OrdSet<(Arc<str>, Arc<str>)>,
    /// Keys that cannot be locked before a time in Unix milliseconds.
    pub(crate) delays: OrdMap<Arc<str>, u64>,
    /// The same, soonest first.
    pub(crate) delays_by_time: OrdSet<(u64, Arc<str>)>,
}

impl Sessions {
    pub(crate) fn insert(&mut self, session: Arc<Session>) {
        let def = &session.def;
        for check in def.checks() {
            self.bound.insert((def.node.clone(), check.clone(), def.id.clone()));
        }
        self.by_node.insert((def.node.clone(), def.id.clone()));
        self.by_id.insert(def.id.clone(), session);
    }

    /// Takes a session away; what it held is for the caller to release.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Arc<Session>> {
        let session = self.by_id.remove(id)?;
        let def = &session.def;
        for check in def.checks() {
            self.bound.remove(&(def.node.clone(), check.clone(), def.id.clone()));
        }
        self.by_node.remove(&(def.node.clone(), def.id.clone()));
        Some(session)
    }

    /// Ids of the sessions that are bound to a check.
    pub(crate) fn bound_to(&self, node: &Arc<str>, check: &Arc<str>) -> Vec<Arc<str>> {
        let from = (node.clone(), check.clone(), "".into());
        let of_check = self.bound.range(from..).take_while(|(n, c, _)| n == node && c == check);
        of_check.map(|(_, _, session)| session.clone()).collect()
    }

    /// Ids of the sessions on a node.
    pub(crate) fn on(&self, node: &Arc<str>) -> impl Iterator<Item = &Arc<str>> {
        let (from, node): ((_, Arc<str>), _) = ((node.clone(), "".into()), node.clone());
        self.by_node.range(from..).take_while(move |(n, _)| *n == node).map(|(_, session)| session)
    }

    /// Keys that a session holds.
    pub(crate) fn keys_of(&self, session: &Arc<str>) -> Vec<Arc<str>> {
        let from: (_, Arc<str>) = (session.clone(), "".into());
        let held = self.held.range(from..).take_while(|(s, _)| s == session);
        held.map(|(_, key)| key.clone()).collect()
    }

    /// Keeps a key from being locked before `until_ms`.
    pub(crate) fn delay(&mut self, key: &Arc<str>, until_ms: u64) {
        if let Some(before) = self.delays.insert(key.clone(), until_ms) {
            self.delays_by_time.remove(&(before, key.clone()));
        }
        self.delays_by_time.insert((until_ms, key.clone()));
    }

    /// Forgets delays that are over.
    pub(crate) fn forget_delays(&mut self, now_ms: u64) {
        while let Some((until_ms, key)) = self.delays_by_time.get_min().cloned()
            && until_ms <= now_ms
        {
            self.delays_by_time.remove(&(until_ms, key.clone()));
            self.delays.remove(&key);
        }
    }
}

impl Snapshot {
    /// A session by its id.
    pub fn session(&self, id: &str) -> Option<&Arc<Session>> {
        self.sessions.by_id.get(id)
    }

    /// All sessions, by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.by_id.values()
    }

    /// Sessions on one node, by id.
    pub fn sessions_on(&self, node: &str) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions
            .on(&node.into())
            .cloned()
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|id| self.session(&id))
    }

    /// Keys that a session holds.
    pub fn keys_held_by(&self, session: &Arc<str>) -> Vec<Arc<str>> {
        self.sessions.keys_of(session)
    }

    /// Sessions that differ between `since` and this snapshot, by id.
    pub fn session_changes<'a>(&'a self, since: &'a Snapshot) -> impl Iterator<Item = Change<'a, Session>> {
        since
            .sessions
            .by_id
            .diff(&self.sessions.by_id)
            .map(|item: DiffItem<'a, 'a, Arc<str>, Arc<Session>>| Change::from(item))
    }
}
