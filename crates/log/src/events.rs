//! The one stream that an engine sends and one reader receives, with its backlog counted.
//!
//! The channel itself is unbounded so that an engine's thread never waits for its reader once it decides
//! entries; the bound is kept where it can be refused in words: [`Log::append`](crate::Log::append) counts
//! what the reader has not taken yet, and replay waits for room.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError, unbounded_channel};

use crate::Event;

/// Entries sent and not yet received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

impl Backlog {
    fn of(event: &Event) -> Self {
        match event {
            Event::Entries(entries) => {
                Self { entries: entries.len(), bytes: entries.iter().map(|e| e.payload.len()).sum() }
            }
            Event::Restore(_) | Event::Replayed | Event::Stopped(_) => Self::default(),
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    backlog: Backlog,
    /// Nobody waits for room any more: the reader is gone, or the engine closes.
    released: bool,
}

impl Shared {
    /// The counters stay meaningful whatever a panicking thread was doing: each change is one assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self) {
        self.lock().released = true;
        self.room.notify_all();
    }
}

/// A connected sender and receiver, for engines; one outside this crate may be a test's script.
pub fn channel() -> (EventSender, EventReceiver) {
    let (tx, rx) = unbounded_channel();
    let shared = Arc::new(Shared::default());
    (EventSender { tx, shared: Arc::clone(&shared) }, EventReceiver { rx, shared })
}

/// What waits for the reader, seen from outside the engine's thread. Does not keep the stream open.
#[derive(Debug, Clone)]
pub(crate) struct Gauge(Arc<Shared>);

impl Gauge {
    pub(crate) fn backlog(&self) -> Backlog {
        self.0.lock().backlog
    }

    /// Wakes a sender that waits for room, for good.
    pub(crate) fn release(&self) {
        self.0.release();
    }
}

/// The engine's end.
#[derive(Debug, Clone)]
pub struct EventSender {
    tx: UnboundedSender<Event>,
    shared: Arc<Shared>,
}

impl EventSender {
    pub(crate) fn gauge(&self) -> Gauge {
        Gauge(Arc::clone(&self.shared))
    }

    /// Sends without waiting. A reader that is gone is not an error: what is durable stays durable.
    pub fn send(&self, event: Event) {
        let weight = Backlog::of(&event);
        {
            let mut state = self.shared.lock();
            state.backlog.entries += weight.entries;
            state.backlog.bytes += weight.bytes;
        }
        if self.tx.send(event).is_err() {
            self.shared.lock().backlog = Backlog::default();
        }
    }

    /// Sends once fewer than `limit` bytes wait to be received. False when that will never be: the reader
    /// is gone or [`Gauge::release`] was called.
    pub(crate) fn send_when_below(&self, limit: usize, event: Event) -> bool {
        let mut state = self.shared.lock();
        while state.backlog.bytes >= limit && !state.released {
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let released = state.released;
        drop(state);
        if !released {
            self.send(event);
        }
        !released
    }
}

/// The reader's end of a log's stream. There is exactly one per opened log.
///
/// It ends (`None`) after the log was closed or stopped and everything sent has been received. Memory is
/// bounded by the engine: replay waits for this reader, and appends are refused with
/// [`LogError::Full`](crate::LogError::Full) while it lags.
#[derive(Debug)]
pub struct EventReceiver {
    rx: UnboundedReceiver<Event>,
    shared: Arc<Shared>,
}

impl EventReceiver {
    /// The next event; waits for it. `None` at the end of the stream. Cancel safe.
    pub async fn recv(&mut self) -> Option<Event> {
        let event = self.rx.recv().await;
        self.took(event)
    }

    /// The next event; blocks this thread for it. Must not be called from async code.
    pub fn blocking_recv(&mut self) -> Option<Event> {
        let event = self.rx.blocking_recv();
        self.took(event)
    }

    /// The next event if one is here already, so that a reader can fold several into one publication.
    ///
    /// # Errors
    /// `Empty` when none waits now, `Disconnected` at the end of the stream.
    pub fn try_recv(&mut self) -> Result<Event, TryRecvError> {
        let event = self.rx.try_recv()?;
        self.settle(&event);
        Ok(event)
    }

    fn took(&self, event: Option<Event>) -> Option<Event> {
        if let Some(event) = &event {
            self.settle(event);
        }
        event
    }

    fn settle(&self, event: &Event) {
        let weight = Backlog::of(event);
        if weight == Backlog::default() {
            return;
        }
        let mut state = self.shared.lock();
        state.backlog.entries = state.backlog.entries.saturating_sub(weight.entries);
        state.backlog.bytes = state.backlog.bytes.saturating_sub(weight.bytes);
        drop(state);
        self.shared.room.notify_all();
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        self.shared.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;
    use bytes::Bytes;

    fn entries(index: u64, bytes: usize) -> Event {
        Event::Entries(vec![Entry { index, payload: Bytes::from(vec![0; bytes]) }])
    }

    #[test]
    fn the_backlog_counts_what_was_sent_and_not_received() {
        let (tx, mut rx) = channel();
        tx.send(entries(1, 10));
        tx.send(Event::Replayed);
        tx.send(entries(2, 5));
        assert_eq!(tx.gauge().backlog(), Backlog { entries: 2, bytes: 15 });
        for _ in 0..3 {
            rx.blocking_recv().expect("an event");
        }
        assert_eq!(tx.gauge().backlog(), Backlog::default());
    }

    #[test]
    fn a_sender_waits_for_room_and_a_lost_reader_frees_it() {
        let (tx, mut rx) = channel();
        tx.send(entries(1, 10));
        let send = move || (tx.send_when_below(10, entries(2, 10)), tx.send_when_below(1, entries(3, 1)));
        let waiting = std::thread::spawn(send);
        assert!(matches!(rx.blocking_recv(), Some(Event::Entries(e)) if e[0].index == 1));
        drop(rx);
        let (second, third) = waiting.join().expect("no panic");
        assert!(!third, "nobody will ever make room (second was sent: {second})");
    }
}
