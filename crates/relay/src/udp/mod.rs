//! UDP with sessions: a client address gets an endpoint and keeps it until neither side has said anything
//! for a while.
//!
//! Each session has one connected socket toward its endpoint, so that ICMP errors reach it and nobody else
//! can answer in its name. Buffers take 64 KiB datagrams and are shared by all sessions of a thread.
//!
//! A socket may be for one service, or for all that have an address ([`Toward`]): then answers leave from a socket that is
//! bound to the address which the client meant, as long as there are sessions there.

mod session;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use route::{Caller, Principal, Routes};
use state::Drain;
use sys::mmsg::{BATCH, Inbox, Outbox};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::limit::{Full, holder};
use crate::local::Local;
use session::{Seat, Session};

/// How rules name what comes here.
const UDP: &Cow<'static, str> = &Cow::Borrowed("udp");
/// Largest datagram.
const DATAGRAM: usize = 65_535;

/// Buffers of one thread: 32 datagrams in, 32 out.
pub(crate) struct Batches {
    inbox: Inbox,
    outbox: Outbox,
}

impl Default for Batches {
    fn default() -> Self {
        Batches { inbox: Inbox::that_asks(BATCH, DATAGRAM), outbox: Outbox::new(BATCH, DATAGRAM) }
    }
}

/// Who speaks from an address.
pub type Identify = Arc<dyn Fn(IpAddr) -> Principal + Send + Sync>;

/// The service that has an address and port and takes datagrams, if any has.
pub type Meant = Arc<dyn Fn(&Routes, SocketAddr) -> Option<Arc<str>> + Send + Sync>;

/// Whom datagrams are for.
#[derive(Clone)]
pub enum Toward {
    /// One service, wherever they were sent to.
    Service(Arc<str>),
    /// Whichever has the address that they were sent to; for a socket of [`sys::listen::transparent_udp`].
    Meant(Meant),
}

/// Settings of one UDP listener.
#[derive(Clone)]
pub struct Config {
    /// Where it leads.
    pub toward: Toward,
    /// A session ends after so long without a datagram in either direction.
    pub idle: Duration,
    /// Most sessions of one client address with one service.
    pub per_client: usize,
    /// Most sessions of all listeners and threads.
    pub total: usize,
    /// Who speaks from an address.
    pub identify: Identify,
}

/// Serves one socket until the drain starts or `stop` resolves. Sessions end with it: datagrams have no end
/// to wait for.
///
/// # Errors
/// When the socket cannot be used on this thread.
pub async fn serve(
    local: Rc<Local>,
    socket: std::net::UdpSocket,
    config: Config,
    drain: Drain,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let table = Table::new(local, UdpSocket::from_std(socket)?, config);
    tokio::select! {
        () = drain.started() => {}
        () = stop => {}
        () = table.clone().receive() => {}
    }
    let open = std::mem::take(&mut *table.sessions.borrow_mut());
    for Open(_, task) in open.into_values() {
        task.abort();
        // Waited for, because it holds the socket: the address is free when this function returns.
        let _ = task.await;
    }
    Ok(())
}

/// A session with the task that brings its answers.
struct Open(Rc<Session>, JoinHandle<()>);

/// Who speaks, and with which address; the listener's own where that is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    client: SocketAddr,
    at: Option<SocketAddr>,
}

/// Where answers leave; `None` by the listener itself.
type Mouth = Option<Rc<std::net::UdpSocket>>;

/// The sessions of one listener on one thread.
pub(crate) struct Table {
    local: Rc<Local>,
    socket: UdpSocket,
    config: Config,
    sessions: RefCell<HashMap<Ends, Open>>,
    by_client: RefCell<HashMap<(IpAddr, Option<SocketAddr>), usize>>,
    /// Sockets that answer from an address, while there are sessions with it.
    mouths: RefCell<HashMap<SocketAddr, Weak<std::net::UdpSocket>>>,
}

impl Table {
    fn new(local: Rc<Local>, socket: UdpSocket, config: Config) -> Rc<Table> {
        let (sessions, by_client, mouths) = Default::default();
        Rc::new(Table { local, socket, config, sessions, by_client, mouths })
    }

    async fn receive(self: Rc<Self>) {
        loop {
            // The batch is lent only inside the closure: nothing is awaited while it is.
            let turn = self.socket.async_io(Interest::READABLE, || self.receive_batch()).await;
            if let Err(cause) = turn {
                // On a listening socket: ICMP about a client that went away, or no memory for a moment.
                tracing::debug!(%cause, "cannot receive datagrams");
                tokio::task::yield_now().await;
            }
        }
    }

    fn receive_batch(self: &Rc<Self>) -> io::Result<()> {
        let mut lent = self.local.datagrams.borrow_mut();
        let Batches { inbox, outbox } = lent.get_or_insert_default();
        inbox.receive(&self.socket)?;
        let mut open: Option<(Ends, Rc<Session>)> = None;
        for datagram in inbox.iter() {
            let Some(client) = datagram.from else { continue };
            let ends = Ends { client, at: datagram.meant };
            if open.as_ref().is_none_or(|(holder, _)| *holder != ends) {
                if let Some((_, session)) = open.take() {
                    session.send(outbox, &self.local);
                }
                open = self.session(ends).map(|session| (ends, session));
            }
            match &open {
                Some(_) if outbox.push_bytes(datagram.bytes, None) => {}
                _ => drop(self.local.metrics().datagrams_dropped.inc()),
            }
        }
        if let Some((_, session)) = open {
            session.send(outbox, &self.local);
        }
        Ok(())
    }

    /// The session of a client, begun if there is none and the limits allow it.
    fn session(self: &Rc<Self>, ends: Ends) -> Option<Rc<Session>> {
        if let Some(Open(session, _)) = self.sessions.borrow().get(&ends) {
            return Some(session.clone());
        }
        let client = ends.client;
        let service = self.service(ends.at).or_else(|| {
            tracing::debug!(%client, meant = ?ends.at, "dropped a datagram: no service has this address and port");
            None
        })?;
        let principal = (self.config.identify)(client.ip());
        let caller = Caller::by(&principal, UDP).from_address(client.ip());
        let (backend, permit) = self
            .local
            .with_routes(|routes| routes.permit(caller, &service))
            .inspect_err(|denial| tracing::debug!(%client, %denial, "no UDP session"))
            .ok()?;
        let seat = self.seat(ends)?;
        let session = Session::begin(&self.local, &backend, permit, seat)
            .inspect_err(|cause| tracing::debug!(%client, %cause, "no UDP session"))
            .ok()?;
        self.local.metrics().udp_sessions.inc();
        let task = tokio::task::spawn_local(session::answer(self.clone(), ends, session.clone()));
        self.sessions.borrow_mut().insert(ends, Open(session.clone(), task));
        Some(session)
    }

    fn service(&self, at: Option<SocketAddr>) -> Option<Arc<str>> {
        match &self.config.toward {
            Toward::Service(service) => Some(service.clone()),
            Toward::Meant(meant) => self.local.with_routes(|routes| meant(routes, at?)),
        }
    }

    fn seat(self: &Rc<Self>, ends: Ends) -> Option<Seat> {
        let total = self.local.udp_sessions();
        if total.load(Relaxed) >= self.config.total {
            self.local.metrics().refused(Full::Total);
            return None;
        }
        let mouth = self
            .mouth(ends.at)
            .inspect_err(
                |cause| tracing::debug!(client = %ends.client, at = ?ends.at, %cause, "nobody could answer"),
            )
            .ok()?;
        let mut by_client = self.by_client.borrow_mut();
        let held = by_client.entry((holder(ends.client.ip()), ends.at)).or_default();
        if *held >= self.config.per_client {
            self.local.metrics().refused(Full::Address);
            return None;
        }
        *held += 1;
        total.fetch_add(1, Relaxed);
        Some(Seat::new(self.clone(), ends, mouth))
    }

    /// What answers from `at`: bound when the first session there begins.
    fn mouth(&self, at: Option<SocketAddr>) -> io::Result<Mouth> {
        let Some(at) = at else { return Ok(None) };
        let mut mouths = self.mouths.borrow_mut();
        if let Some(mouth) = mouths.get(&at).and_then(Weak::upgrade) {
            return Ok(Some(mouth));
        }
        let mouth = Rc::new(sys::listen::udp_from(at)?);
        mouths.insert(at, Rc::downgrade(&mouth));
        Ok(Some(mouth))
    }

    fn leave(&self, ends: Ends, is_last: bool) {
        self.local.udp_sessions().fetch_sub(1, Relaxed);
        let mut by_client = self.by_client.borrow_mut();
        let place = (holder(ends.client.ip()), ends.at);
        if let Some(held) = by_client.get_mut(&place) {
            *held -= 1;
            if *held == 0 {
                by_client.remove(&place);
            }
        }
        if let Some(at) = ends.at.filter(|_| is_last) {
            self.mouths.borrow_mut().remove(&at);
        }
    }
}
