//! Keeping up with the catalog: which deadlines there are.

use std::sync::Arc;
use std::time::Instant;

use catalog::{Change, Check, Instance, Lease, NodeEntry, Probe, Snapshot, Status};

use crate::report::TtlCheck;
use crate::table::Tick;
use crate::{Critical, InstanceLease, Leases, Tables};

impl Leases {
    /// Takes over what changed since the last call. A lease that is new here gets a full term, also after
    /// a restart of this node; nothing that was there already is renewed by it.
    pub fn follow(&self, snapshot: &Snapshot, now: Instant) {
        let tick = self.tick(now);
        let mut progress = self.progress();
        if snapshot.index() <= progress.seen.index() {
            return;
        }
        let mut tables = self.tables_mut();
        for change in snapshot.instance_changes(&progress.seen) {
            self.follow_instance(&mut tables, snapshot, change, tick);
        }
        for change in snapshot.session_changes(&progress.seen) {
            self.follow_session(&mut tables, change, tick);
        }
        let own = |snapshot: &Snapshot| snapshot.node(&self.node).cloned();
        self.follow_node(&mut tables, snapshot, own(&progress.seen), own(snapshot), tick);
        drop(tables);
        progress.seen = snapshot.clone();
    }

    fn follow_instance(
        &self,
        tables: &mut Tables,
        snapshot: &Snapshot,
        change: Change<'_, Instance>,
        tick: Tick,
    ) {
        if let Some(old) = change.old {
            if !change.new.is_some_and(|new| self.owns(new)) {
                tables.instances.remove(&old.node, &old.def.id);
            }
            old.checks.iter().for_each(|check| self.forget_unless_kept(tables, snapshot, check));
        }
        let Some(new) = change.new.filter(|new| self.owns(new)) else { return };
        self.admit(tables, new, tick);
        let again = change.old.is_some_and(|old| old.registered_index != new.registered_index);
        for check in &new.checks {
            let old = change.old.and_then(|old| old.checks.iter().find(|c| c.def.id == check.def.id));
            tables.admit_check(old.filter(|_| !again), check, tick);
            tables.admit_critical(new, check, tick);
        }
    }

    /// The checks of this node itself.
    fn follow_node(
        &self,
        tables: &mut Tables,
        snapshot: &Snapshot,
        old: Option<Arc<NodeEntry>>,
        new: Option<Arc<NodeEntry>>,
        tick: Tick,
    ) {
        let checks =
            |entry: Option<Arc<NodeEntry>>| entry.map(|entry| entry.checks.clone()).unwrap_or_default();
        let (old, new) = (checks(old), checks(new));
        old.iter().for_each(|check| self.forget_unless_kept(tables, snapshot, check));
        for check in &new {
            tables.admit_check(old.iter().find(|c| c.def.id == check.def.id), check, tick);
        }
    }

    /// Forgets a check that is gone or not ours any more. It may have moved from one instance to another,
    /// or to the node.
    fn forget_unless_kept(&self, tables: &mut Tables, snapshot: &Snapshot, check: &Check) {
        let now = snapshot.check(&check.node, &check.def.id);
        let owner = now.map(|now| match snapshot.instance(&now.node, &now.def.service_id) {
            Some(instance) => instance.owner.node.clone(),
            None => now.node.clone(),
        });
        if owner.is_none_or(|owner| owner != self.node) {
            tables.reports.remove(&check.node, &check.def.id);
            tables.criticals.remove(&check.node, &check.def.id);
        }
    }

    /// Makes sure that an instance of ours has the lease that its last registration asked for.
    pub(crate) fn admit(&self, tables: &mut Tables, instance: &Instance, tick: Tick) {
        let Some(Lease { ttl_ms }) = instance.def.lease else {
            return tables.instances.remove(&instance.node, &instance.def.id);
        };
        let lease = InstanceLease { registered_index: instance.registered_index, ttl_ms };
        let existing = tables.instances.find(&instance.node, &instance.def.id);
        let known = existing.and_then(|at| tables.instances.slot(at)).map(|slot| &slot.entry);
        // A caller with an older snapshot than ours must not bring back an older registration.
        if known.is_some_and(|known| known.registered_index >= lease.registered_index) {
            return;
        }
        let at = tables.instances.put(&instance.node, &instance.def.id, ttl_ms, lease);
        tables.instances.arm(at, tick);
    }
}

impl Tables {
    /// A TTL check: `old` is the same check before, unless it was registered again.
    pub(crate) fn admit_check(&mut self, old: Option<&Arc<Check>>, check: &Check, tick: Tick) {
        let Probe::Ttl { ttl_ms } = check.def.probe else {
            return self.reports.remove(&check.node, &check.def.id);
        };
        let existing = self.reports.find(&check.node, &check.def.id);
        let is_same = old.is_some_and(|old| Arc::ptr_eq(&old.def, &check.def));
        let at = match existing.filter(|_| is_same) {
            Some(at) => at,
            None => self.reports.put(&check.node, &check.def.id, ttl_ms, TtlCheck::new(check)),
        };
        let was_silent = !is_same || old.is_some_and(|old| old.status == Status::Critical);
        match check.status {
            Status::Critical => self.reports.disarm(at),
            // It may be armed by the very report that made it pass: that deadline is the right one.
            _ if was_silent && !self.reports.is_armed(at) => self.reports.arm(at, tick),
            _ => {}
        }
    }

    /// A check that takes its instance away when it stays critical.
    fn admit_critical(&mut self, instance: &Instance, check: &Check, tick: Tick) {
        let Some(after_ms) = check.def.deregister_after_ms.filter(|_| check.status == Status::Critical)
        else {
            return self.criticals.remove(&check.node, &check.def.id);
        };
        let registered_index = instance.registered_index;
        let critical = Critical { instance: instance.def.id.clone(), registered_index, after_ms };
        let existing = self.criticals.find(&check.node, &check.def.id);
        if existing.and_then(|at| self.criticals.slot(at)).is_some_and(|slot| slot.entry == critical) {
            return;
        }
        let at = self.criticals.put(&check.node, &check.def.id, after_ms, critical);
        self.criticals.arm(at, tick);
    }
}
