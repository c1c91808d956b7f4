//! The log's threads: replay, then turn after turn of "write what waits, sync once, tell".
//!
//! A batch is written while those before it are being synced: a disk does several things at a time, and
//! whoever comes during a sync need not wait for its end before the next begins. Batches are told strictly in
//! their order, each after its own sync.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Hold;
use super::chain::Span;
use super::flights::{Flight, Flights, Ticket};
use super::format::Integrity;
use super::journal::{Journal, Syncs};
use super::lane::Lane;
use super::replay::Replay;
use crate::disk::Disk;
use crate::events::EventSender;
use crate::queue::{Queue, Turn};
use crate::{Checkpoint, Entry, Event, Index, LogError};

/// What the threads and the log's users both see.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) last: Index,
    pub(crate) checkpoint: Index,
    pub(crate) bytes: u64,
    pub(crate) syncs: Syncs,
    pub(crate) stopped: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    progress: Mutex<Progress>,
}

impl Shared {
    pub(crate) fn new(queue: Queue, progress: Progress) -> Self {
        Self { queue, progress: Mutex::new(progress) }
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that the threads own together.
pub(crate) struct Engine {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) integrity: Integrity,
    /// The pen: whoever holds it takes what waits and writes it.
    pub(crate) journal: Mutex<Journal>,
    pub(crate) air: Air,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: EventSender,
    pub(crate) max_batch_bytes: usize,
    pub(crate) seal_after: Duration,
    /// Syncs under way at a time.
    pub(crate) lanes: usize,
    /// Dropped last: with it the directory is free.
    pub(crate) hold: Arc<Hold>,
}

/// What is under way. Locked for moments only, also by who holds the pen.
#[derive(Debug)]
pub(crate) struct Air {
    state: Mutex<State>,
    empty: Condvar,
}

#[derive(Debug)]
struct State {
    flights: Flights,
    /// Something failed: nothing is acknowledged any more.
    failed: bool,
}

impl Air {
    /// Nothing is under way, in a segment whose mark says `horizon`.
    pub(crate) fn new(horizon: u64) -> Self {
        let state = State { flights: Flights::new(horizon), failed: false };
        Self { state: Mutex::new(state), empty: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is under way. False when something failed.
    fn is_clear(&self) -> bool {
        let busy = |state: &mut State| !state.flights.is_empty() && !state.failed;
        let state = self.empty.wait_while(self.lock(), busy).unwrap_or_else(PoisonError::into_inner);
        !state.failed
    }
}

impl Engine {
    /// Runs until the queue is closed and empty, or something fails.
    pub(crate) fn run(self, checkpoint: Option<Checkpoint>, spans: &[Span]) {
        match self.replay(checkpoint, spans) {
            Ok(()) => self.turns(),
            Err(error) => self.stop(error),
        }
        let Self { events, hold, journal, .. } = self;
        // In this order: the file is closed, then the stream ends, then the directory is free.
        drop(journal);
        drop(events);
        drop(hold);
    }

    fn replay(&self, checkpoint: Option<Checkpoint>, spans: &[Span]) -> Result<(), LogError> {
        let base = checkpoint.as_ref().map_or(0, |c| c.index);
        if let Some(checkpoint) = checkpoint {
            self.events.send(Event::Restore(checkpoint));
        }
        let replay = Replay { disk: &self.disk, integrity: &self.integrity, events: &self.events, base };
        if replay.run(spans)? {
            self.events.send(Event::Replayed);
        }
        Ok(())
    }

    /// All lanes are the same: each takes the pen, writes, passes the pen on and syncs.
    fn turns(&self) {
        std::thread::scope(|scope| {
            for number in 1..self.lanes {
                let thread = std::thread::Builder::new().name(format!("log-{number}"));
                if let Err(cause) = thread.spawn_scoped(scope, || self.lane()) {
                    // One is enough to be right; more are faster.
                    tracing::warn!("the log has {number} of {} threads: {cause}", self.lanes);
                    break;
                }
            }
            self.lane();
        });
    }

    fn lane(&self) {
        let mut lane = Lane::new(Arc::clone(&self.disk));
        let mut turns = || -> Result<(), LogError> {
            while let Some(ticket) = self.depart(&mut lane)? {
                let started = Instant::now();
                lane.sync()?;
                self.land(ticket, Syncs { count: 1, time: started.elapsed() });
            }
            Ok(())
        };
        if let Err(error) = turns() {
            self.stop(error);
        }
    }

    /// Waits for commands and writes them. None when there will be no more.
    fn depart(&self, lane: &mut Lane) -> Result<Option<Ticket>, LogError> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let idle = (!journal.sealed()).then_some(self.seal_after);
            let turn = self.shared.queue.take(self.max_batch_bytes, idle);
            if let Turn::Batch(payloads) = turn {
                let (synced, horizon) = {
                    let air = self.air.lock();
                    (air.flights.synced(), air.flights.horizon())
                };
                if journal.has_room_for(&payloads, horizon) {
                    let flight = journal.write(lane, payloads, (synced, horizon))?;
                    return Ok(Some(self.air.lock().flights.depart(flight)));
                }
                if !self.air.is_clear() {
                    return Ok(None);
                }
                let first = journal.append(&payloads)?;
                self.air.lock().flights.set_horizon(journal.horizon());
                self.tell(first, payloads, journal.take_syncs());
                continue;
            }
            if !self.air.is_clear() {
                return Ok(None);
            }
            journal.seal()?;
            self.air.lock().flights.set_horizon(journal.horizon());
            self.shared.progress().syncs.add(journal.take_syncs());
            if turn == Turn::Closed {
                return Ok(None);
            }
        }
    }

    /// A batch is durable; tells what may be told.
    fn land(&self, ticket: Ticket, syncs: Syncs) {
        let mut air = self.air.lock();
        if air.failed {
            return;
        }
        let mut syncs = Some(syncs);
        for Flight { first, payloads, .. } in air.flights.land(ticket) {
            self.tell(first, payloads, syncs.take().unwrap_or_default());
        }
        self.shared.progress().syncs.add(syncs.unwrap_or_default());
        if air.flights.is_empty() {
            self.air.empty.notify_one();
        }
    }

    /// The batch is durable, and all before it: it counts before anyone hears of it, so that no barrier is
    /// ever behind.
    fn tell(&self, first: Index, payloads: Vec<bytes::Bytes>, syncs: Syncs) {
        let bytes: u64 = payloads.iter().map(|p| p.len() as u64).sum();
        let entries: Vec<Entry> =
            (first..).zip(payloads).map(|(index, payload)| Entry { index, payload }).collect();
        {
            let mut progress = self.shared.progress();
            progress.last = first + entries.len() as u64 - 1;
            progress.bytes += bytes;
            progress.syncs.add(syncs);
        }
        self.shared.queue.decided(entries.len());
        self.events.send(Event::Entries(entries));
    }

    /// The first failure counts; what follows from it says nothing new.
    fn stop(&self, error: LogError) {
        let mut air = self.air.lock();
        if std::mem::replace(&mut air.failed, true) {
            return;
        }
        let reason = crate::error_chain(&error);
        tracing::error!("the log has stopped: {reason}");
        self.shared.progress().stopped = Some(reason.clone());
        self.shared.queue.stop(reason);
        self.events.send(Event::Stopped(Arc::new(error)));
        self.air.empty.notify_one();
    }
}
