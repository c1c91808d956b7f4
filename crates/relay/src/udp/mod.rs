//! UDP with sessions: a client address gets an endpoint and keeps it until neither side has said anything
//! for a while.
//!
//! Each session has one connected socket toward its endpoint, so that ICMP errors reach it and nobody else
//! can answer in its name. Buffers take 64 KiB datagrams and are shared by all sessions of a thread.

mod session;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use route::{Caller, Principal};
use state::Drain;
use sys::mmsg::{BATCH, Inbox, Outbox};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::limit::Full;
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
        Batches { inbox: Inbox::new(BATCH, DATAGRAM), outbox: Outbox::new(BATCH, DATAGRAM) }
    }
}

/// Who speaks from an address.
pub type Identify = Arc<dyn Fn(IpAddr) -> Principal + Send + Sync>;

/// Settings of one UDP listener.
#[derive(Clone)]
pub struct Config {
    /// Service that it leads to.
    pub service: Arc<str>,
    /// A session ends after so long without a datagram in either direction.
    pub idle: Duration,
    /// Most sessions of one client address.
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

/// The sessions of one listener on one thread.
pub(crate) struct Table {
    local: Rc<Local>,
    socket: UdpSocket,
    config: Config,
    sessions: RefCell<HashMap<SocketAddr, Open>>,
    by_client: RefCell<HashMap<IpAddr, usize>>,
}

impl Table {
    fn new(local: Rc<Local>, socket: UdpSocket, config: Config) -> Rc<Table> {
        let (sessions, by_client) = Default::default();
        Rc::new(Table { local, socket, config, sessions, by_client })
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
        let mut open: Option<(SocketAddr, Rc<Session>)> = None;
        for datagram in inbox.iter() {
            let Some(from) = datagram.from else { continue };
            if open.as_ref().is_none_or(|(holder, _)| *holder != from) {
                if let Some((_, session)) = open.take() {
                    session.send(outbox, &self.local);
                }
                open = self.session(from).map(|session| (from, session));
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
    fn session(self: &Rc<Self>, client: SocketAddr) -> Option<Rc<Session>> {
        if let Some(Open(session, _)) = self.sessions.borrow().get(&client) {
            return Some(session.clone());
        }
        let principal = (self.config.identify)(client.ip());
        let caller = Caller::by(&principal, UDP).from_address(client.ip());
        let (backend, permit) = self
            .local
            .with_routes(|routes| routes.permit(caller, &self.config.service))
            .inspect_err(|denial| tracing::debug!(%client, %denial, "no UDP session"))
            .ok()?;
        let seat = self.seat(client.ip())?;
        let session = Session::begin(&self.local, &backend, permit, seat)
            .inspect_err(|cause| tracing::debug!(%client, %cause, "no UDP session"))
            .ok()?;
        self.local.metrics().udp_sessions.inc();
        let task = tokio::task::spawn_local(session::answer(self.clone(), client, session.clone()));
        self.sessions.borrow_mut().insert(client, Open(session.clone(), task));
        Some(session)
    }

    fn seat(self: &Rc<Self>, client: IpAddr) -> Option<Seat> {
        let total = self.local.udp_sessions();
        if total.load(Relaxed) >= self.config.total {
            self.local.metrics().refused(Full::Total);
            return None;
        }
        let mut by_client = self.by_client.borrow_mut();
        let held = by_client.entry(client).or_default();
        if *held >= self.config.per_client {
            self.local.metrics().refused(Full::Address);
            return None;
        }
        *held += 1;
        total.fetch_add(1, Relaxed);
        Some(Seat::new(self.clone(), client))
    }

    fn leave(&self, client: IpAddr) {
        self.local.udp_sessions().fetch_sub(1, Relaxed);
        let mut by_client = self.by_client.borrow_mut();
        if let Some(held) = by_client.get_mut(&client) {
            *held -= 1;
            if *held == 0 {
                by_client.remove(&client);
            }
        }
    }
}
