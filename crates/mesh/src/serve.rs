//! Streams that peers open: the kind is read, and its acceptor gets the stream or the peer a reason.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::hello::{Use, put_reason};
use crate::link::Link;
use crate::open::Lane;
use crate::preface::{self, Kind};
use crate::stream::Stream;

/// Streams that wait for one acceptor; more are refused.
const WAITING: usize = 1024;
/// How long a stream may take to say its kind.
const PREFACE_TIME: Duration = Duration::from_secs(10);

/// A stream that a peer opened.
#[derive(Debug)]
pub struct Incoming {
    /// Who opened it, as its certificate says.
    pub peer: String,
    /// The control link that it came by; none on another lane.
    pub session: Option<u64>,
    /// What it came by.
    pub lane: Lane,
    /// The stream, behind its preface.
    pub stream: Stream,
}

/// Who takes which kind.
#[derive(Debug, Default)]
pub(crate) struct Acceptors(RwLock<HashMap<Kind, mpsc::Sender<Incoming>>>);

impl Acceptors {
    /// Registers for a kind; whoever was registered before gets no more.
    pub(crate) fn register(&self, kind: Kind) -> mpsc::Receiver<Incoming> {
        let (sender, receiver) = mpsc::channel(WAITING);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(kind, sender);
        receiver
    }

    /// A place in the acceptor's queue, or why there is none.
    fn place(&self, kind: Kind) -> Result<mpsc::OwnedPermit<Incoming>, String> {
        use mpsc::error::TrySendError::{Closed, Full};
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned();
        let sender = known.ok_or_else(|| format!("nobody here takes streams of kind {kind}"))?;
        sender.try_reserve_owned().map_err(|error| match error {
            Full(_) => format!("{WAITING} streams of kind {kind} wait here already"),
            Closed(_) => format!("nobody here takes streams of kind {kind} any more"),
        })
    }
}

/// Serves a link until it ends; says why it ended.
pub(crate) async fn link(
    link: &Arc<Link>,
    session: Option<u64>,
    acceptors: &Arc<Acceptors>,
) -> quinn::ConnectionError {
    loop {
        let (send, receive) = match link.connection.accept_bi().await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        let (link, acceptors) = (link.clone(), acceptors.clone());
        let mut taking = Box::pin(async move { take(&link, session, &acceptors, send, receive).await });
        // The kind is mostly here with the stream, and then no task is needed.
        if std::future::poll_fn(|cx| Poll::Ready(taking.as_mut().poll(cx))).await.is_pending() {
            // As many tasks as the peer may have streams: its limit bounds them.
            tokio::spawn(taking);
        }
    }
}

async fn take(
    link: &Link,
    session: Option<u64>,
    acceptors: &Acceptors,
    mut send: quinn::SendStream,
    mut receive: quinn::RecvStream,
) {
    match place(acceptors, &mut receive).await {
        Ok(place) => {
            let lane = if link.purpose() == Use::Control { Lane::Control } else { Lane::Data };
            let stream = Stream::accepted(send, receive);
            place.send(Incoming { peer: link.peer.name.clone(), session, lane, stream });
        }
        Err(reason) => {
            let _ = receive.stop(0u32.into());
            refuse(&mut send, &reason, &link.peer.name).await;
        }
    }
}

/// Reads the kind and finds its acceptor.
pub(crate) async fn place<R: AsyncRead + Unpin>(
    acceptors: &Acceptors,
    from: &mut R,
) -> Result<mpsc::OwnedPermit<Incoming>, String> {
    let kind = match tokio::time::timeout(PREFACE_TIME, preface::read(from)).await {
        Ok(Ok(kind)) => kind,
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => return Err(error.to_string()),
        Ok(Err(_)) => return Err("the stream ended before it said its kind".to_owned()),
        Err(_) => return Err(format!("the stream did not say its kind in {PREFACE_TIME:?}")),
    };
    acceptors.place(kind)
}

/// Tells the peer why its stream is not taken.
pub(crate) async fn refuse<W: AsyncWrite + Unpin>(to: &mut W, reason: &str, peer: &str) {
    tracing::debug!(peer, reason, "stream refused");
    let mut bytes = vec![1];
    put_reason(&mut bytes, reason);
    let _ = to.write_all(&bytes).await;
    let _ = to.shutdown().await;
}
