//! What differs between two snapshots, at the price of the difference: shared structure is skipped.

use std::sync::Arc;

use imbl::ordmap::DiffItem;

use crate::model::{Instance, NodeEntry};
use crate::snapshot::Snapshot;

/// One thing that appeared (no `old`), vanished (no `new`) or changed in any way (both).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a, T> {
    /// As it was.
    pub old: Option<&'a Arc<T>>,
    /// As it is.
    pub new: Option<&'a Arc<T>>,
}

impl Snapshot {
    /// Nodes that differ between `since` and this snapshot, by name. A node differs when anything on it
    /// does: its definition, a check, an instance.
    pub fn node_changes<'a>(&'a self, since: &'a Snapshot) -> impl Iterator<Item = Change<'a, NodeEntry>> {
        since.nodes.diff(&self.nodes).map(Change::from)
    }

    /// Instances that differ between `since` and this snapshot: definition, owner, checks, or only the
    /// index of their last registration.
    pub fn instance_changes<'a>(&'a self, since: &'a Snapshot) -> impl Iterator<Item = Change<'a, Instance>> {
        self.node_changes(since).flat_map(|node| {
            let both = node.old.zip(node.new);
            let gone = node.old.filter(|_| node.new.is_none());
            let appeared = node.new.filter(|_| node.old.is_none());
            let changed = both.into_iter().flat_map(|(old, new)| old.instances.diff(&new.instances));
            let removed = gone.into_iter().flat_map(|node| node.instances.values());
            let added = appeared.into_iter().flat_map(|node| node.instances.values());
            changed
                .map(Change::from)
                .chain(removed.map(|old| Change { old: Some(old), new: None }))
                .chain(added.map(|new| Change { old: None, new: Some(new) }))
        })
    }
}

impl<'a, T> From<DiffItem<'a, 'a, Arc<str>, Arc<T>>> for Change<'a, T> {
    fn from(item: DiffItem<'a, 'a, Arc<str>, Arc<T>>) -> Self {
        match item {
            DiffItem::Add(_, new) => Change { old: None, new: Some(new) },
            DiffItem::Update { old: (_, old), new: (_, new) } => Change { old: Some(old), new: Some(new) },
            DiffItem::Remove(_, old) => Change { old: Some(old), new: None },
        }
    }
}
