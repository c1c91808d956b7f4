//! Queries that somebody else must help with before they have an answer: a virtual address to open, another
//! server to ask. On the control runtime, so many at a time and no more.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::sync::{Semaphore, mpsc};

use crate::Shared;
use crate::guard::Now;
use crate::lookup::{Spot, WhenClosed};
use crate::metrics::Dropped;
use crate::slow::{self, Query, Transport, Verdict};

/// Most queries by UDP that wait for help.
pub(crate) const MOST_WAITING: usize = 1024;
/// Most that are helped at the same time.
const MOST_HELPED: usize = 256;
/// Longest wait for a virtual address; its listener is on this host.
const OPEN_WITHIN: Duration = Duration::from_millis(1500);
/// Longest wait for routes to know what the zone knows.
const CATCH_UP_WITHIN: Duration = Duration::from_millis(500);
/// Do not wait for room in the socket's buffer: `MSG_DONTWAIT` of Linux.
const MSG_DONTWAIT: i32 = 0x40;

/// Whose turn it is to have an answer by TCP made. That takes long where there is much to say, on the control runtime,
/// which has leases and checks to see to; and nothing limits how often a connection asks. So one answer at a time for
/// all clients of other hosts, and one for the programs on this host, which must not wait behind those.
#[derive(Debug)]
pub(crate) struct Turns {
    local: Semaphore,
    remote: Semaphore,
}

impl Turns {
    pub(crate) fn new() -> Turns {
        Turns { local: Semaphore::new(1), remote: Semaphore::new(1) }
    }

    /// The place where a client waits.
    pub(crate) fn of(&self, is_local: bool) -> &Semaphore {
        if is_local { &self.local } else { &self.remote }
    }
}

/// A query by UDP that waits.
pub(crate) struct Later {
    pub(crate) packet: Box<[u8]>,
    pub(crate) from: SocketAddr,
    pub(crate) socket: Arc<UdpSocket>,
    pub(crate) why: Why,
}

/// For what.
#[derive(Debug)]
pub(crate) enum Why {
    /// For the virtual address of the service of this name.
    Open(Arc<str>),
    /// For another server.
    Forward,
}

/// Takes queries from the data threads until those are gone.
pub(crate) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Later>) {
    let permits = Arc::new(Semaphore::new(MOST_HELPED));
    while let Some(later) = queue.recv().await {
        // Other servers have a limit of their own, and must not hold up what happens on this host.
        let permit = match later.why {
            Why::Forward => None,
            Why::Open(_) => match permits.clone().acquire_owned().await {
                Ok(permit) => Some(permit),
                Err(_) => return,
            },
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let Later { packet, from, socket, why } = later;
            let (transport, when_closed, now) = (Transport::Udp, WhenClosed::Open, Now::read());
            let query = Query { packet: &packet, transport, from: from.ip(), when_closed, now };
            let Some(reply) = help(&shared, query, why).await else { return };
            let sent = SockRef::from(&*socket).send_to_with_flags(&reply, &from.into(), MSG_DONTWAIT);
            if sent.is_err() {
                shared.metrics.drop_one(Dropped::NotSent);
            }
        });
    }
}

/// Answers any query by TCP in its turn, with all the help that it takes. `None` when there is nothing to send.
pub(crate) async fn answer(shared: &Shared, packet: &[u8], from: IpAddr) -> Option<Vec<u8>> {
    let (transport, when_closed, now) = (Transport::Tcp, WhenClosed::Open, Now::read());
    let query = Query { packet, transport, from, when_closed, now };
    let is_local = shared.zone.load().is_local(from);
    let turn = shared.turns.of(is_local).acquire().await;
    let verdict = slow::answer(&shared.responder, &shared.zone.load(), query, fastrand::u32(..));
    drop(turn);
    match verdict {
        Verdict::Open { service } => help(shared, query, Why::Open(service)).await,
        Verdict::Forward => help(shared, query, Why::Forward).await,
        done => settle(shared, done),
    }
}

async fn help(shared: &Shared, query: Query<'_>, why: Why) -> Option<Vec<u8>> {
    let service = match why {
        Why::Open(service) => service,
        Why::Forward => return forward(shared, query).await,
    };
    // One that is long in coming is asked all the same.
    let _ = tokio::time::timeout(CATCH_UP_WITHIN, caught_up(shared)).await;
    let opened = tokio::time::timeout(OPEN_WITHIN, shared.open_virtual.open(&service)).await;
    let spot = opened.ok().flatten().map(|socket| Spot::of(&socket));
    shared.metrics.opened(spot.is_some());
    let when_closed = spot.map_or(WhenClosed::Endpoints, WhenClosed::Use);
    let query = Query { when_closed, ..query };
    let verdict = slow::answer(&shared.responder, &shared.zone.load(), query, fastrand::u32(..));
    settle(shared, verdict)
}

/// Whoever opens goes by routes, which may be a moment behind the zone that has just learned of the service.
async fn caught_up(shared: &Shared) {
    let (index, mut routes) = (shared.zone.load().index(), shared.routes.clone());
    while routes.now().index() < index && routes.next().await.is_some() {}
}

async fn forward(shared: &Shared, query: Query<'_>) -> Option<Vec<u8>> {
    let our_size = shared.responder.max_udp;
    let reply = match (&shared.forwarder, slow::envelope(&shared.responder, query)) {
        (Some(forwarder), Some(envelope)) => forwarder.ask(&query, &envelope, our_size).await,
        _ => None,
    };
    shared.metrics.forwarded(reply.as_ref().map(|reply| reply.from_cache));
    match reply {
        Some(reply) => {
            shared.metrics.answered(reply.code, reply.truncated);
            Some(reply.bytes)
        }
        None => settle(shared, slow::failure(&shared.responder, query)),
    }
}

fn settle(shared: &Shared, verdict: Verdict) -> Option<Vec<u8>> {
    match verdict {
        Verdict::Reply { bytes, code, truncated } => {
            shared.metrics.answered(code, truncated);
            Some(bytes)
        }
        Verdict::Drop | Verdict::Open { .. } | Verdict::Forward => None,
    }
}
