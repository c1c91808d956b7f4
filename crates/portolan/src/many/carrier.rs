//! The mesh as what the log's engines send through: two streams to every peer, one per lane, and a session for
//! as long as both live.
//!
//! Of two nodes the one with the smaller number opens. The log's small frames travel beside the mesh's other
//! control work; state and entries for who lags go by a data link, where they delay nobody.
//!
//! ```text
//! header  u8 lane | u64 number of the pair    first on each stream, from the opener
//! frame   u32 length | bytes                  from then on, in both directions
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use log::transport::{
    Closed, Lane, LinkEvent, LinkReceiver, LinkSender, MAX_FRAME_BYTES, ServerId, Transport, links,
};
use mesh::{Incoming, Kind, Mesh, Receive, Send, Stream, frame};
use state::{Drain, Reader};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

const KIND: Kind = Kind::of("log");
/// Bytes that may wait for the engine before peers are read no further.
const INBOX: usize = 32 << 20;
/// Bytes that may wait for a peer that takes nothing; then its session ends and begins anew.
const OUTBOX: usize = 64 << 20;
/// Frames up to this long are put together before they are written.
const TOGETHER: usize = 64 << 10;
/// Between two tries to open a pair of streams.
const RETRY: Duration = Duration::from_millis(100);
/// How long the second stream of a pair may take after the first, and a header to arrive.
const PAIRING: Duration = Duration::from_secs(10);

/// With whom the engines speak, by node name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Correspondents {
    /// This node's own number.
    pub(crate) own: u64,
    /// Everybody that this node has a session with.
    pub(crate) peers: BTreeMap<String, u64>,
}

/// Carries frames. Clones share it.
#[derive(Clone)]
pub(crate) struct Carrier(Arc<Shared>);

struct Shared {
    links: LinkSender,
    sessions: Mutex<HashMap<ServerId, Outgoing>>,
    last_session: AtomicU64,
    /// One session per peer at a time: held by the one that is.
    turns: Mutex<HashMap<ServerId, Arc<Turn>>>,
}

/// Whose turn it is to be a peer's session.
struct Turn {
    held: tokio::sync::Mutex<()>,
    /// The number of whoever came last; all others make room.
    newest: watch::Sender<u64>,
}

impl Default for Turn {
    fn default() -> Turn {
        Turn { held: tokio::sync::Mutex::default(), newest: watch::channel(0).0 }
    }
}

/// The way to a peer.
struct Outgoing {
    session: u64,
    order: mpsc::UnboundedSender<Bytes>,
    bulk: mpsc::UnboundedSender<Bytes>,
    queued: Arc<AtomicUsize>,
    end: Arc<Notify>,
}

impl Carrier {
    /// A carrier that carries nothing until [`Carrier::run`], with what its engine listens to.
    pub(crate) fn new() -> (Carrier, LinkReceiver) {
        let (links, receiver) = links(INBOX);
        let shared = Shared {
            links,
            sessions: Mutex::default(),
            last_session: AtomicU64::new(0),
            turns: Mutex::default(),
        };
        (Carrier(Arc::new(shared)), receiver)
    }

    /// Opens sessions with everybody, and takes those that others open, until the drain starts.
    pub(crate) async fn run(self, mesh: Mesh, mut with: Reader<Correspondents>, drain: Drain) {
        let mut incoming = mesh.accept(KIND);
        let pairs = Pairs::default();
        let mut callers: HashMap<String, (u64, tokio::task::AbortHandle)> = HashMap::new();
        let mut tasks = JoinSet::new();
        let mut current = with.now();
        loop {
            self.call_all(&mesh, &current, &mut callers, &mut tasks);
            tokio::select! {
                next = with.next() => match next {
                    Some(next) => current = next,
                    None => return,
                },
                Some(stream) = incoming.recv() => {
                    if let Some(peer) = current.peers.get(&stream.peer).copied() {
                        let pairs = pairs.clone();
                        let carrier = self.clone();
                        tasks.spawn(async move {
                            if let Some((order, bulk)) = pairs.add(stream).await {
                                carrier.session(ServerId(peer), order, bulk).await;
                            }
                        });
                    }
                }
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                () = drain.started() => return,
            }
        }
    }

    /// Calls those who are ours to call, and no longer those who left.
    fn call_all(
        &self,
        mesh: &Mesh,
        with: &Correspondents,
        callers: &mut HashMap<String, (u64, tokio::task::AbortHandle)>,
        tasks: &mut JoinSet<()>,
    ) {
        callers.retain(|name, (number, task)| {
            let stays = with.peers.get(name) == Some(number);
            if !stays {
                task.abort();
            }
            stays
        });
        for (name, number) in with.peers.iter().filter(|(_, number)| with.own < **number) {
            callers.entry(name.clone()).or_insert_with(|| {
                let (carrier, mesh, name, number) = (self.clone(), mesh.clone(), name.clone(), *number);
                (number, tasks.spawn(async move { carrier.call(&mesh, &name, ServerId(number)).await }))
            });
        }
    }

    /// Keeps a session with one peer.
    async fn call(&self, mesh: &Mesh, name: &str, peer: ServerId) {
        loop {
            match open_pair(mesh, name).await {
                Ok((order, bulk)) => self.session(peer, order, bulk).await,
                Err(error) => tracing::debug!(peer = name, %error, "no streams for the log yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Is a session from its `Up` to its `Down`.
    async fn session(&self, peer: ServerId, order: Stream, bulk: Stream) {
        let turn = self.turns().entry(peer).or_default().clone();
        let session = self.0.last_session.fetch_add(1, Ordering::Relaxed) + 1;
        turn.newest.send_if_modified(|newest| std::mem::replace(newest, session.max(*newest)) < session);
        let mut newest = turn.newest.subscribe();
        let _held = turn.held.lock().await;
        if *newest.borrow_and_update() > session {
            return;
        }
        let ((order_out, order_queue), (bulk_out, bulk_queue)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let (queued, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let way =
            Outgoing { session, order: order_out, bulk: bulk_out, queued: queued.clone(), end: end.clone() };
        self.sessions().insert(peer, way);
        if self.0.links.push(LinkEvent::Up { peer, session }).is_err() {
            self.sessions().remove(&peer);
            return;
        }
        let ((order_from, order_to), (bulk_from, bulk_to)) = (order.split(), bulk.split());
        // One task: once it is past this, nothing of the session is handed over any more.
        let why = tokio::select! {
            why = self.receive(peer, session, Lane::Order, order_from) => why,
            why = self.receive(peer, session, Lane::Bulk, bulk_from) => why,
            why = send(order_to, order_queue, &queued) => why,
            why = send(bulk_to, bulk_queue, &queued) => why,
            () = end.notified() => Ok("it was ended here"),
            _ = newest.changed() => Ok("another session took its place"),
        };
        self.sessions().remove(&peer);
        let why = why.map_or_else(|error| error.to_string(), str::to_owned);
        tracing::debug!(%peer, session, why, "a session of the log has ended");
        // The engine may be gone, and needs to hear nothing then.
        let _ = self.0.links.push(LinkEvent::Down { peer, session });
    }

    async fn receive(
        &self,
        peer: ServerId,
        session: u64,
        lane: Lane,
        mut from: Receive,
    ) -> io::Result<&'static str> {
        while let Some(frame) = frame::read(&mut from, MAX_FRAME_BYTES).await? {
            let event = LinkEvent::Frame { peer, session, lane, frame };
            if self.0.links.send(event).await.is_err() {
                return Ok("the log has stopped");
            }
        }
        Ok("the peer ended it")
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<ServerId, Outgoing>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<ServerId, Arc<Turn>>> {
        self.0.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Carrier {
    fn send(&self, peer: ServerId, session: u64, lane: Lane, frame: Bytes) -> Result<(), Closed> {
        let sessions = self.sessions();
        let way = sessions.get(&peer).filter(|way| way.session == session).ok_or(Closed)?;
        let waiting = way.queued.fetch_add(frame.len(), Ordering::Relaxed);
        if waiting > OUTBOX {
            way.end.notify_one();
            return Err(Closed);
        }
        let queue = match lane {
            Lane::Order => &way.order,
            Lane::Bulk => &way.bulk,
        };
        queue.send(frame).map_err(|_| Closed)
    }

    fn reset(&self, peer: ServerId, session: u64) {
        if let Some(way) = self.sessions().get(&peer).filter(|way| way.session == session) {
            way.end.notify_one();
        }
    }
}

/// Writes what is queued, small frames together.
async fn send(
    mut to: Send,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    queued: &AtomicUsize,
) -> io::Result<&'static str> {
    let mut together = BytesMut::new();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(frame) = next.take() {
            queued.fetch_sub(frame.len(), Ordering::Relaxed);
            let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
            together.put_u32(length);
            if frame.len() > TOGETHER {
                to.write_all(&together).await?;
                together.clear();
                to.write_all(&frame).await?;
            } else {
                together.put_slice(&frame);
            }
            if together.len() < TOGETHER {
                next = queue.try_recv().ok();
            }
        }
        to.write_all(&together).await?;
        together.clear();
        to.flush().await?;
    }
    Ok("nobody sends any more")
}

const ORDER: u8 = 0;
const BULK: u8 = 1;

async fn open_pair(mesh: &Mesh, peer: &str) -> io::Result<(Stream, Stream)> {
    let number = fastrand::u64(..);
    let order = open_one(mesh, peer, mesh::Lane::Control, ORDER, number).await?;
    let bulk = open_one(mesh, peer, mesh::Lane::Data, BULK, number).await?;
    Ok((order, bulk))
}

async fn open_one(mesh: &Mesh, peer: &str, by: mesh::Lane, lane: u8, number: u64) -> io::Result<Stream> {
    let mut stream = mesh.open(peer, KIND, by).await.map_err(io::Error::other)?;
    stream.write_u8(lane).await?;
    stream.write_u64(number).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Streams that wait for the other one of their pair, by peer and number.
#[derive(Clone, Default)]
struct Pairs(Arc<Mutex<HashMap<(String, u64), Half>>>);

struct Half {
    lane: u8,
    stream: Stream,
}

impl Pairs {
    /// Reads a stream's header; both, once the other one is there.
    async fn add(&self, incoming: Incoming) -> Option<(Stream, Stream)> {
        let Incoming { peer, mut stream, .. } = incoming;
        let header = async {
            let header = (stream.read_u8().await?, stream.read_u64().await?);
            // Says that the stream is taken, before there is anything to answer.
            stream.flush().await?;
            io::Result::Ok(header)
        };
        let (lane, number) = match tokio::time::timeout(PAIRING, header).await {
            Ok(Ok(header)) => header,
            _ => return None,
        };
        let key = (peer, number);
        if let Some(pair) = self.paired(&key, lane, stream) {
            return Some(pair);
        }
        tokio::time::sleep(PAIRING).await;
        // Nobody came for it, or it is gone already.
        self.lock().remove(&key);
        None
    }

    fn paired(&self, key: &(String, u64), lane: u8, stream: Stream) -> Option<(Stream, Stream)> {
        let mut waiting = self.lock();
        match waiting.remove(key) {
            None => {
                waiting.insert(key.clone(), Half { lane, stream });
                None
            }
            Some(other) if other.lane == ORDER && lane == BULK => Some((other.stream, stream)),
            Some(other) if other.lane == BULK && lane == ORDER => Some((stream, other.stream)),
            // Not a pair: both are dropped, and the opener tries again.
            Some(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, u64), Half>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
