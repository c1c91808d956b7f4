//! The log's thread: replay, then turn after turn of "write what waits, sync once, tell".

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Hold;
use super::chain::Span;
use super::format::Integrity;
use super::journal::{Journal, Syncs};
use super::replay::Replay;
use crate::disk::Disk;
use crate::events::EventSender;
use crate::queue::{Queue, Turn};
use crate::{Checkpoint, Entry, Event, Index, LogError};

/// What the thread and the log's users both see.
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

/// Everything that the thread owns.
pub(crate) struct Engine {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) integrity: Integrity,
    pub(crate) journal: Journal,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: EventSender,
    pub(crate) max_batch_bytes: usize,
    pub(crate) seal_after: Duration,
    /// Dropped last: with it the directory is free.
    pub(crate) hold: Arc<Hold>,
}

impl Engine {
    /// Runs until the queue is closed and empty, or something fails.
    pub(crate) fn run(mut self, checkpoint: Option<Checkpoint>, spans: &[Span]) {
        if let Err(error) = self.replay(checkpoint, spans).and_then(|()| self.turns()) {
            self.stop(error);
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

    fn turns(&mut self) -> Result<(), LogError> {
        loop {
            let idle = (!self.journal.sealed()).then_some(self.seal_after);
            match self.shared.queue.take(self.max_batch_bytes, idle) {
                Turn::Batch(payloads) => {
                    let first = self.journal.append(&payloads)?;
                    self.tell(first, payloads);
                }
                Turn::Idle => self.seal()?,
                Turn::Closed => return self.seal(),
            }
        }
    }

    fn seal(&mut self) -> Result<(), LogError> {
        self.journal.seal()?;
        self.shared.progress().syncs = self.journal.syncs();
        Ok(())
    }

    /// The batch is durable: it counts before anyone hears of it, so that no barrier is ever behind.
    fn tell(&self, first: Index, payloads: Vec<bytes::Bytes>) {
        let bytes: u64 = payloads.iter().map(|p| p.len() as u64).sum();
        let entries: Vec<Entry> =
            (first..).zip(payloads).map(|(index, payload)| Entry { index, payload }).collect();
        {
            let mut progress = self.shared.progress();
            progress.last = self.journal.next() - 1;
            progress.bytes += bytes;
            progress.syncs = self.journal.syncs();
        }
        self.shared.queue.decided();
        self.events.send(Event::Entries(entries));
    }

    fn stop(&self, error: LogError) {
        let reason = crate::error_chain(&error);
        tracing::error!("the log has stopped: {reason}");
        self.shared.progress().stopped = Some(reason.clone());
        self.shared.queue.stop(reason);
        self.events.send(Event::Stopped(Arc::new(error)));
    }
}
