//! What is gone, and since when: a watcher of a name that vanished must see an index that moved.
//!
//! Bounded. When the oldest tombstones are dropped, `floor` rises to the newest of them: every name without
//! a tombstone counts as "may have vanished at the floor", which wakes too often, never too seldom.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::model::Index;

/// Most names remembered.
const CAPACITY: usize = 16 * 1024;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tombstones {
    by_name: OrdMap<Arc<str>, Index>,
    by_index: OrdSet<(Index, Arc<str>)>,
    floor: Index,
}

impl From<Index> for Tombstones {
    /// Everything that is not there may have vanished at `floor`.
    fn from(floor: Index) -> Tombstones {
        Tombstones { floor, ..Tombstones::default() }
    }
}

impl Tombstones {
    /// Remembers that `name` vanished at `index`; returns names forgotten for that.
    pub(crate) fn bury(&mut self, name: &Arc<str>, index: Index) -> Vec<(Index, Arc<str>)> {
        self.unearth(name);
        self.by_name.insert(name.clone(), index);
        self.by_index.insert((index, name.clone()));
        let mut forgotten = Vec::new();
        while self.by_name.len() > CAPACITY {
            let Some((index, name)) = self.by_index.get_min().cloned() else { break };
            self.by_index.remove(&(index, name.clone()));
            self.by_name.remove(&name);
            self.floor = self.floor.max(index);
            forgotten.push((index, name));
        }
        forgotten
    }

    /// Forgets `name`, because it exists again; returns the index that it had.
    pub(crate) fn unearth(&mut self, name: &Arc<str>) -> Option<Index> {
        let index = self.by_name.remove(name)?;
        self.by_index.remove(&(index, name.clone()));
        Some(index)
    }

    /// Index at which `name` vanished, or the floor.
    pub(crate) fn index_of(&self, name: &str) -> Index {
        self.by_name.get(name).copied().unwrap_or(self.floor)
    }

    /// Highest index under `prefix`, or the floor.
    pub(crate) fn index_under(&self, prefix: &str) -> Index {
        let from: Arc<str> = prefix.into();
        self.by_name
            .range(from..)
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(_, index)| *index)
            .max()
            .unwrap_or(0)
            .max(self.floor)
    }

    pub(crate) fn floor(&self) -> Index {
        self.floor
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Index)> {
        self.by_name.iter().map(|(name, index)| (name, *index))
    }

    pub(crate) fn restore(&mut self, name: Arc<str>, index: Index) {
        self.by_index.insert((index, name.clone()));
        self.by_name.insert(name, index);
    }

    pub(crate) fn restore_floor(&mut self, floor: Index) {
        self.floor = floor;
    }
}
