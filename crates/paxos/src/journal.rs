//! The core's storage: an image in memory, and the writes that it owes the disk.
//!
//! Nothing here can fail, because nothing here touches a disk. The driver takes the writes of a turn out as
//! one batch, and lets no message leave before that batch is durable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{StopSign, Storage, StorageOp, StorageResult};

use crate::write::{Batch, Write};
use crate::{Command, Image, Index, Marker, Successor};

/// Image and pending writes, shared by the driver and the core it drives. Both live on one thread; the mutex
/// is there because the core owns its storage and gives no way back to it, and is never contended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    image: Image,
    pending: Batch,
}

impl Store {
    pub(crate) fn new(image: Image) -> Self {
        Self(Arc::new(Mutex::new(Inner { image, pending: Batch::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the image.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&Image) -> R) -> R {
        read(&self.lock().image)
    }

    /// Changes the image and journals the change.
    pub(crate) fn write(&self, write: Write) {
        let mut inner = self.lock();
        inner.image.apply_write(&write);
        inner.push(write);
    }

    /// Takes the pending writes, if any of them needs a sync.
    pub(crate) fn take(&self) -> Batch {
        let mut inner = self.lock();
        if inner.pending.needs_sync() { std::mem::take(&mut inner.pending) } else { Batch::default() }
    }

    /// Takes the pending writes, whatever they are.
    pub(crate) fn take_all(&self) -> Batch {
        std::mem::take(&mut self.lock().pending)
    }
}

impl Inner {
    /// Appends to the pending writes, joining what joins: entries that follow on, and an index that overtakes
    /// the one before it.
    fn push(&mut self, write: Write) {
        match (self.pending.writes.last_mut(), write) {
            (Some(Write::Append { at, entries }), Write::Append { at: next, entries: more })
                if *at + entries.len() as Index == next =>
            {
                entries.extend(more);
            }
            (Some(Write::Decided(last)), Write::Decided(next)) => *last = next,
            (_, write) => self.pending.writes.push(write),
        }
    }
}

/// The core's view: its own indexes count from 0 at the configuration's base.
pub(crate) struct Journal {
    store: Store,
    base: Index,
}

impl Journal {
    pub(crate) fn new(store: Store, base: Index) -> Self {
        Self { store, base }
    }

    /// From "how many entries come before" to the index of the last of them.
    fn global(&self, local: usize) -> Index {
        self.base + local as Index
    }

    fn local(&self, global: Index) -> usize {
        global.saturating_sub(self.base) as usize
    }

    fn append_after(&self, last: Index, entries: Vec<Command>) {
        self.store.write(Write::Append { at: last + 1, entries });
    }
}

impl Storage<Command> for Journal {
    fn write_atomically(&mut self, ops: Vec<StorageOp<Command>>) -> StorageResult<()> {
        // A turn's writes are one atomic batch, so doing them one after the other keeps them together.
        for op in ops {
            match op {
                StorageOp::AppendEntry(entry) => self.append_entry(entry)?,
                StorageOp::AppendEntries(entries) => self.append_entries(entries)?,
                StorageOp::AppendOnPrefix(from, entries) => self.append_on_prefix(from, entries)?,
                StorageOp::SetPromise(ballot) => self.set_promise(ballot)?,
                StorageOp::SetDecidedIndex(index) => self.set_decided_idx(index)?,
                StorageOp::SetAcceptedRound(ballot) => self.set_accepted_round(ballot)?,
                StorageOp::SetCompactedIdx(index) => self.set_compacted_idx(index)?,
                StorageOp::Trim(index) => self.trim(index)?,
                StorageOp::SetStopsign(sign) => self.set_stopsign(sign)?,
                StorageOp::SetSnapshot(marker) => self.set_snapshot(marker)?,
            }
        }
        Ok(())
    }

    fn append_entry(&mut self, entry: Command) -> StorageResult<()> {
        self.append_entries(vec![entry])
    }

    fn append_entries(&mut self, entries: Vec<Command>) -> StorageResult<()> {
        if !entries.is_empty() {
            let last = self.store.read(|image| image.log.end());
            self.append_after(last, entries);
        }
        Ok(())
    }

    fn append_on_prefix(&mut self, from_idx: usize, entries: Vec<Command>) -> StorageResult<()> {
        let last = self.global(from_idx);
        if !entries.is_empty() || self.store.read(|image| image.log.end()) != last {
            self.append_after(last, entries);
        }
        Ok(())
    }

    fn set_promise(&mut self, n_prom: Ballot) -> StorageResult<()> {
        if self.store.read(|image| image.promise) != n_prom {
            self.store.write(Write::Promise(n_prom));
        }
        Ok(())
    }

    fn set_decided_idx(&mut self, ld: usize) -> StorageResult<()> {
        let index = self.global(ld);
        if self.store.read(|image| image.decided) != index {
            self.store.write(Write::Decided(index));
        }
        Ok(())
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        // Unsynced, the decided index may come back older than the compaction that it allowed.
        Ok(self.store.read(|image| self.local(image.decided.max(image.log.before))))
    }

    fn set_accepted_round(&mut self, na: Ballot) -> StorageResult<()> {
        if self.store.read(|image| image.accepted) != na {
            self.store.write(Write::Accepted(na));
        }
        Ok(())
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok(known(self.store.read(|image| image.accepted)))
    }

    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Command>> {
        Ok(self.store.read(|image| image.log.copy(self.global(from) + 1, self.global(to))))
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        Ok(self.store.read(|image| image.log.entries.len()))
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Command>> {
        Ok(self.store.read(|image| image.log.copy(self.global(from) + 1, image.log.end())))
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok(known(self.store.read(|image| image.promise)))
    }

    fn set_stopsign(&mut self, s: Option<StopSign>) -> StorageResult<()> {
        let next = s.map(|sign| Successor::from_cluster(&sign.next_config));
        if self.store.read(|image| image.seal != next) {
            self.store.write(Write::Seal(next));
        }
        Ok(())
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(self.store.read(|image| image.seal.as_ref().map(|next| StopSign::with(next.to_cluster(), None))))
    }

    fn trim(&mut self, _idx: usize) -> StorageResult<()> {
        // The core always sets the compacted index beside it; one write does both.
        Ok(())
    }

    fn set_compacted_idx(&mut self, idx: usize) -> StorageResult<()> {
        let to = self.global(idx);
        if self.store.read(|image| image.log.before) < to {
            self.store.write(Write::Compact(to));
        }
        Ok(())
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(self.store.read(|image| self.local(image.log.before)))
    }

    fn set_snapshot(&mut self, _marker: Option<Marker>) -> StorageResult<()> {
        Ok(())
    }

    fn get_snapshot(&self) -> StorageResult<Option<Marker>> {
        Ok(self.store.read(|image| (image.log.before > self.base).then_some(Marker)))
    }
}

/// The core takes a stored default ballot for a promise made; it means that none was.
fn known(ballot: Ballot) -> Option<Ballot> {
    (ballot != Ballot::default()).then_some(ballot)
}
