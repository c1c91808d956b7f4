//! Which checks run here: those of this node and of the instances that it owns, when they have a probe to
//! run. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use catalog::{CheckDef, Probe, Snapshot};

/// A check's place in the catalog: node name and check id.
pub type Key = (Arc<str>, Arc<str>);

/// The checks that run here, as of one snapshot.
#[derive(Debug)]
pub struct Plan {
    node: Arc<str>,
    seen: Snapshot,
    checks: HashMap<Key, Arc<CheckDef>>,
}

/// What a newer snapshot asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Run it from now on; also when its definition changed, and then it starts anew.
    Start(Key, Arc<CheckDef>),
    /// Do not run it any more.
    Stop(Key),
}

impl Plan {
    /// What `node` runs before it knows of any check: nothing.
    pub fn new(node: &Arc<str>) -> Plan {
        Plan { node: node.clone(), seen: Snapshot::default(), checks: HashMap::new() }
    }

    /// Goes on to `snapshot` and says what is different. Costs what changed, not what there is.
    pub fn follow(&mut self, snapshot: &Snapshot) -> Vec<Edit> {
        let edits: Vec<_> =
            self.concerned(snapshot).into_iter().filter_map(|key| self.edit(snapshot, key)).collect();
        self.seen = snapshot.clone();
        edits
    }

    /// How many checks run here.
    pub fn len(&self) -> usize {
        self.checks.len()
    }

    /// True when none does.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Every check, old or new, of whatever changed. In order, so that equal histories act equally.
    fn concerned(&self, snapshot: &Snapshot) -> BTreeSet<Key> {
        let key = |check: &Arc<catalog::Check>| (check.node.clone(), check.def.id.clone());
        let mut keys = BTreeSet::new();
        for change in snapshot.instance_changes(&self.seen) {
            let both = [change.old, change.new].into_iter().flatten();
            keys.extend(both.flat_map(|instance| instance.checks.iter().map(key)));
        }
        for snapshot in [&self.seen, snapshot] {
            keys.extend(snapshot.node(&self.node).into_iter().flat_map(|node| node.checks.iter().map(key)));
        }
        keys
    }

    fn edit(&mut self, snapshot: &Snapshot, key: Key) -> Option<Edit> {
        match (wanted(snapshot, &self.node, &key), self.checks.get(&key)) {
            (Some(def), Some(known)) if def == *known => None,
            (Some(def), _) => {
                self.checks.insert(key.clone(), def.clone());
                Some(Edit::Start(key, def))
            }
            (None, Some(_)) => {
                self.checks.remove(&key);
                Some(Edit::Stop(key))
            }
            (None, None) => None,
        }
    }
}

/// The check at `key`, if `node` has to run it.
fn wanted(snapshot: &Snapshot, node: &Arc<str>, key: &Key) -> Option<Arc<CheckDef>> {
    let check = snapshot.check(&key.0, &key.1)?;
    check.def.probe.cadence()?;
    let owner = match snapshot.instance(&key.0, &check.def.service_id) {
        Some(instance) => &instance.owner.node,
        None => &check.node,
    };
    (owner == node).then(|| check.def.clone())
}

/// Time between two runs of a probe that runs.
pub fn interval(probe: &Probe) -> Duration {
    Duration::from_millis(probe.cadence().map_or(10_000, |cadence| cadence.interval_ms).max(1))
}

/// Longest that one run may take: 10 s when the registration does not say, 30 s for a program.
pub fn timeout(probe: &Probe) -> Duration {
    let default = if matches!(probe, Probe::Command { .. }) { 30_000 } else { 10_000 };
    let wished = probe.cadence().map_or(0, |cadence| cadence.timeout_ms);
    Duration::from_millis(if wished == 0 { default } else { wished })
}
