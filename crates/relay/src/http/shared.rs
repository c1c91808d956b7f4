//! The HTTP/2 connection to an endpoint, which all requests of a thread share.
//!
//! `h2` is spoken to directly: a request is a call, and its answer comes to whoever waits for it, where a client in
//! between would have a channel, a task and a wake-up more for each. Absent on purpose: pings. Servers of gRPC take them
//! for abuse while a stream says nothing; the kernel's probes tell of a peer that is gone, and a connection on which
//! nothing is answered in time is not used again.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Request, Response};
use http_body::Body as _;
use tokio::task::AbortHandle;

use super::body::Body;
use super::frames::{Received, pipe};
use crate::stream::Stream;

/// Flow-control windows. The protocol's own 64 KiB throttle any flow with a round trip worth the name.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Streams that are opened before the server said how many it takes (RFC 9113 section 6.5.2 advises it to take as many).
const MOST_AT_FIRST: usize = 100;
/// Longest answer head.
const MOST_HEAD: u32 = 64 * 1024;
/// When a peer is first asked by the kernel whether it is there.
const PROBE: Duration = Duration::from_secs(20);

/// A connection.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    sender: SendRequest<Bytes>,
    state: Rc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Nothing more can be asked.
    closed: Cell<bool>,
    /// Answers so far.
    answers: Cell<u64>,
}

/// Its place in the pool.
pub(super) type Place = Rc<Seat>;

/// Where the connection to one endpoint is.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// Locked while the connection is made.
    pub(super) shared: tokio::sync::Mutex<Option<Shared>>,
    /// When one could not be made.
    failed: Cell<Option<Instant>>,
}

impl Seat {
    /// None could be made since then: whoever waited for it does not try once more.
    pub(super) fn has_failed_since(&self, then: Instant) -> bool {
        self.failed.get().is_some_and(|failed| failed > then)
    }

    /// None could be made.
    pub(super) fn fails(&self) {
        self.failed.set(Some(Instant::now()));
    }
}

/// Begins to speak HTTP/2.
pub(super) async fn connect(stream: Stream) -> io::Result<Shared> {
    if let Some(socket) = stream.as_tcp() {
        sys::listen::keep_alive(socket, PROBE)?;
    }
    let (sender, connection) = client::Builder::new()
        .enable_push(false)
        .initial_max_send_streams(MOST_AT_FIRST)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MOST_HEAD)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(io::Error::other)?;
    let state = Rc::new(State::default());
    let ours = state.clone();
    tokio::task::spawn_local(async move {
        // It ends when the last sender is gone and the last answer has come, too.
        if let Err(cause) = connection.await {
            tracing::trace!(%cause, "an upstream connection ended");
        }
        ours.closed.set(true);
    });
    Ok(Shared { sender, state })
}

/// Why there is no answer.
pub(super) enum Failed {
    /// Nothing was sent: the request, and why.
    Unsent(Box<Request<Body>>, h2::Error),
    /// It may have arrived.
    Sent(h2::Error),
}

impl Failed {
    /// True when the connection is to blame, or said before it looked at the request that it would not.
    pub(super) fn is_broken(error: &h2::Error) -> bool {
        error.is_io() || error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM)
    }
}

impl Shared {
    pub(super) fn is_closed(&self) -> bool {
        self.state.closed.get()
    }

    /// True when this is the same connection as `other`.
    pub(super) fn is(&self, other: &Shared) -> bool {
        Rc::ptr_eq(&self.state, &other.state)
    }

    /// How many answers have come.
    pub(super) fn answers(&self) -> u64 {
        self.state.answers.get()
    }

    /// Sends a request and waits for an answer's head.
    ///
    /// # Errors
    /// See [`Failed`].
    pub(super) async fn send(&mut self, request: Request<Body>) -> Result<Response<Body>, Failed> {
        if let Err(error) = poll_fn(|cx| self.sender.poll_ready(cx)).await {
            self.state.closed.set(true);
            return Err(Failed::Unsent(Box::new(request), error));
        }
        let (mut parts, body) = request.into_parts();
        let bare = body.is_end_stream();
        if !bare
            && let Some(length) = body.size_hint().exact()
            && !parts.headers.contains_key(CONTENT_LENGTH)
        {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let sent = self.sender.send_request(Request::from_parts(parts, ()), bare);
        let (answer, stream) = sent.map_err(Failed::Sent)?;
        let piping = (!bare).then(|| Piping::new(body, stream));
        let answer = answer.await.map_err(Failed::Sent)?;
        self.state.answers.set(self.state.answers.get() + 1);
        let (parts, stream) = answer.into_parts();
        let received = Received::new(stream, &parts.headers, piping);
        let body = if received.is_over() { Body::empty() } else { Body::from(received) };
        Ok(Response::from_parts(parts, body))
    }
}

/// A request's body on its way, given up with this.
#[derive(Debug)]
pub(super) struct Piping(Option<AbortHandle>);

impl Piping {
    fn new(body: Body, stream: SendStream<Bytes>) -> Piping {
        Piping(Some(tokio::task::spawn_local(pipe(body, stream, Reason::CANCEL)).abort_handle()))
    }

    /// To its end by itself.
    pub(super) fn go_on(mut self) {
        self.0 = None;
    }
}

impl Drop for Piping {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}
