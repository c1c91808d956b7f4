//! Link events on their way to the thread of an engine.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use tokio::sync::Notify;

use super::{Closed, LinkEvent};

/// What an event costs beside its frame.
const FIXED: usize = 64;

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Bytes of frames from which on [`LinkSender::send`] waits.
    limit: usize,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<LinkEvent>,
    bytes: usize,
    /// Who is to be woken.
    engine: Option<Thread>,
    closed: bool,
}

impl Shared {
    /// Each change under this lock leaves the state whole, whatever a panicking thread was doing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(event: &LinkEvent) -> usize {
    match event {
        LinkEvent::Frame { frame, .. } => FIXED + frame.len(),
        LinkEvent::Up { .. } | LinkEvent::Down { .. } => FIXED,
    }
}

/// A connected sender, for a carrier, and receiver, for the engine that is opened with it. About `limit_bytes` of
/// frames may wait before [`LinkSender::send`] does.
pub fn links(limit_bytes: usize) -> (LinkSender, LinkReceiver) {
    let shared = Arc::new(Shared { state: Mutex::default(), limit: limit_bytes.max(1), room: Notify::new() });
    (LinkSender(Arc::clone(&shared)), LinkReceiver(shared))
}

/// The carrier's end. Clones feed the same engine.
#[derive(Debug, Clone)]
pub struct LinkSender(Arc<Shared>);

impl LinkSender {
    /// Hands over an event; a frame waits for room, which is how a peer that sends faster than the engine works
    /// is slowed down: stop reading its stream meanwhile. Cancel safe: an event is handed over or not.
    ///
    /// # Errors
    /// [`Closed`] when the engine is gone.
    pub async fn send(&self, event: LinkEvent) -> Result<(), Closed> {
        if matches!(event, LinkEvent::Frame { .. }) {
            loop {
                let room = self.0.room.notified();
                tokio::pin!(room);
                // Registered before looking, so that room made in between is not missed.
                room.as_mut().enable();
                {
                    let state = self.0.lock();
                    if state.closed {
                        return Err(Closed);
                    }
                    if state.bytes < self.0.limit {
                        break;
                    }
                }
                room.await;
            }
        }
        self.push(event)
    }

    /// Hands over an event at once, whatever waits.
    ///
    /// # Errors
    /// [`Closed`] when the engine is gone.
    pub fn push(&self, event: LinkEvent) -> Result<(), Closed> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(Closed);
        }
        state.bytes += cost(&event);
        state.events.push_back(event);
        if let Some(engine) = &state.engine {
            engine.unpark();
        }
        Ok(())
    }

    /// Whether the engine is gone.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }
}

/// The engine's end. Dropping it closes the queue.
#[derive(Debug)]
pub struct LinkReceiver(Arc<Shared>);

impl LinkReceiver {
    /// The next event, if one waits.
    pub fn try_recv(&self) -> Option<LinkEvent> {
        let mut state = self.0.lock();
        let event = state.events.pop_front()?;
        state.bytes -= cost(&event);
        let room = state.bytes < self.0.limit;
        drop(state);
        if room {
            self.0.room.notify_waiters();
        }
        Some(event)
    }

    /// From now on every event unparks the calling thread.
    pub fn wake_this_thread(&self) {
        self.0.lock().engine = Some(std::thread::current());
    }
}

impl Drop for LinkReceiver {
    fn drop(&mut self) {
        {
            let mut state = self.0.lock();
            state.closed = true;
            state.events.clear();
            state.bytes = 0;
        }
        self.0.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Lane, ServerId};
    use bytes::Bytes;

    fn frame(bytes: usize) -> LinkEvent {
        let frame = Bytes::from(vec![0; bytes]);
        LinkEvent::Frame { peer: ServerId(1), session: 1, lane: Lane::Order, frame }
    }

    #[tokio::test]
    async fn a_frame_waits_for_room_and_an_end_does_not() {
        let (tx, rx) = links(100);
        tx.send(frame(200)).await.expect("the first always fits");
        let late = tokio::spawn({
            let tx = tx.clone();
            async move { tx.send(frame(1)).await }
        });
        tx.send(LinkEvent::Down { peer: ServerId(1), session: 1 }).await.expect("never waits");
        tokio::task::yield_now().await;
        assert!(!late.is_finished());
        assert_eq!(rx.try_recv(), Some(frame(200)));
        late.await.expect("no panic").expect("room");
        assert!(matches!(rx.try_recv(), Some(LinkEvent::Down { .. })));
        assert_eq!(rx.try_recv(), Some(frame(1)));
        assert_eq!(rx.try_recv(), None);
    }

    #[tokio::test]
    async fn a_lost_engine_frees_who_waits() {
        let (tx, rx) = links(1);
        tx.send(frame(9)).await.expect("the first");
        let late = tokio::spawn({
            let tx = tx.clone();
            async move { tx.send(frame(1)).await }
        });
        tokio::task::yield_now().await;
        drop(rx);
        assert_eq!(late.await.expect("no panic"), Err(Closed));
        assert!(tx.is_closed());
    }
}
