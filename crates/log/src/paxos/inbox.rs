//! What users of the log want of its thread.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::membership::{Change, ChangeError};
use crate::queue::Limits;
use crate::{Index, LogError};

/// Something to be done, and who waits for it.
pub(crate) enum Request {
    /// An index that makes a read linearizable.
    Barrier(oneshot::Sender<Result<Index, LogError>>),
    /// A checkpoint's file is durable; put it in force.
    Saved { index: Index, done: oneshot::Sender<Result<(), LogError>> },
    /// Change the voting servers.
    Change { change: Change, done: oneshot::Sender<Result<(), ChangeError>> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    Closing,
    Stopped(String),
}

struct Inner {
    waiting: VecDeque<Bytes>,
    requests: VecDeque<Request>,
    /// Commands, and their bytes, that wait or were taken and are not decided yet.
    queued: usize,
    bytes: usize,
    phase: Phase,
    engine: Option<Thread>,
}

pub(crate) struct Inbox {
    inner: Mutex<Inner>,
    limits: Limits,
}

impl Inbox {
    pub(crate) fn new(limits: Limits) -> Self {
        let inner = Inner {
            waiting: VecDeque::new(),
            requests: VecDeque::new(),
            queued: 0,
            bytes: 0,
            phase: Phase::Open,
            engine: None,
        };
        Self { inner: Mutex::new(inner), limits }
    }

    /// Each change under this lock leaves the state whole, whatever a panicking thread was doing.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues one command. What `unread` answers, entries and bytes that wait for the reader, counts against the limits
    /// too; it is asked under the lock, so that nothing is missed on its way from here to there.
    pub(crate) fn push(
        &self,
        payload: Bytes,
        unread: impl FnOnce() -> (usize, usize),
    ) -> Result<(), LogError> {
        let (bytes, limit) = (payload.len(), self.limits.command_bytes);
        if bytes > limit {
            return Err(LogError::TooLarge { bytes, limit });
        }
        let mut inner = self.lock();
        if let Some(refusal) = inner.phase.refusal() {
            return Err(refusal);
        }
        let unread = unread();
        let queued = inner.queued + unread.0;
        // One command always fits, however large, when nothing waits.
        let heavy = queued > 0 && inner.bytes + unread.1 + bytes > self.limits.queued_bytes;
        if queued >= self.limits.queued || heavy {
            return Err(LogError::Full { queued });
        }
        inner.queued += 1;
        inner.bytes += bytes;
        inner.waiting.push_back(payload);
        inner.wake();
        Ok(())
    }

    /// Hands over a request.
    ///
    /// # Errors
    /// The request, and why it is not taken.
    pub(crate) fn ask(&self, request: Request) -> Result<(), (Request, LogError)> {
        let mut inner = self.lock();
        if let Some(refusal) = inner.phase.refusal() {
            return Err((request, refusal));
        }
        inner.requests.push_back(request);
        inner.wake();
        Ok(())
    }

    /// From now on everything that comes in unparks the calling thread.
    pub(crate) fn wake_this_thread(&self) {
        self.lock().engine = Some(std::thread::current());
    }

    /// Commands in order, until they are more than `bytes`.
    pub(crate) fn take(&self, bytes: usize) -> Vec<Bytes> {
        let mut inner = self.lock();
        let mut taken = Vec::new();
        let mut sum = 0;
        while sum < bytes {
            let Some(payload) = inner.waiting.pop_front() else { break };
            sum += payload.len();
            taken.push(payload);
        }
        taken
    }

    pub(crate) fn take_request(&self) -> Option<Request> {
        self.lock().requests.pop_front()
    }

    /// So many of the commands that were taken are decided, and are handed to the reader: they count there before
    /// they count here no more.
    pub(crate) fn decided(&self, count: usize, bytes: usize, hand_over: impl FnOnce()) {
        let mut inner = self.lock();
        hand_over();
        inner.queued = inner.queued.saturating_sub(count);
        inner.bytes = inner.bytes.saturating_sub(bytes);
    }

    /// Takes nothing more; what waits is still handed out.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        if inner.phase == Phase::Open {
            inner.phase = Phase::Closing;
        }
        inner.wake();
    }

    /// Takes and hands out nothing more. Who waits for an answer hears that the sender is gone.
    pub(crate) fn stop(&self, reason: String) {
        let mut inner = self.lock();
        inner.waiting.clear();
        inner.requests.clear();
        (inner.queued, inner.bytes) = (0, 0);
        inner.phase = Phase::Stopped(reason);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().phase == Phase::Open
    }

    /// Whether commands or requests wait to be taken.
    pub(crate) fn is_waiting(&self) -> bool {
        let inner = self.lock();
        !inner.waiting.is_empty() || !inner.requests.is_empty()
    }

    /// Why an append would be refused, if it would be.
    pub(crate) fn refusal(&self) -> Option<LogError> {
        self.lock().phase.refusal()
    }

    /// Commands queued and not yet decided.
    pub(crate) fn queued(&self) -> usize {
        self.lock().queued
    }
}

impl Inner {
    fn wake(&self) {
        if let Some(engine) = &self.engine {
            engine.unpark();
        }
    }
}

impl Phase {
    fn refusal(&self) -> Option<LogError> {
        let reason = match self {
            Self::Open => return None,
            Self::Closing => "it was closed".to_owned(),
            Self::Stopped(reason) => reason.clone(),
        };
        Some(LogError::Stopped { reason })
    }
}
