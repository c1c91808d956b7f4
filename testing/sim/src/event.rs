//! What happens next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use paxos::{Lane, ServerId, Session};

use crate::net::PairId;
use crate::plan::Micros;

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A process's timer.
    Tick { host: usize, life: u32 },
    /// A sync is done.
    Synced { host: usize, life: u32 },
    /// The head of a queue is due.
    Deliver { pair: PairId, session: u64, from: usize, lane: Lane },
    /// Two servers try to connect.
    Connect { pair: PairId },
    /// A side learns that a session has begun.
    Up { pair: PairId, session: u64, side: usize },
    /// A side learns that a session has ended.
    Down { pair: PairId, session: u64, side: usize, life: u32 },
    /// A session over a cut link has been silent for too long.
    Silent { pair: PairId, session: u64 },
    /// A direction that was cut is mended.
    Mend { pair: PairId, from: usize },
    /// A link is no longer slow.
    Quicken { pair: PairId },
    /// A part of a checkpoint has been read.
    Piece { host: usize, life: u32, peer: ServerId, session: Session, index: u64, offset: u64, max: usize },
    /// A server begins to write a checkpoint.
    Save { host: usize, life: u32 },
    /// A server has written one.
    Saved { host: usize, life: u32 },
    /// A server that died starts again.
    Restart { host: usize, life: u32 },
    /// A server's disk, clock or process is as it should be again.
    Recover { host: usize },
    /// A client acts, or has waited long enough.
    Client { client: usize, turn: u64 },
    /// Commands that nobody waits for.
    Noise,
    /// Something breaks.
    Fault,
    /// The operator changes the members.
    Operate,
    /// A session ends although everything is mended.
    Jolt { pair: PairId },
    /// Everything is mended from here on.
    Heal,
    /// A look at whether the servers have come together.
    Check,
}

#[derive(Debug)]
struct Entry {
    at: Micros,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Events by time; those of one time in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<Entry>>,
    added: u64,
    /// The present.
    pub(crate) now: Micros,
}

impl Agenda {
    /// Adds an event after some time.
    pub(crate) fn after(&mut self, delay: Micros, event: Event) {
        self.at(self.now + delay, event);
    }

    /// Adds an event at a time, which may not lie in the past.
    pub(crate) fn at(&mut self, at: Micros, event: Event) {
        self.added += 1;
        let at = at.max(self.now);
        self.heap.push(Reverse(Entry { at, order: self.added, event }));
    }

    /// Goes on to the next event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}
