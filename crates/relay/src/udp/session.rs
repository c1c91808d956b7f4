//! One client's conversation with one endpoint.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use route::{Backend, Permit, Target};
use sys::mmsg::Outbox;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::{Batches, Ends, Mouth, Table};
use crate::balance::{Failure, Flight};
use crate::local::{Busy, Local};

/// A session's place among those that its client and everybody may have, and what answers from there; free again when
/// dropped.
pub(super) struct Seat {
    table: Rc<Table>,
    ends: Ends,
    mouth: Mouth,
}

impl Seat {
    pub(super) fn new(table: Rc<Table>, ends: Ends, mouth: Mouth) -> Seat {
        Seat { table, ends, mouth }
    }

    /// Sends answers to the client.
    fn answer(&self, outbox: &mut Outbox) {
        let local = &self.table.local;
        match &self.mouth {
            Some(mouth) => push_out(&**mouth, outbox, local),
            None => push_out(&self.table.socket, outbox, local),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let is_last = self.mouth.as_ref().is_some_and(|mouth| Rc::strong_count(mouth) == 1);
        self.table.leave(self.ends, is_last);
    }
}

pub(super) struct Session {
    socket: UdpSocket,
    flight: Flight,
    /// Proof that this conversation was allowed; kept as long as it lasts.
    permit: Permit,
    seat: Seat,
    _busy: Busy,
    /// When a datagram last passed.
    active: Cell<Instant>,
    /// True once the endpoint said something: only the first answer tells of its latency.
    answered: Cell<bool>,
}

impl Session {
    /// Chooses an endpoint and connects a socket to it. Binding and connecting a UDP socket sends nothing.
    pub(super) fn begin(
        local: &Rc<Local>,
        backend: &Arc<Backend>,
        permit: Permit,
        seat: Seat,
    ) -> io::Result<Rc<Session>> {
        let (at, flight) =
            local.pick(backend, &[], None).ok_or_else(|| io::Error::other("the service has no endpoint"))?;
        let Target::Ip(to) = &backend.endpoints[at].target else {
            let why = "a UDP endpoint needs an IP address: resolving a name here would hold up the others";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        };
        let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
        let socket = sys::listen::udp(any, sys::listen::Sharing::Exclusive, 0)?;
        socket.connect(to)?;
        Ok(Rc::new(Session {
            socket: UdpSocket::from_std(socket)?,
            flight,
            permit,
            seat,
            _busy: local.busy(),
            active: Cell::new(Instant::now()),
            answered: Cell::new(false),
        }))
    }

    /// Sends what is queued. What the socket refuses is dropped, as any router does with datagrams.
    pub(super) fn send(&self, outbox: &mut Outbox, local: &Local) {
        self.active.set(Instant::now());
        push_out(&self.socket, outbox, local);
    }
}

fn push_out(socket: &impl AsFd, outbox: &mut Outbox, local: &Local) {
    while !outbox.is_empty() {
        match outbox.send(socket) {
            Ok(sent) => drop(local.metrics().datagrams.inc_by(sent as u64)),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                local.metrics().datagrams_dropped.inc_by(outbox.len() as u64);
                outbox.clear();
            }
            Err(_) => drop(local.metrics().datagrams_dropped.inc()),
        }
    }
}

/// Brings the endpoint's answers to the client, until the session is idle or fails, or is aborted because its
/// listener ends.
pub(super) async fn answer(table: Rc<Table>, ends: Ends, session: Rc<Session>) {
    let client = ends.client;
    let idle = table.config.idle;
    // What ICMP brings back ("port unreachable") makes a socket erroneous and not readable.
    let interest = Interest::READABLE | Interest::ERROR;
    let mut forbidden = pin!(table.local.forbidden(&session.permit));
    loop {
        let quiet = session.active.get() + idle;
        let batch = session.socket.async_io(interest, || receive_batch(&table, client, &session));
        let batch = tokio::select! {
            batch = tokio::time::timeout_at(quiet.into(), batch) => batch,
            () = &mut forbidden => {
                tracing::info!(%client, principal = %session.permit.principal(), "the rules no longer allow it");
                break;
            }
        };
        match batch {
            Ok(Ok(())) => session.active.set(Instant::now()),
            Ok(Err(cause)) => {
                tracing::debug!(%client, %cause, "a UDP session failed");
                session.flight.failed(table.local.now_ns(), Failure::Connect);
                break;
            }
            Err(_) if session.active.get() + idle > Instant::now() => {}
            Err(_) => break,
        }
    }
    table.sessions.borrow_mut().remove(&ends);
}

fn receive_batch(table: &Rc<Table>, client: SocketAddr, session: &Session) -> io::Result<()> {
    let mut lent = table.local.datagrams.borrow_mut();
    let Batches { inbox, outbox } = lent.get_or_insert_default();
    inbox.receive(&session.socket)?;
    if !session.answered.replace(true) {
        session.flight.answered(table.local.now_ns());
    }
    for datagram in inbox.iter() {
        outbox.push_bytes(datagram.bytes, Some(client));
    }
    session.seat.answer(outbox);
    Ok(())
}
