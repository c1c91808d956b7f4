//! An immutable hash table whose successors share what did not change.
//!
//! A hundred or so entries make a shard, a plain open-addressed array behind one reference count. A
//! successor copies the list of shards and rebuilds those that changed; a reader touches the list, one
//! slot and the entry. A persistent tree would share more and cost every lookup three more cache misses.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

/// Something with a name to be found by.
pub(crate) trait Keyed {
    /// The name, lower case.
    fn key(&self) -> &[u8];
}

type Slot<E> = Option<(u32, Arc<E>)>;

/// The table.
pub(crate) struct Table<E> {
    /// A power of two of them; each an array of a power of two of slots, or empty.
    shards: Box<[Arc<[Slot<E>]>]>,
    count: usize,
}

/// What becomes of one key.
#[derive(Debug)]
pub(crate) enum Change<E> {
    /// This entry, under its own key.
    Put(Arc<E>),
    /// Nothing is under this key.
    Remove(Box<[u8]>),
}

impl<E: Keyed> Change<E> {
    fn key(&self) -> &[u8] {
        match self {
            Change::Put(entry) => entry.key(),
            Change::Remove(key) => key,
        }
    }
}

const FEWEST_SHARDS: usize = 16;
const ENTRIES_PER_SHARD: usize = 64;

impl<E: Keyed> Table<E> {
    /// The entry under `key`.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<E>> {
        let hash = hash(key);
        let shard = &*self.shards[shard_of(hash, self.shards.len())];
        let mask = shard.len().checked_sub(1)?;
        let tag = hash as u32;
        let mut at = tag as usize & mask;
        loop {
            let (found, entry) = shard[at].as_ref()?;
            if *found == tag && entry.key() == key {
                return Some(entry);
            }
            at = (at + 1) & mask;
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Every entry, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<E>> {
        self.shards.iter().flat_map(|shard| shard.iter().flatten().map(|(_, entry)| entry))
    }

    /// The table with these changes, at most one for a key.
    pub(crate) fn with(&self, changes: Vec<Change<E>>) -> Table<E> {
        let mut shards = self.shards.clone();
        let shard_of = |key: &[u8]| shard_of(hash(key), self.shards.len());
        let mut changes: Vec<_> =
            changes.into_iter().map(|change| (shard_of(change.key()), change)).collect();
        changes.sort_by_key(|(shard, _)| *shard);
        let mut count = self.count;
        for group in changes.chunk_by(|a, b| a.0 == b.0) {
            let shard = &mut shards[group[0].0];
            let before = shard.iter().flatten().count();
            *shard = rebuilt(shard, group);
            count = count + shard.iter().flatten().count() - before;
        }
        let table = Table { shards, count };
        match shards_for(count) {
            wanted if wanted > table.shards.len() || wanted * 8 < table.shards.len() => table.resized(wanted),
            _ => table,
        }
    }

    fn resized(&self, shards: usize) -> Table<E> {
        let mut groups = vec![Vec::new(); shards];
        for entry in self.iter() {
            groups[shard_of(hash(entry.key()), shards)].push(entry.clone());
        }
        Table { shards: groups.into_iter().map(packed).collect(), count: self.count }
    }
}

impl<E> Default for Table<E> {
    fn default() -> Self {
        let none: Arc<[Slot<E>]> = Arc::new([]);
        Table { shards: vec![none; FEWEST_SHARDS].into(), count: 0 }
    }
}

impl<E> Clone for Table<E> {
    fn clone(&self) -> Self {
        Table { shards: self.shards.clone(), count: self.count }
    }
}

impl<E: Keyed + PartialEq> PartialEq for Table<E> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count
            && self.iter().all(|entry| other.get(entry.key()).is_some_and(|same| **same == **entry))
    }
}

/// The shard with its share of the changes.
fn rebuilt<E: Keyed>(shard: &[Slot<E>], changes: &[(usize, Change<E>)]) -> Arc<[Slot<E>]> {
    let is_changed = |key: &[u8]| changes.iter().any(|(_, change)| change.key() == key);
    let kept = shard.iter().flatten().map(|(_, entry)| entry).filter(|entry| !is_changed(entry.key()));
    let put = changes.iter().filter_map(|(_, change)| match change {
        Change::Put(entry) => Some(entry),
        Change::Remove(_) => None,
    });
    let entries: Vec<_> = kept.chain(put).cloned().collect();
    packed(entries)
}

/// Slots at most three quarters full, so that a search for what is absent ends soon.
fn packed<E: Keyed>(entries: Vec<Arc<E>>) -> Arc<[Slot<E>]> {
    if entries.is_empty() {
        return Arc::new([]);
    }
    let length = (entries.len() * 4 / 3 + 1).next_power_of_two();
    let mut slots: Vec<Slot<E>> = (0..length).map(|_| None).collect();
    for entry in entries {
        let tag = hash(entry.key()) as u32;
        let mut at = tag as usize & (length - 1);
        while slots[at].is_some() {
            at = (at + 1) & (length - 1);
        }
        slots[at] = Some((tag, entry));
    }
    slots.into()
}

fn shards_for(count: usize) -> usize {
    (count / ENTRIES_PER_SHARD).next_power_of_two().max(FEWEST_SHARDS)
}

/// The shard comes from the upper half of the hash, the slot from the lower.
#[inline]
fn shard_of(hash: u64, shards: usize) -> usize {
    (hash >> 32) as usize & (shards - 1)
}

/// Folded multiplication over eight bytes at a time. Keyed by the process, so that nobody can choose names
/// that collide.
#[inline]
fn hash(key: &[u8]) -> u64 {
    static SEED: OnceLock<[u64; 2]> = OnceLock::new();
    let [first, second] = *SEED.get_or_init(|| {
        let random = RandomState::new();
        [random.hash_one(1), random.hash_one(2) | 1]
    });
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let (words, rest) = key.as_chunks::<8>();
    let mut state = first ^ key.len() as u64;
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), second);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(state ^ u64::from_le_bytes(last), second.rotate_left(32) ^ first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Named(Box<[u8]>, u32);

    impl Keyed for Named {
        fn key(&self) -> &[u8] {
            &self.0
        }
    }

    fn change(number: u16, value: Option<u32>) -> Change<Named> {
        let key: Box<[u8]> = format!("name-{number}").into_bytes().into();
        match value {
            Some(value) => Change::Put(Arc::new(Named(key, value))),
            None => Change::Remove(key),
        }
    }

    proptest! {
        #[test]
        fn holds_what_was_put_and_its_ancestors_keep_theirs(
            steps in prop::collection::vec(
                    prop::collection::btree_map(0u16..400, prop::option::of(0u32..5), 0..200),
                    1..8,
                ),
        ) {
            let mut model: BTreeMap<u16, u32> = BTreeMap::new();
            let mut history = vec![(Table::default(), model.clone())];
            for step in steps {
                let table = history.last().unwrap().0.with(step.iter().map(|(n, v)| change(*n, *v)).collect());
                for (number, value) in step {
                    match value {
                        Some(value) => model.insert(number, value),
                        None => model.remove(&number),
                    };
                }
                history.push((table, model.clone()));
            }
            for (table, model) in &history {
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.iter().count(), model.len());
                for number in 0..400 {
                    let found = table.get(format!("name-{number}").as_bytes()).map(|entry| entry.1);
                    prop_assert_eq!(found, model.get(&number).copied());
                }
            }
        }
    }

    #[test]
    fn grows_and_shrinks() {
        let full = Table::default().with((0..20_000).map(|n| change(n, Some(1))).collect());
        assert_eq!((full.len(), full.shards.len()), (20_000, 512));
        let empty = full.with((0..20_000).map(|n| change(n, None)).collect());
        assert_eq!((empty.len(), empty.shards.len()), (0, FEWEST_SHARDS));
    }
}
