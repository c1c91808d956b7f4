//! Which links there are, and which of two stays.
//!
//! Of every pair the node with the smaller name, the elder, decides which control link counts, and numbers its
//! decisions; the younger follows the highest number. One side deciding means that the two cannot disagree.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use state::{Publisher, Reader};
use tokio::sync::Notify;

use crate::hello::Use;
use crate::link::{Close, Link};

/// Every peer that is or was linked, or that is tried.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Links(pub BTreeMap<String, LinkState>);

/// How things are with one peer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LinkState {
    /// The control link, while there is one.
    pub up: Option<Up>,
    /// Data links beside it.
    pub data_links: usize,
    /// What went wrong last, and when. Kept when the link is up again.
    pub last_error: Option<(SystemTime, String)>,
}

/// A control link.
#[derive(Debug, Clone, PartialEq)]
pub struct Up {
    /// Higher than that of every control link before it, since the start of this program.
    pub session: u64,
    /// Where the peer is now. It may move.
    pub address: SocketAddr,
    /// Since when.
    pub since: SystemTime,
    /// Round trip when this state was published; it is published again when it changed by a half.
    pub round_trip: Duration,
    /// Wire version in use.
    pub version: u16,
    /// The peer's feature level.
    pub feature_level: u32,
    /// For how many ms the peer's clock was ahead of this host's when the link came up.
    pub clock_ahead_ms: i64,
    /// This node dialled.
    pub dialled: bool,
}

/// All links of this node.
#[derive(Debug)]
pub(crate) struct Table {
    own_run: u64,
    state: Mutex<State>,
    links: Publisher<Links>,
}

#[derive(Debug, Default)]
struct State {
    /// Control links so far, of all peers: a peer that is forgotten and comes back counts on.
    sessions: u64,
    peers: BTreeMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    control: Option<Control>,
    data: Vec<Arc<Link>>,
    last_error: Option<(SystemTime, String)>,
    changed: Arc<Notify>,
    dialling: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) session: u64,
    pub(crate) link: Arc<Link>,
    /// The elder's number of it.
    decision: u64,
}

impl Table {
    pub(crate) fn new(own_run: u64) -> Table {
        Table { own_run, state: Mutex::default(), links: state::channel(Links::default()).0 }
    }

    pub(crate) fn reader(&self) -> Reader<Links> {
        self.links.reader()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The control link to a peer, if it lives.
    pub(crate) fn control(&self, peer: &str) -> Option<Control> {
        self.lock().peers.get(peer)?.control.clone().filter(|control| control.link.is_live())
    }

    /// A data link to a peer, if one lives.
    pub(crate) fn data(&self, peer: &str) -> Option<Arc<Link>> {
        self.lock().peers.get(peer)?.data.iter().find(|link| link.is_live()).cloned()
    }

    /// Wakes when this peer's links change.
    pub(crate) fn changes(&self, peer: &str) -> Arc<Notify> {
        self.lock().peers.entry(peer.to_owned()).or_default().changed.clone()
    }

    /// Held by whoever dials a data link to this peer.
    pub(crate) fn dialling(&self, peer: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.lock().peers.entry(peer.to_owned()).or_default().dialling.clone()
    }

    /// The elder's decision on a control link that is ready: its session, which is the decision's number too, or
    /// none if there is a link that serves.
    pub(crate) fn decide(&self, link: &Arc<Link>) -> Option<u64> {
        let mut state = self.lock();
        let State { sessions, peers } = &mut *state;
        let entry = peers.entry(link.peer.name.clone()).or_default();
        if let Some(present) = &entry.control {
            let serves = present.link.is_live() && present.link.hello.run == link.hello.run;
            let wanted = !link.dialled && link.hello.needed;
            if serves && !wanted {
                return None;
            }
        }
        *sessions += 1;
        let session = *sessions;
        entry.take(link, session, session);
        self.publish(&state);
        Some(session)
    }

    /// The younger follows the elder's decision: its session, or none if a later decision came first.
    pub(crate) fn follow(&self, link: &Arc<Link>, decision: u64) -> Option<u64> {
        let mut state = self.lock();
        let State { sessions, peers } = &mut *state;
        let entry = peers.entry(link.peer.name.clone()).or_default();
        if let Some(present) = &entry.control {
            let same_run = present.link.hello.run == link.hello.run;
            if same_run && present.link.is_live() && present.decision > decision {
                return None;
            }
        }
        *sessions += 1;
        let session = *sessions;
        entry.take(link, session, decision);
        self.publish(&state);
        Some(session)
    }

    /// A data link is ready.
    pub(crate) fn add_data(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        state.peers.entry(link.peer.name.clone()).or_default().data.push(link.clone());
        self.publish(&state);
    }

    /// A link has ended.
    pub(crate) fn remove(&self, link: &Arc<Link>, error: Option<String>) {
        let mut state = self.lock();
        let Some(entry) = state.peers.get_mut(&link.peer.name) else { return };
        entry.data.retain(|other| !Arc::ptr_eq(other, link));
        let was_control = entry.control.as_ref().is_some_and(|control| Arc::ptr_eq(&control.link, link));
        if was_control {
            entry.control = None;
        }
        if let Some(error) = error.filter(|_| was_control || link.purpose() == Use::Data) {
            entry.last_error = Some((SystemTime::now(), error));
        }
        entry.changed.notify_waiters();
        self.publish(&state);
    }

    /// A try failed.
    pub(crate) fn failed(&self, peer: &str, error: String) {
        let mut state = self.lock();
        state.peers.entry(peer.to_owned()).or_default().last_error = Some((SystemTime::now(), error));
        self.publish(&state);
    }

    /// Forgets a peer that is no longer to be linked with, unless it is.
    pub(crate) fn forget(&self, peer: &str) {
        let mut state = self.lock();
        if state.peers.get(peer).is_some_and(|entry| entry.control.is_none() && entry.data.is_empty()) {
            state.peers.remove(peer);
            self.publish(&state);
        }
    }

    /// Every link.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        let state = self.lock();
        let links = |entry: &Entry| {
            let control = entry.control.iter().map(|control| control.link.clone());
            control.chain(entry.data.iter().cloned()).collect::<Vec<_>>()
        };
        state.peers.values().flat_map(links).collect()
    }

    /// Publishes again if a round trip changed by a half, or a peer moved.
    pub(crate) fn measure(&self) {
        let now = self.links.now();
        let state = self.lock();
        let moved = |(name, known): (&String, &LinkState)| {
            let control = state.peers.get(name).and_then(|entry| entry.control.as_ref());
            known.up.as_ref().zip(control).is_some_and(|(up, control)| {
                let (before, now) = (up.round_trip, control.link.round_trip());
                up.address != control.link.address() || now > before * 3 / 2 || now * 3 / 2 < before
            })
        };
        if now.0.iter().any(moved) {
            self.publish(&state);
        }
    }

    fn publish(&self, state: &State) {
        let states = state.peers.iter().map(|(name, entry)| (name.clone(), entry.state()));
        self.links.publish(Links(states.collect()));
    }

    pub(crate) fn own_run(&self) -> u64 {
        self.own_run
    }
}

impl Entry {
    /// Puts a link into its place, and ends the one that was there.
    fn take(&mut self, link: &Arc<Link>, session: u64, decision: u64) {
        let control = Control { session, link: link.clone(), decision };
        if let Some(before) = self.control.replace(control) {
            before.link.close(Close::Replaced, "a newer link took its place");
        }
        self.changed.notify_waiters();
    }

    fn state(&self) -> LinkState {
        let up = self.control.as_ref().map(|Control { session, link, .. }| Up {
            session: *session,
            address: link.address(),
            since: link.since,
            round_trip: link.round_trip(),
            version: link.version,
            feature_level: link.hello.speaks.feature_level,
            clock_ahead_ms: link.clock_ahead_ms,
            dialled: link.dialled,
        });
        LinkState { up, data_links: self.data.len(), last_error: self.last_error.clone() }
    }
}

impl Links {
    /// The session of a peer's control link, while there is one.
    pub fn session(&self, peer: &str) -> Option<u64> {
        Some(self.0.get(peer)?.up.as_ref()?.session)
    }
}
