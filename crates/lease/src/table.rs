//! A flat array of deadlines with a name for each slot.
//!
//! Renewing is a lookup and one atomic store under a shared lock; a sweep reads the array from end to end,
//! which is faster than any wheel or heap up to millions of slots and never falls behind. The exclusive
//! lock is taken only when leases come and go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds since the table's owner was made.
pub(crate) type Tick = u64;

/// Set in a deadline that has run out and whose end is being proposed; the rest is when to propose again.
const EXPIRED: u64 = 1 << 63;
/// The deadline of a slot that is not armed.
const IDLE: u64 = u64::MAX;
/// How long to wait before an end that did not come about is proposed again.
const RETRY_MS: u64 = 5_000;

/// Slots with their names.
#[derive(Debug)]
pub(crate) struct Table<E> {
    names: HashMap<Arc<str>, HashMap<Arc<str>, u32>>,
    deadlines: Vec<AtomicU64>,
    terms: Vec<u64>,
    slots: Vec<Option<Slot<E>>>,
    free: Vec<u32>,
}

/// What a deadline stands for.
#[derive(Debug)]
pub(crate) struct Slot<E> {
    pub(crate) node: Arc<str>,
    pub(crate) id: Arc<str>,
    pub(crate) entry: E,
}

impl<E> Default for Table<E> {
    fn default() -> Self {
        let (names, deadlines, terms, slots, free) = Default::default();
        Table { names, deadlines, terms, slots, free }
    }
}

impl<E> Table<E> {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn find(&self, node: &str, id: &str) -> Option<u32> {
        self.names.get(node)?.get(id).copied()
    }

    pub(crate) fn slot(&self, at: u32) -> Option<&Slot<E>> {
        self.slots.get(at as usize)?.as_ref()
    }

    pub(crate) fn term_ms(&self, at: u32) -> u64 {
        self.terms[at as usize]
    }

    /// Puts an entry in its slot, an existing or a new one, not armed.
    pub(crate) fn put(&mut self, node: &Arc<str>, id: &Arc<str>, term_ms: u64, entry: E) -> u32 {
        let at = self.find(node, id).unwrap_or_else(|| self.take_slot());
        let slot = Slot { node: node.clone(), id: id.clone(), entry };
        self.names.entry(node.clone()).or_default().insert(id.clone(), at);
        self.slots[at as usize] = Some(slot);
        self.terms[at as usize] = term_ms.min(EXPIRED >> 1);
        self.disarm(at);
        at
    }

    fn take_slot(&mut self) -> u32 {
        if let Some(at) = self.free.pop() {
            return at;
        }
        self.deadlines.push(AtomicU64::new(IDLE));
        self.terms.push(0);
        self.slots.push(None);
        (self.slots.len() - 1) as u32
    }

    pub(crate) fn remove(&mut self, node: &str, id: &str) {
        let Some(of_node) = self.names.get_mut(node) else { return };
        let Some(at) = of_node.remove(id) else { return };
        if of_node.is_empty() {
            self.names.remove(node);
        }
        self.slots[at as usize] = None;
        self.disarm(at);
        self.free.push(at);
    }

    /// Gives a slot a full term from `now`, whatever it was.
    pub(crate) fn arm(&self, at: u32, now: Tick) {
        self.deadlines[at as usize].store(now + self.terms[at as usize], Ordering::Relaxed);
    }

    pub(crate) fn disarm(&self, at: u32) {
        self.deadlines[at as usize].store(IDLE, Ordering::Relaxed);
    }

    pub(crate) fn is_armed(&self, at: u32) -> bool {
        self.deadlines[at as usize].load(Ordering::Relaxed) & EXPIRED == 0
    }

    /// Milliseconds until an armed slot runs out.
    pub(crate) fn left(&self, at: u32, now: Tick) -> Option<u64> {
        let deadline = self.deadlines[at as usize].load(Ordering::Relaxed);
        (deadline & EXPIRED == 0).then(|| deadline.saturating_sub(now))
    }

    /// Gives an armed slot a full term from `now`; false when it ran out already or is not armed.
    pub(crate) fn renew(&self, at: u32, now: Tick) -> bool {
        let deadline = &self.deadlines[at as usize];
        let renewed = now + self.terms[at as usize];
        let mut current = deadline.load(Ordering::Relaxed);
        while current & EXPIRED == 0 {
            match deadline.compare_exchange_weak(current, renewed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(changed) => current = changed,
            }
        }
        false
    }

    /// Marks the slots that have run out and returns them; those marked before come again after a while,
    /// until they are put anew or removed.
    pub(crate) fn expire(&self, now: Tick) -> Vec<u32> {
        let mut expired = Vec::new();
        for (at, deadline) in self.deadlines.iter().enumerate() {
            let current = deadline.load(Ordering::Relaxed);
            // Never true for an idle slot: without its top bit it is still the largest deadline.
            if current & !EXPIRED <= now {
                let again = EXPIRED | (now + RETRY_MS);
                let mark = deadline.compare_exchange(current, again, Ordering::Relaxed, Ordering::Relaxed);
                if mark.is_ok() {
                    expired.push(at as u32);
                }
            }
        }
        expired
    }

    /// Gives every armed slot a full term from `now`.
    pub(crate) fn grant_grace(&self, now: Tick) {
        for at in 0..self.deadlines.len() as u32 {
            self.renew(at, now);
        }
    }
}
