//! Other protocols on the mesh's port: connections that chose an ALPN of theirs.
//!
//! A dialect is spoken elsewhere; here its connections are counted like all others, their certificates are judged by
//! the same trust, and they are handed over.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::{Connection, ConnectionError};
use tokio::sync::mpsc;

use crate::gate::Seat;
use crate::judge::{Disbelief, Peer};
use crate::link::{self, Close, Proof};
use crate::mesh::Shared;
use crate::stream::{Receive, Send};

/// Guests that wait to be taken.
const WAITING: usize = 64;
/// Streams of each kind that a guest may have open.
const STREAMS: u32 = 16;

/// A protocol beside the mesh's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// What its connections ask for in TLS.
    pub alpn: Vec<u8>,
    /// Also take those who show no certificate. A certificate that is not believed is refused all the same.
    pub without_certificate: bool,
}

/// A guest's connection.
#[derive(Debug)]
pub struct Visit {
    /// The protocol.
    pub alpn: Vec<u8>,
    /// Who it is, if it showed a certificate.
    pub peer: Option<Peer>,
    /// From where.
    pub from: SocketAddr,
    connection: Connection,
    _seat: Seat,
}

/// A stream that a guest opened.
#[derive(Debug)]
pub struct VisitStream {
    /// From the guest.
    pub receive: Receive,
    /// To it, unless its stream has one direction only.
    pub send: Option<Send>,
}

/// Who takes guests.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<Option<mpsc::Sender<Visit>>>);

impl Guests {
    pub(crate) fn register(&self) -> mpsc::Receiver<Visit> {
        let (sender, receiver) = mpsc::channel(WAITING);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }
}

/// Hands a connection over, or says why not.
pub(crate) fn take(shared: &Arc<Shared>, guest: &Guest, connection: Connection, seat: Seat) {
    let from = connection.remote_address();
    let chain = link::chain_of(&connection);
    let peer = match Proof::of(chain, &shared.trust.now(), None) {
        Ok(proof) => Some(shared.called(proof).peer),
        Err(Disbelief::NoCertificate) if guest.without_certificate => None,
        Err(disbelief) => {
            tracing::info!(%from, %disbelief, "guest refused");
            return link::close(&connection, Close::Disbelieved, &disbelief.to_string());
        }
    };
    connection.set_max_concurrent_bi_streams(STREAMS.into());
    connection.set_max_concurrent_uni_streams(STREAMS.into());
    let visit = Visit { alpn: guest.alpn.clone(), peer, from, connection, _seat: seat };
    let taker = shared.guests.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match taker.as_ref().map(mpsc::Sender::try_reserve) {
        Some(Ok(place)) => place.send(visit),
        Some(Err(mpsc::error::TrySendError::Full(()))) => visit.close("too many guests wait here"),
        Some(Err(mpsc::error::TrySendError::Closed(()))) | None => visit.close("nobody here takes guests"),
    }
}

impl Visit {
    /// The next stream of the guest; none when the connection has ended.
    ///
    /// # Errors
    /// Why it ended, unless it was closed.
    pub async fn accept(&self) -> io::Result<Option<VisitStream>> {
        let accepted = tokio::select! {
            stream = self.connection.accept_uni() => stream.map(|receive| (receive, None)),
            stream = self.connection.accept_bi() => stream.map(|(send, receive)| (receive, Some(send))),
        };
        match accepted {
            Ok((receive, send)) => {
                Ok(Some(VisitStream { receive: Receive::bare(receive), send: send.map(Send::bare) }))
            }
            Err(ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed) => Ok(None),
            Err(error) => Err(io::Error::other(link::ending(&error).0)),
        }
    }

    /// Opens a stream to the guest, in one direction.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn open(&self) -> io::Result<Send> {
        let opened = self.connection.open_uni().await;
        opened.map(Send::bare).map_err(|error| io::Error::other(link::ending(&error).0))
    }

    /// Ends the connection and says why.
    pub fn close(&self, reason: &str) {
        link::close(&self.connection, Close::Limit, reason);
    }
}
