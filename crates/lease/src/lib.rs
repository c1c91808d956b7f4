//! Deadlines of this node's leases, kept outside the log and renewed by whoever asks.
//!
//! Four kinds of deadline, all in [`Leases`]: instances that registered with a lease, sessions with a term, TTL
//! checks that wait for the next report, and instances to be taken away because a check was critical for too long. The
//! catalog holds the terms; what runs out here becomes one command there.
//!
//! The order of its methods: [`Leases::follow`] keeps up with the catalog, [`Leases::renew`] and
//! [`Leases::report`] put deadlines off, [`Leases::sweep`] says what ran out. Every deadline gets one full
//! term of grace whenever nobody could have renewed it: after a restart, after the instance was registered
//! again, and after a sweep that came late.
//!
//! Time is an argument and no task runs here: `health` sweeps once a second.

mod expired;
mod follow;
mod pass_on;
mod report;
mod session;
mod table;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use catalog::{Index, Instance, Snapshot};
use serde::{Deserialize, Serialize};

pub use expired::Expired;
pub use pass_on::{NobodyElse, NotPassedOn, PassOn, PassingOn, Sign, checks_elsewhere, instances_elsewhere};
pub use report::ReportError;

use report::{Deferred, TtlCheck};
use session::SessionLease;
use table::{Table, Tick};

/// How leases are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A sweep that comes this much later than it should takes nothing away: this node was not running, so
    /// renewals may be waiting. Default 5 s.
    #[serde(with = "state::units::duration")]
    pub late_sweep: Duration,
    /// Output of a TTL check that changes without a change of status is proposed at most this often.
    /// Default 5 min.
    #[serde(with = "state::units::duration")]
    pub output_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config { late_sweep: Duration::from_secs(5), output_interval: Duration::from_secs(300) }
    }
}

/// Counters and gauges of the leases of this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Instances with a lease.
    pub instances: usize,
    /// Sessions with a term.
    pub sessions: usize,
    /// TTL checks.
    pub ttl_checks: usize,
    /// Renewals and reports that were accepted.
    pub renewed: u64,
    /// Deadlines that ran out.
    pub expired: u64,
    /// Sweeps that came late and granted grace instead.
    pub late_sweeps: u64,
}

/// Why a renewal was not accepted. The client's answer to the first two is to register again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// Not registered.
    #[error("renew \"{id}\" on node \"{node}\": it is not registered; register it again")]
    Unknown {
        /// Node name.
        node: Arc<str>,
        /// Instance id.
        id: Arc<str>,
    },
    /// It ran out, and its end has been proposed.
    #[error("renew \"{id}\": its lease of {ttl_ms} ms has run out; register it again")]
    Expired {
        /// Instance id.
        id: Arc<str>,
        /// Its term.
        ttl_ms: u64,
    },
    /// Another node keeps its lease.
    #[error("renew \"{id}\": node \"{owner}\" keeps its lease")]
    Elsewhere {
        /// Instance id.
        id: Arc<str>,
        /// That node's name.
        owner: Arc<str>,
    },
}

/// Every deadline of one node. Share it in an `Arc`; all methods take `&self`.
#[derive(Debug)]
pub struct Leases {
    node: Arc<str>,
    config: Config,
    origin: Instant,
    tables: RwLock<Tables>,
    /// Outputs of TTL checks that wait for their turn.
    deferred: Mutex<Deferred>,
    progress: Mutex<Progress>,
    renewed: AtomicU64,
    expired: AtomicU64,
    late_sweeps: AtomicU64,
    /// Time between two sweeps as announced, in milliseconds.
    sweep_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct Tables {
    instances: Table<InstanceLease>,
    sessions: Table<SessionLease>,
    reports: Table<TtlCheck>,
    criticals: Table<Critical>,
}

/// An instance that must be renewed.
#[derive(Debug, PartialEq, Eq)]
struct InstanceLease {
    registered_index: Index,
    ttl_ms: u64,
}

/// A critical check that will take its instance away.
#[derive(Debug, PartialEq, Eq)]
struct Critical {
    instance: Arc<str>,
    registered_index: Index,
    after_ms: u64,
}

/// How far `follow` and `sweep` have come.
#[derive(Debug)]
struct Progress {
    seen: Snapshot,
    swept: Tick,
}

impl Leases {
    /// The leases of `node`, none yet. `now` is where time begins.
    pub fn new(node: &str, config: Config, now: Instant) -> Leases {
        Leases {
            node: node.into(),
            config,
            origin: now,
            tables: RwLock::default(),
            deferred: Mutex::default(),
            progress: Mutex::new(Progress { seen: Snapshot::default(), swept: 0 }),
            renewed: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            late_sweeps: AtomicU64::new(0),
            sweep_ms: AtomicU64::new(0),
        }
    }

    /// Name of the node whose leases these are.
    pub fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// Renews the lease of an instance: it lasts a full term from `now`. `snapshot` is the caller's latest,
    /// so that a client may renew right after it registered. Returns the term; zero when the instance has no
    /// lease and lasts anyway.
    ///
    /// # Errors
    /// [`RenewError`].
    pub fn renew(
        &self,
        snapshot: &Snapshot,
        node: &str,
        id: &str,
        now: Instant,
    ) -> Result<Duration, RenewError> {
        let tick = self.tick(now);
        let tables = self.tables();
        if let Some(at) = tables.instances.find(node, id)
            && tables.instances.renew(at, tick)
        {
            self.renewed.fetch_add(1, Ordering::Relaxed);
            return Ok(Duration::from_millis(tables.instances.term_ms(at)));
        }
        drop(tables);
        self.renew_unknown(snapshot, node, id, tick)
    }

    /// Nothing armed under that name: perhaps it was registered a moment ago.
    fn renew_unknown(
        &self,
        snapshot: &Snapshot,
        node: &str,
        id: &str,
        tick: Tick,
    ) -> Result<Duration, RenewError> {
        let instance = snapshot
            .instance(node, id)
            .ok_or_else(|| RenewError::Unknown { node: node.into(), id: id.into() })?;
        if instance.owner.node != self.node {
            return Err(RenewError::Elsewhere { id: id.into(), owner: instance.owner.node.clone() });
        }
        let Some(lease) = instance.def.lease else { return Ok(Duration::ZERO) };
        let mut tables = self.tables_mut();
        self.admit(&mut tables, instance, tick);
        match tables.instances.find(node, id).is_some_and(|at| tables.instances.renew(at, tick)) {
            true => {
                self.renewed.fetch_add(1, Ordering::Relaxed);
                Ok(Duration::from_millis(lease.ttl_ms))
            }
            false => Err(RenewError::Expired { id: id.into(), ttl_ms: lease.ttl_ms }),
        }
    }

    /// How long ago an instance was last registered or renewed; `None` when it has no lease here, or one
    /// that has run out.
    pub fn unrenewed_for(&self, node: &str, id: &str, now: Instant) -> Option<Duration> {
        let tables = self.tables();
        let at = tables.instances.find(node, id)?;
        let left = tables.instances.left(at, self.tick(now))?;
        Some(Duration::from_millis(tables.instances.term_ms(at).saturating_sub(left)))
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        let tables = self.tables();
        Stats {
            instances: tables.instances.len(),
            sessions: tables.sessions.len(),
            ttl_checks: tables.reports.len(),
            renewed: self.renewed.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
            late_sweeps: self.late_sweeps.load(Ordering::Relaxed),
        }
    }

    fn owns(&self, instance: &Instance) -> bool {
        instance.owner.node == self.node
    }

    fn tick(&self, now: Instant) -> Tick {
        now.saturating_duration_since(self.origin).as_millis() as Tick
    }

    fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deferred(&self) -> MutexGuard<'_, Deferred> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
