//! What ran out, and what follows from it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use catalog::{Check, Command, Deregister, Index, SessionCommand, Snapshot, Status};

use crate::session::SESSIONS;
use crate::{Leases, Tables};

/// A deadline that has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expired {
    /// An instance was not renewed for its term: it goes.
    Instance {
        /// Node name.
        node: Arc<str>,
        /// Instance id.
        id: Arc<str>,
        /// The registration that ran out; a newer one is left alone.
        registered_index: Index,
        /// The term.
        ttl_ms: u64,
    },
    /// A session was not renewed for its term: it ends.
    Session {
        /// Session id.
        id: Arc<str>,
        /// Since when this node keeps it; an end is refused when another took it.
        claimed_index: Index,
        /// The term.
        ttl_ms: u64,
    },
    /// A TTL check heard nothing for its term: it is critical.
    Check {
        /// Node name.
        node: Arc<str>,
        /// Check id.
        id: Arc<str>,
        /// What is said of it from now on.
        output: Arc<str>,
    },
    /// A check was critical for as long as its registration allows: its instance goes.
    Critical {
        /// Node name.
        node: Arc<str>,
        /// Instance id.
        id: Arc<str>,
        /// Check id.
        check: Arc<str>,
        /// The registration that this was decided upon.
        registered_index: Index,
        /// How long it was allowed to be critical.
        after_ms: u64,
    },
    /// A TTL check's output was held back, and its time has come; the status stays.
    Output {
        /// Node name.
        node: Arc<str>,
        /// Check id.
        id: Arc<str>,
        /// The status that it has.
        status: Status,
        /// The output.
        output: Arc<str>,
    },
}

impl Expired {
    /// The command to propose.
    pub fn command(&self) -> Command {
        match self {
            Expired::Instance { node, id, registered_index, .. }
            | Expired::Critical { node, id, registered_index, .. } => {
                let registered_index = Some(*registered_index);
                Command::Deregister(Deregister::Instance {
                    node: node.clone(),
                    id: id.clone(),
                    registered_index,
                })
            }
            Expired::Session { id, claimed_index, .. } => {
                let claimed_index = Some(*claimed_index);
                Command::Session(SessionCommand::End { id: id.clone(), claimed_index })
            }
            Expired::Check { node, id, output } => set_status(node, id, Status::Critical, output),
            Expired::Output { node, id, status, output } => set_status(node, id, *status, output),
        }
    }
}

fn set_status(node: &Arc<str>, check: &Arc<str>, status: Status, output: &Arc<str>) -> Command {
    Command::SetStatus { node: node.clone(), check: check.clone(), status, output: output.clone() }
}

impl Leases {
    /// Announces how often the sweep will come, so that a rare one is not taken for a late one.
    pub fn expect_sweeps_every(&self, interval: Duration) {
        let ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self.sweep_ms.store(ms, Ordering::Relaxed);
    }

    /// Follows `snapshot`, then returns what ran out. The caller proposes the commands; what did not come
    /// about is returned again some seconds later. Costs well under 5 ms for a million leases.
    pub fn sweep(&self, snapshot: &Snapshot, now: Instant) -> Vec<Expired> {
        self.follow(snapshot, now);
        let tick = self.tick(now);
        let since = {
            let mut progress = self.progress();
            let since = tick.saturating_sub(progress.swept);
            progress.swept = progress.swept.max(tick);
            since
        };
        let due = u128::from(self.sweep_ms.load(Ordering::Relaxed));
        if u128::from(since) > due + self.config.late_sweep.as_millis() {
            self.late_sweeps.fetch_add(1, Ordering::Relaxed);
            self.tables().grant_grace(tick);
            return Vec::new();
        }
        let mut expired = Vec::new();
        let gone = self.tables().expire(snapshot, tick, &mut expired);
        if !gone.is_empty() {
            let mut tables = self.tables_mut();
            gone.iter().for_each(|gone| tables.forget(gone));
        }
        self.expired.fetch_add(expired.len() as u64, Ordering::Relaxed);
        expired.extend(self.due_outputs(snapshot, tick).iter().map(|check| output(check)));
        expired
    }
}

fn output(check: &Check) -> Expired {
    let (node, id) = (check.node.clone(), check.def.id.clone());
    Expired::Output { node, id, status: check.status, output: check.output.clone() }
}

/// A slot whose instance or check is not there any more.
enum Gone {
    Instance(Arc<str>, Arc<str>),
    Check(Arc<str>, Arc<str>),
    Session(Arc<str>),
}

impl Tables {
    fn grant_grace(&self, tick: u64) {
        self.instances.grant_grace(tick);
        self.sessions.grant_grace(tick);
        self.reports.grant_grace(tick);
        self.criticals.grant_grace(tick);
    }

    fn forget(&mut self, gone: &Gone) {
        match gone {
            Gone::Instance(node, id) => self.instances.remove(node, id),
            Gone::Session(id) => self.sessions.remove(SESSIONS, id),
            Gone::Check(node, id) => {
                self.reports.remove(node, id);
                self.criticals.remove(node, id);
            }
        }
    }

    /// Collects what ran out; returns slots that a caller with an older snapshot had brought back.
    fn expire(&self, snapshot: &Snapshot, tick: u64, expired: &mut Vec<Expired>) -> Vec<Gone> {
        let mut gone = Vec::new();
        for slot in self.instances.expire(tick).into_iter().filter_map(|at| self.instances.slot(at)) {
            let (node, id) = (slot.node.clone(), slot.id.clone());
            let (registered_index, ttl_ms) = (slot.entry.registered_index, slot.entry.ttl_ms);
            match snapshot.instance(&node, &id) {
                None => gone.push(Gone::Instance(node, id)),
                Some(_) => expired.push(Expired::Instance { node, id, registered_index, ttl_ms }),
            }
        }
        for slot in self.sessions.expire(tick).into_iter().filter_map(|at| self.sessions.slot(at)) {
            let (id, entry) = (slot.id.clone(), &slot.entry);
            let (claimed_index, ttl_ms) = (entry.claimed_index, entry.ttl_ms);
            match snapshot.session(&id) {
                None => gone.push(Gone::Session(id)),
                Some(_) => expired.push(Expired::Session { id, claimed_index, ttl_ms }),
            }
        }
        for slot in self.reports.expire(tick).into_iter().filter_map(|at| self.reports.slot(at)) {
            let (node, id) = (slot.node.clone(), slot.id.clone());
            match snapshot.check(&node, &id) {
                None => gone.push(Gone::Check(node, id)),
                // Decided already; the slot stays silent until somebody reports.
                Some(check) if check.status == Status::Critical => {}
                Some(_) => expired.push(Expired::Check { node, id, output: slot.entry.silence() }),
            }
        }
        for slot in self.criticals.expire(tick).into_iter().filter_map(|at| self.criticals.slot(at)) {
            let entry = &slot.entry;
            expired.push(Expired::Critical {
                node: slot.node.clone(),
                id: entry.instance.clone(),
                check: slot.id.clone(),
                registered_index: entry.registered_index,
                after_ms: entry.after_ms,
            });
        }
        gone
    }
}
