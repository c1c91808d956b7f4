//! A network in this process's memory, for tests: links that can be cut, held up and delayed.
//!
//! Every two attached servers are linked unless they are cut. One thread delivers what is delayed.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Closed, Lane, LinkEvent, LinkReceiver, LinkSender, ServerId, Transport, links};

/// How long two servers take to find each other again.
const RECONNECT: Duration = Duration::from_millis(5);

/// One direction of one pair: from, to.
type Way = (ServerId, ServerId);

/// A network. Clones are the same one.
#[derive(Clone, Default)]
pub struct Network(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    servers: BTreeMap<ServerId, Attached>,
    /// Attachments so far: one that was replaced is not the one that took its place.
    attachments: u64,
    /// Live sessions, by the pair's smaller and larger id.
    sessions: BTreeMap<Way, u64>,
    last_session: u64,
    /// Pairs, smaller id first, that cannot connect.
    cut: BTreeSet<Way>,
    /// Directions in which nothing is delivered for now, with what waits there.
    held: BTreeMap<Way, Vec<Parcel>>,
    delay: Duration,
    /// When the last frame of a direction and lane is due: later ones are never earlier.
    due: BTreeMap<(Way, Lane), Instant>,
    pending: BinaryHeap<Pending>,
    order: u64,
    runs: bool,
}

struct Attached {
    links: LinkSender,
    attachment: u64,
}

struct Parcel {
    way: Way,
    session: u64,
    lane: Lane,
    frame: Bytes,
}

struct Pending {
    due: Instant,
    order: u64,
    what: What,
}

enum What {
    Deliver(Parcel),
    Connect(Way),
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Pending {}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap's greatest is what is due first.
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

fn pair(a: ServerId, b: ServerId) -> Way {
    (a.min(b), a.max(b))
}

impl Network {
    /// A network without servers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attaches a server: what an engine is opened with. One that was attached under this id before is gone, as
    /// after a crash.
    pub fn attach(&self, me: ServerId) -> (Arc<dyn Transport>, LinkReceiver) {
        let (links, receiver) = links(8 << 20);
        let mut state = self.lock();
        state.detach(me);
        state.attachments += 1;
        let attachment = state.attachments;
        state.servers.insert(me, Attached { links, attachment });
        let others: Vec<ServerId> = state.servers.keys().copied().filter(|other| *other != me).collect();
        for other in others {
            state.connect_soon(pair(me, other));
        }
        let start = !std::mem::replace(&mut state.runs, true);
        drop(state);
        if start {
            let network = Arc::downgrade(&self.0);
            // A test without this thread fails by itself: nothing is ever delivered.
            drop(
                std::thread::Builder::new().name("test-network".to_owned()).spawn(move || deliver(&network)),
            );
        }
        self.0.wake.notify_one();
        (Arc::new(Port { network: self.clone(), me, attachment }), receiver)
    }

    /// The server's process is gone.
    pub fn detach(&self, server: ServerId) {
        self.lock().detach(server);
    }

    /// Ends the link between two servers, and lets no other come about.
    pub fn cut(&self, a: ServerId, b: ServerId) {
        let mut state = self.lock();
        state.cut.insert(pair(a, b));
        state.end(pair(a, b));
    }

    /// Cuts one server off from all others.
    pub fn isolate(&self, server: ServerId) {
        let others: Vec<ServerId> = self.lock().servers.keys().copied().collect();
        for other in others.into_iter().filter(|other| *other != server) {
            self.cut(server, other);
        }
    }

    /// Lets two servers find each other again.
    pub fn heal(&self, a: ServerId, b: ServerId) {
        let mut state = self.lock();
        if state.cut.remove(&pair(a, b)) {
            state.connect_soon(pair(a, b));
        }
        drop(state);
        self.0.wake.notify_one();
    }

    /// Undoes every cut and hold.
    pub fn heal_all(&self) {
        let (cut, held): (Vec<Way>, Vec<Way>) = {
            let state = self.lock();
            (state.cut.iter().copied().collect(), state.held.keys().copied().collect())
        };
        cut.into_iter().for_each(|(a, b)| self.heal(a, b));
        held.into_iter().for_each(|(from, to)| self.release(from, to));
    }

    /// Delivers nothing in one direction, and loses nothing: what is sent waits, until [`Self::release`] or
    /// until the session ends.
    pub fn hold(&self, from: ServerId, to: ServerId) {
        self.lock().held.entry((from, to)).or_default();
    }

    /// Delivers what was held, and goes on.
    pub fn release(&self, from: ServerId, to: ServerId) {
        let mut state = self.lock();
        for parcel in state.held.remove(&(from, to)).unwrap_or_default() {
            state.deliver(parcel);
        }
    }

    /// From now on every frame takes this long.
    pub fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }
}

impl State {
    fn detach(&mut self, server: ServerId) {
        self.servers.remove(&server);
        let gone: Vec<Way> =
            self.sessions.keys().copied().filter(|(a, b)| *a == server || *b == server).collect();
        for way in gone {
            self.end(way);
        }
    }

    fn later(&mut self, due: Instant, what: What) {
        self.order += 1;
        self.pending.push(Pending { due, order: self.order, what });
    }

    fn connect_soon(&mut self, way: Way) {
        self.later(Instant::now() + RECONNECT, What::Connect(way));
    }

    fn connect(&mut self, way: Way) {
        let (a, b) = way;
        let both = self.servers.contains_key(&a) && self.servers.contains_key(&b);
        if !both || self.cut.contains(&way) || self.sessions.contains_key(&way) {
            return;
        }
        self.last_session += 1;
        let session = self.last_session;
        self.sessions.insert(way, session);
        self.tell(a, LinkEvent::Up { peer: b, session });
        self.tell(b, LinkEvent::Up { peer: a, session });
    }

    /// Ends a pair's session, if it has one.
    fn end(&mut self, way: Way) {
        let Some(session) = self.sessions.remove(&way) else { return };
        let (a, b) = way;
        for waiting in [(a, b), (b, a)] {
            if let Some(held) = self.held.get_mut(&waiting) {
                held.clear();
            }
            self.due.retain(|(of, _), _| *of != waiting);
        }
        self.tell(a, LinkEvent::Down { peer: b, session });
        self.tell(b, LinkEvent::Down { peer: a, session });
    }

    fn tell(&self, server: ServerId, event: LinkEvent) {
        if let Some(attached) = self.servers.get(&server) {
            // An engine that stopped listens no more; its process is about to be detached.
            let _ = attached.links.push(event);
        }
    }

    fn send(&mut self, parcel: Parcel) {
        let key = (parcel.way, parcel.lane);
        let now = Instant::now();
        let due = self.due.get(&key).copied().unwrap_or(now).max(now + self.delay);
        if self.delay.is_zero() && due <= now && !self.due.contains_key(&key) {
            return self.deliver(parcel);
        }
        self.due.insert(key, due);
        self.later(due, What::Deliver(parcel));
    }

    fn deliver(&mut self, parcel: Parcel) {
        let Parcel { way: (from, to), session, lane, .. } = parcel;
        if self.sessions.get(&pair(from, to)) != Some(&session) {
            return;
        }
        match self.held.get_mut(&(from, to)) {
            Some(held) => held.push(parcel),
            None => self.tell(to, LinkEvent::Frame { peer: from, session, lane, frame: parcel.frame }),
        }
    }

    /// Does what is due; answers when the next is.
    fn work(&mut self) -> Option<Instant> {
        let now = Instant::now();
        while self.pending.peek().is_some_and(|pending| pending.due <= now) {
            match self.pending.pop().map(|pending| pending.what) {
                Some(What::Connect(way)) => self.connect(way),
                Some(What::Deliver(parcel)) => self.deliver(parcel),
                None => {}
            }
        }
        self.pending.peek().map(|pending| pending.due)
    }
}

fn deliver(network: &Weak<Shared>) {
    while let Some(shared) = network.upgrade() {
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = match state.work() {
            Some(due) => due.saturating_duration_since(Instant::now()),
            None => Duration::from_millis(50),
        };
        // Not for longer: the last user may be gone meanwhile.
        drop(shared.wake.wait_timeout(state, wait.min(Duration::from_millis(50))));
    }
}

struct Port {
    network: Network,
    me: ServerId,
    attachment: u64,
}

impl Port {
    /// The network, unless this server was attached anew meanwhile or has no such session.
    fn with_session(&self, peer: ServerId, session: u64) -> Option<MutexGuard<'_, State>> {
        let state = self.network.lock();
        let mine = state.servers.get(&self.me).is_some_and(|known| known.attachment == self.attachment);
        let live = state.sessions.get(&pair(self.me, peer)) == Some(&session);
        (mine && live).then_some(state)
    }
}

impl Transport for Port {
    fn send(&self, peer: ServerId, session: u64, lane: Lane, frame: Bytes) -> Result<(), Closed> {
        let mut state = self.with_session(peer, session).ok_or(Closed)?;
        state.send(Parcel { way: (self.me, peer), session, lane, frame });
        let delayed = !state.delay.is_zero();
        drop(state);
        if delayed {
            self.network.0.wake.notify_one();
        }
        Ok(())
    }

    fn reset(&self, peer: ServerId, session: u64) {
        if let Some(mut state) = self.with_session(peer, session) {
            state.end(pair(self.me, peer));
            state.connect_soon(pair(self.me, peer));
            drop(state);
            self.network.0.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(receiver: &LinkReceiver) -> LinkEvent {
        for _ in 0..2000 {
            if let Some(event) = receiver.try_recv() {
                return event;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("nothing happened for two seconds");
    }

    fn up(receiver: &LinkReceiver) -> u64 {
        match next(receiver) {
            LinkEvent::Up { session, .. } => session,
            other => panic!("{other:?} in place of a link"),
        }
    }

    fn frame(receiver: &LinkReceiver) -> Bytes {
        match next(receiver) {
            LinkEvent::Frame { frame, .. } => frame,
            other => panic!("{other:?} in place of a frame"),
        }
    }

    #[test]
    fn order_holds_whatever_the_delay_and_a_cut_link_says_so() {
        const A: ServerId = ServerId(1);
        const B: ServerId = ServerId(2);
        let network = Network::new();
        let (a, a_links) = network.attach(A);
        let (_b, b_links) = network.attach(B);
        let session = up(&a_links);
        assert_eq!(up(&b_links), session);
        network.delay(Duration::from_millis(20));
        a.send(B, session, Lane::Order, Bytes::from_static(b"1")).expect("it is up");
        network.delay(Duration::ZERO);
        a.send(B, session, Lane::Order, Bytes::from_static(b"2")).expect("it is up");
        assert_eq!([frame(&b_links), frame(&b_links)], [&b"1"[..], b"2"]);
        network.hold(A, B);
        a.send(B, session, Lane::Bulk, Bytes::from_static(b"3")).expect("it is up");
        assert_eq!(b_links.try_recv(), None);
        network.release(A, B);
        assert_eq!(frame(&b_links), &b"3"[..]);
        network.cut(A, B);
        assert_eq!(next(&b_links), LinkEvent::Down { peer: A, session });
        assert_eq!(a.send(B, session, Lane::Order, Bytes::new()), Err(Closed));
        assert!(matches!(next(&a_links), LinkEvent::Down { .. }));
        network.heal(A, B);
        assert!(up(&a_links) > session);
    }
}
