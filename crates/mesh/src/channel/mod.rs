//! Messages in order to every linked peer, with the beginning and the end of each session told.
//!
//! A session is one set of streams, one for each lane. The elder of a pair (the smaller name) opens them whenever there
//! is a control link and no session; the younger takes them when all have arrived. Whatever ends one of them ends the
//! session, on both sides, and the elder opens the next. So what is lost is never in the middle.

mod open;
mod session;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::mesh::Shared;
use crate::open::Lane;
use crate::preface::Kind;
use session::Session;

/// Events that wait for whoever listens. What else is under way is bounded by the windows of the links.
const WAITING: usize = 16;

/// What a channel tells, in order for each peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelEvent {
    /// A session with a peer has begun.
    Up {
        /// With whom.
        peer: String,
        /// Its number, above those of all before it. The other side has a number of its own.
        session: u64,
    },
    /// A frame arrived: none before its session's `Up`, none after its `Down`.
    Frame {
        /// From whom.
        peer: String,
        /// In which session.
        session: u64,
        /// On which lane, an index into those that the channel was opened with.
        lane: usize,
        /// The frame.
        frame: Bytes,
    },
    /// A session has ended. The peer's next `Up` comes after it.
    Down {
        /// With whom.
        peer: String,
        /// Which.
        session: u64,
    },
}

/// The session has ended, or there was none of that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended")]
pub struct Ended;

/// A channel. Clones are the same one. It does not keep the mesh: when that is closed, sending fails and the
/// events end.
#[derive(Debug, Clone)]
pub struct Channel(Arc<Sessions>);

/// What the tasks of a channel share.
#[derive(Debug)]
struct Hub {
    shared: Arc<Shared>,
    kind: Kind,
    lanes: Vec<Lane>,
    most_queued: usize,
    events: mpsc::Sender<ChannelEvent>,
    sessions: Arc<Sessions>,
}

/// The current session with each peer.
#[derive(Debug, Default)]
struct Sessions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Sessions so far, with all peers.
    sessions: u64,
    peers: HashMap<String, Place>,
}

/// Where a peer's session is.
#[derive(Debug, Default)]
struct Place {
    current: Option<Arc<Session>>,
    /// Held by the session that tells events: the next waits for its `Down`.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Channel {
    pub(crate) fn open(
        shared: &Arc<Shared>,
        kind: Kind,
        lanes: &[Lane],
        most_queued: usize,
    ) -> (Channel, mpsc::Receiver<ChannelEvent>, [JoinHandle<()>; 2]) {
        let (events, receiver) = mpsc::channel(WAITING);
        let sessions = Arc::<Sessions>::default();
        let hub = Arc::new(Hub {
            shared: shared.clone(),
            kind,
            lanes: lanes.to_vec(),
            most_queued,
            events,
            sessions: sessions.clone(),
        });
        let incoming = shared.acceptors.register(kind);
        let tasks = [
            shared.control.spawn(open::accept(hub.clone(), incoming)),
            shared.control.spawn(open::follow_links(hub)),
        ];
        (Channel(sessions), receiver, tasks)
    }

    /// Queues a frame behind everything sent on this lane of the session before. Never waits. What is queued when the
    /// session ends is dropped.
    ///
    /// # Errors
    /// [`Ended`]; also when this frame was too much for the queue and ended it.
    pub fn send(&self, peer: &str, session: u64, lane: usize, frame: Bytes) -> Result<(), Ended> {
        let known = self.0.lock().peers.get(peer).and_then(|place| place.current.clone());
        known.filter(|known| known.number == session).ok_or(Ended)?.send(lane, frame)
    }

    /// Ends a session on both sides, if it is not over. Its `Down` follows, then a new one begins.
    pub fn reset(&self, peer: &str, session: u64) {
        let known = self.0.lock().peers.get(peer).and_then(|place| place.current.clone());
        if let Some(known) = known.filter(|known| known.number == session) {
            known.end();
        }
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers a new session and makes it the peer's current one; the one before is ended, and its `Down` awaited by
    /// the turn.
    fn take_place(
        &self,
        peer: &str,
        session: impl FnOnce(u64) -> Session,
    ) -> (Arc<Session>, Arc<tokio::sync::Mutex<()>>) {
        let mut state = self.lock();
        state.sessions += 1;
        let session = Arc::new(session(state.sessions));
        let place = state.peers.entry(peer.to_owned()).or_default();
        if let Some(before) = place.current.replace(session.clone()) {
            before.end();
        }
        (session, place.turn.clone())
    }

    /// A session is over.
    fn leave_place(&self, peer: &str, number: u64) {
        if let Some(place) = self.lock().peers.get_mut(peer)
            && place.current.as_ref().is_some_and(|current| current.number == number)
        {
            place.current = None;
        }
    }
}
