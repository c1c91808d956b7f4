//! Reports of TTL checks: the deadline moves at once, the log hears of changes only.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use catalog::validate::MAX_OUTPUT;
use catalog::{Check, CheckDef, Command, Probe, Snapshot, Status};

use crate::table::{Slot, Tick};
use crate::{Leases, Tables};

/// Why a report was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// No such check.
    #[error("report on check \"{id}\" of node \"{node}\": there is no such check")]
    Unknown {
        /// Node name.
        node: Arc<str>,
        /// Check id.
        id: Arc<str>,
    },
    /// The check gets its status in another way.
    #[error("report on check \"{id}\" of node \"{node}\": it is no TTL check")]
    NotTtl {
        /// Node name.
        node: Arc<str>,
        /// Check id.
        id: Arc<str>,
    },
    /// Another node keeps its deadline.
    #[error("report on check \"{id}\": node \"{owner}\" keeps its deadline")]
    Elsewhere {
        /// Check id.
        id: Arc<str>,
        /// That node's name.
        owner: Arc<str>,
    },
}

/// A TTL check that waits for its next report.
#[derive(Debug)]
pub(crate) struct TtlCheck {
    pub(crate) def: Arc<CheckDef>,
    latest: Mutex<Latest>,
}

/// What was reported last, decided or not.
#[derive(Debug)]
struct Latest {
    output: Arc<str>,
    /// When an output was last proposed.
    proposed: Option<Tick>,
}

/// When, then node and id of the check whose output waits.
pub(crate) type Deferred = BTreeSet<(Tick, Arc<str>, Arc<str>)>;

impl TtlCheck {
    pub(crate) fn new(check: &Check) -> TtlCheck {
        let latest = Latest { output: check.output.clone(), proposed: None };
        TtlCheck { def: check.def.clone(), latest: Mutex::new(latest) }
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn output(&self) -> Arc<str> {
        self.latest().output.clone()
    }

    /// What is said of a check that nobody reported on in time.
    pub(crate) fn silence(&self) -> Arc<str> {
        let Probe::Ttl { ttl_ms } = self.def.probe else { return self.output() };
        let term = Duration::from_millis(ttl_ms);
        let last = self.output();
        match last.is_empty() {
            true => format!("TTL expired: no report for {term:?}").into(),
            false => format!("TTL expired: no report for {term:?}; the last one said: {last}").into(),
        }
    }
}

impl Leases {
    /// Takes a report of a TTL check: unless it is critical, the check lasts a full term from `now`. Returns
    /// the command that the caller has to submit when the log must hear of it: a change of status at once, a
    /// change of output alone now and then (the sweep proposes what was held back). `snapshot` is the
    /// caller's latest.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn report(
        &self,
        snapshot: &Snapshot,
        node: &str,
        id: &str,
        status: Status,
        output: &str,
        now: Instant,
    ) -> Result<Option<Command>, ReportError> {
        let tick = self.tick(now);
        let check = self.own_ttl_check(snapshot, node, id)?;
        let output: Arc<str> = output[..output.floor_char_boundary(MAX_OUTPUT)].into();
        let tables = self.tables();
        if let Some(at) = tables.reports.find(node, id) {
            return Ok(self.take_report(&tables, at, &check, status, output, tick));
        }
        drop(tables);
        // Its registration is so new that nobody followed it yet. Afterwards it would undo the report.
        self.follow(snapshot, now);
        let mut tables = self.tables_mut();
        if tables.reports.find(node, id).is_none() {
            tables.admit_check(None, &check, tick);
        }
        let at = tables.reports.find(node, id);
        Ok(at.and_then(|at| self.take_report(&tables, at, &check, status, output, tick)))
    }

    /// The last output that was reported, also one that the log has not heard of.
    pub fn output(&self, node: &str, id: &str) -> Option<Arc<str>> {
        let tables = self.tables();
        let slot = tables.reports.slot(tables.reports.find(node, id)?)?;
        Some(slot.entry.output())
    }

    /// How long ago the last report that armed a TTL check came; `None` when it is not armed here.
    pub fn silence(&self, node: &str, id: &str, now: Instant) -> Option<Duration> {
        let tables = self.tables();
        let left = tables.reports.left(tables.reports.find(node, id)?, self.tick(now))?;
        let term = tables.reports.term_ms(tables.reports.find(node, id)?);
        Some(Duration::from_millis(term.saturating_sub(left)))
    }

    fn own_ttl_check(&self, snapshot: &Snapshot, node: &str, id: &str) -> Result<Arc<Check>, ReportError> {
        let unknown = || ReportError::Unknown { node: node.into(), id: id.into() };
        let check = snapshot.check(node, id).ok_or_else(unknown)?;
        if !matches!(check.def.probe, Probe::Ttl { .. }) {
            return Err(ReportError::NotTtl { node: node.into(), id: id.into() });
        }
        let owner = match snapshot.instance(node, &check.def.service_id) {
            Some(instance) => &instance.owner.node,
            None => &check.node,
        };
        if *owner != self.node {
            return Err(ReportError::Elsewhere { id: id.into(), owner: owner.clone() });
        }
        Ok(check.clone())
    }

    fn take_report(
        &self,
        tables: &Tables,
        at: u32,
        check: &Check,
        status: Status,
        output: Arc<str>,
        tick: Tick,
    ) -> Option<Command> {
        let Slot { node, id, entry } = tables.reports.slot(at)?;
        self.renewed.fetch_add(1, Ordering::Relaxed);
        // A slot that is not armed has run out, or was critical: a command that says so may be on its way,
        // so the snapshot is no proof that nothing must be proposed.
        let was_armed = tables.reports.is_armed(at);
        match status {
            Status::Critical => tables.reports.disarm(at),
            Status::Passing | Status::Warning => tables.reports.arm(at, tick),
        }
        let mut latest = entry.latest();
        latest.output = output.clone();
        let is_transition = status != check.status || (!was_armed && status != Status::Critical);
        if !is_transition && output == check.output {
            return None;
        }
        let due = latest.proposed.map(|last| last + self.config.output_interval.as_millis() as Tick);
        if let Some(due) = due.filter(|due| !is_transition && *due > tick) {
            self.deferred().insert((due, node.clone(), id.clone()));
            return None;
        }
        latest.proposed = Some(tick);
        Some(Command::SetStatus { node: node.clone(), check: id.clone(), status, output })
    }

    /// Outputs that were held back and whose time has come.
    pub(crate) fn due_outputs(&self, snapshot: &Snapshot, tick: Tick) -> Vec<Arc<Check>> {
        let mut deferred = self.deferred();
        let later = deferred.split_off(&(tick + 1, "".into(), "".into()));
        let due = std::mem::replace(&mut *deferred, later);
        drop(deferred);
        let tables = self.tables();
        let changed = due.into_iter().filter_map(|(_, node, id)| {
            let check = snapshot.check(&node, &id)?;
            let slot = tables.reports.slot(tables.reports.find(&node, &id)?)?;
            let mut latest = slot.entry.latest();
            latest.proposed = Some(tick);
            let output = latest.output.clone();
            (output != check.output).then(|| Arc::new(Check { output, ..(**check).clone() }))
        });
        changed.collect()
    }
}
