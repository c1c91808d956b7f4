//! What the engine's tasks and the log's users both see.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::queue::Limits;
use crate::{Index, LogError};

/// Where the tail stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Batches so far: what `head`'s version was.
    pub(super) version: u64,
    /// Revision of the last of them.
    pub(super) revision: u64,
    /// Last entry that the reader was handed.
    pub(super) last: Index,
}

/// One batch that the reader was handed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    pub(super) first: Index,
    pub(super) count: u64,
    pub(super) version: u64,
    pub(super) revision: u64,
}

#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) last: Index,
    pub(super) checkpoint: Index,
    pub(super) bytes: u64,
    /// Transactions done, and the time they took.
    pub(super) calls: u64,
    pub(super) call_us: u64,
    /// Since the newest checkpoint that is known here.
    pub(super) batches: VecDeque<Batch>,
    pub(super) stopped: Option<String>,
    pub(super) cut_off: bool,
    /// Who leads, as was seen last, and the lease by which this node does.
    pub(super) leader: Option<u64>,
    pub(super) lease: Option<String>,
}

#[derive(Debug, Default)]
struct Waiting {
    payloads: VecDeque<Bytes>,
    /// Waiting, or under way and not handed to the reader yet.
    queued: usize,
    bytes: usize,
    closing: bool,
    refusal: Option<String>,
}

pub(super) struct Shared {
    limits: Limits,
    waiting: Mutex<Waiting>,
    progress: Mutex<Progress>,
    /// Something waits to be appended.
    pub(super) work: Notify,
    /// The log closes.
    pub(super) closing: Notify,
    /// The tail is asked to look.
    pub(super) poke: Notify,
    pub(super) place: watch::Sender<Place>,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: Mutex::default(),
            progress: Mutex::default(),
            work: Notify::new(),
            closing: Notify::new(),
            poke: Notify::new(),
            place: watch::Sender::new(Place::default()),
        }
    }

    /// Each change under these locks leaves the state whole, whatever a panicking thread was doing.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, payload: Bytes, unread: (usize, usize)) -> Result<(), LogError> {
        let (bytes, limit) = (payload.len(), self.limits.command_bytes);
        if bytes > limit {
            return Err(LogError::TooLarge { bytes, limit });
        }
        let mut waiting = self.waiting();
        if let Some(reason) = waiting.refusal.clone() {
            return Err(LogError::Stopped { reason });
        }
        let queued = waiting.queued + unread.0;
        let heavy = queued > 0 && waiting.bytes + unread.1 + bytes > self.limits.queued_bytes;
        if queued >= self.limits.queued || heavy {
            return Err(LogError::Full { queued });
        }
        waiting.queued += 1;
        waiting.bytes += bytes;
        waiting.payloads.push_back(payload);
        drop(waiting);
        self.work.notify_one();
        Ok(())
    }

    /// What one transaction takes: one command at least, if any waits, and no more than `bytes`.
    pub(super) fn take(&self, bytes: usize) -> Vec<Bytes> {
        let mut waiting = self.waiting();
        let (mut taken, mut sum) = (Vec::new(), 0);
        while let Some(next) = waiting.payloads.front() {
            sum += 4 + next.len();
            if !taken.is_empty() && sum > bytes {
                break;
            }
            taken.extend(waiting.payloads.pop_front());
        }
        taken
    }

    /// Commands of this node were handed to the reader.
    pub(super) fn handed_over(&self, count: usize, bytes: usize) {
        let mut waiting = self.waiting();
        waiting.queued = waiting.queued.saturating_sub(count);
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
    }

    pub(super) fn queued(&self) -> usize {
        self.waiting().queued
    }

    pub(super) fn refusal(&self) -> Option<LogError> {
        self.waiting().refusal.clone().map(|reason| LogError::Stopped { reason })
    }

    /// Takes nothing more; what waits is still appended.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.closing = true;
        waiting.refusal.get_or_insert_with(|| "it was closed".to_owned());
        drop(waiting);
        self.closing.notify_one();
    }

    pub(super) fn stop(&self, reason: &str) {
        self.progress().stopped = Some(reason.to_owned());
        let mut waiting = self.waiting();
        waiting.payloads.clear();
        (waiting.queued, waiting.bytes, waiting.closing) = (0, 0, true);
        waiting.refusal = Some(reason.to_owned());
        drop(waiting);
        self.closing.notify_one();
    }

    /// Whether the log closes and nothing is left to be done.
    pub(super) fn is_done(&self) -> bool {
        let waiting = self.waiting();
        waiting.closing && waiting.queued == 0
    }
}
