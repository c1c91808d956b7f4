//! Commands on their way to the thread of an engine.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::LogError;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) command_bytes: usize,
    pub(crate) queued: usize,
    pub(crate) queued_bytes: usize,
}

/// What the engine's thread does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Write these, in order.
    Batch(Vec<Bytes>),
    /// Nothing came for the given time.
    Idle,
    /// Nothing waits and nothing will come.
    Closed,
}

#[derive(Debug)]
enum Phase {
    Open,
    Closing,
    Stopped(String),
}

#[derive(Debug)]
struct Inner {
    waiting: Vec<Bytes>,
    bytes: usize,
    /// Taken and not decided yet.
    in_flight: usize,
    phase: Phase,
    asleep: bool,
}

/// A bounded queue with one taker.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
    limits: Limits,
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        let inner = Inner { waiting: Vec::new(), bytes: 0, in_flight: 0, phase: Phase::Open, asleep: false };
        Self { inner: Mutex::new(inner), wake: Condvar::new(), limits }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues one command. `unread` entries and bytes wait for the reader and count against the limits too.
    pub(crate) fn push(&self, payload: Bytes, unread: (usize, usize)) -> Result<(), LogError> {
        let (bytes, limit) = (payload.len(), self.limits.command_bytes);
        if bytes > limit {
            return Err(LogError::TooLarge { bytes, limit });
        }
        let mut inner = self.lock();
        if let Some(stopped) = inner.phase.refusal() {
            return Err(stopped);
        }
        let queued = inner.waiting.len() + inner.in_flight + unread.0;
        // One command always fits, however large, when nothing waits.
        let heavy = queued > 0 && inner.bytes + unread.1 + bytes > self.limits.queued_bytes;
        if queued >= self.limits.queued || heavy {
            return Err(LogError::Full { queued });
        }
        inner.waiting.push(payload);
        inner.bytes += bytes;
        if std::mem::take(&mut inner.asleep) {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes what waits, up to `max_bytes` (one command at least); sleeps while nothing does, at most for
    /// `idle` when that is given. What was taken counts as queued until [`Queue::decided`].
    pub(crate) fn take(&self, max_bytes: usize, idle: Option<Duration>) -> Turn {
        let mut inner = self.lock();
        while inner.waiting.is_empty() {
            if !matches!(inner.phase, Phase::Open) {
                return Turn::Closed;
            }
            inner.asleep = true;
            let woken = match idle {
                None => self.wake.wait(inner).map_err(PoisonError::into_inner),
                Some(time) => match self.wake.wait_timeout(inner, time) {
                    Ok((inner, timeout)) if timeout.timed_out() && inner.waiting.is_empty() => {
                        return if matches!(inner.phase, Phase::Open) { Turn::Idle } else { Turn::Closed };
                    }
                    Ok((inner, _)) => Ok(inner),
                    Err(poisoned) => Err(poisoned.into_inner().0),
                },
            };
            inner = woken.unwrap_or_else(|inner| inner);
        }
        inner.asleep = false;
        Turn::Batch(inner.cut(max_bytes))
    }

    /// This many of those taken have been decided.
    pub(crate) fn decided(&self, commands: usize) {
        let mut inner = self.lock();
        inner.in_flight = inner.in_flight.saturating_sub(commands);
    }

    /// Takes no more commands; those that wait are still handed out.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        if matches!(inner.phase, Phase::Open) {
            inner.phase = Phase::Closing;
        }
        self.wake.notify_one();
    }

    /// Takes and hands out nothing more.
    pub(crate) fn stop(&self, reason: String) {
        let mut inner = self.lock();
        inner.waiting.clear();
        (inner.bytes, inner.in_flight) = (0, 0);
        inner.phase = Phase::Stopped(reason);
        self.wake.notify_one();
    }

    /// Why an append would be refused, if it would be.
    pub(crate) fn refusal(&self) -> Option<LogError> {
        self.lock().phase.refusal()
    }

    /// Commands queued and not yet decided.
    pub(crate) fn queued(&self) -> usize {
        let inner = self.lock();
        inner.waiting.len() + inner.in_flight
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

impl Inner {
    fn cut(&mut self, max_bytes: usize) -> Vec<Bytes> {
        let batch = if self.bytes + 4 * self.waiting.len() <= max_bytes {
            std::mem::take(&mut self.waiting)
        } else {
            let mut bytes = 0;
            let fits = self.waiting.iter().take_while(|payload| {
                bytes += 4 + payload.len();
                bytes <= max_bytes
            });
            let n = fits.count().max(1);
            self.waiting.drain(..n).collect()
        };
        self.bytes -= batch.iter().map(Bytes::len).sum::<usize>();
        self.in_flight += batch.len();
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(Limits { command_bytes: 10, queued: 4, queued_bytes: 20 })
    }

    fn command(bytes: usize) -> Bytes {
        Bytes::from(vec![0; bytes])
    }

    #[test]
    fn limits_are_said_in_words() {
        let queue = queue();
        let push = |bytes, unread| queue.push(command(bytes), unread).map_err(|e| e.to_string());
        assert!(push(11, (0, 0)).is_err_and(|e| e.contains("11 bytes is over the limit of 10 bytes")));
        assert_eq!(push(10, (0, 0)), Ok(()));
        assert_eq!(push(10, (0, 0)), Ok(()));
        assert!(push(1, (0, 0)).is_err_and(|e| e.contains("2 commands already wait")), "bytes");
        assert!(
            push(0, (2, 0)).is_err_and(|e| e.contains("4 commands already wait")),
            "count, with the unread"
        );
    }

    #[test]
    fn a_turn_takes_all_that_fits_and_never_nothing() {
        let queue = queue();
        for bytes in [5, 5, 1] {
            queue.push(command(bytes), (0, 0)).expect("room");
        }
        assert_eq!(queue.take(18, None), Turn::Batch(vec![command(5), command(5)]));
        assert_eq!(queue.queued(), 3, "taken is not decided");
        queue.decided(2);
        assert_eq!(queue.take(0, None), Turn::Batch(vec![command(1)]));
        queue.decided(1);
        assert_eq!(queue.take(0, Some(Duration::ZERO)), Turn::Idle);
        assert_eq!(queue.queued(), 0);
    }

    #[test]
    fn closing_hands_out_what_waits_and_stopping_does_not() {
        let queue = queue();
        queue.push(command(1), (0, 0)).expect("room");
        queue.close();
        assert!(queue.push(command(1), (0, 0)).is_err());
        assert_eq!(queue.take(9, None), Turn::Batch(vec![command(1)]));
        assert_eq!(queue.take(9, None), Turn::Closed);
        queue.stop("the disk is full".to_owned());
        assert!(queue.push(command(1), (0, 0)).is_err_and(|e| e.to_string().contains("the disk is full")));
    }
}
