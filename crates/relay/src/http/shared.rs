//! The HTTP/2 connection to an endpoint, which all requests of a thread share.
//!
//! `h2` is spoken to directly: a request is a call, and its answer comes to whoever waits for it, where a client in
//! between would have a channel, a task and a wake-up more for each. Absent on purpose: pings. Servers of gRPC take them
//! for abuse while a stream says nothing; the kernel's probes tell of a peer that is gone, and a connection on which
//! nothing is answered in time is not used again.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::body::Body;
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
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut received = Received { stream, length, data_over: false, piping };
        received.settle();
        let body = if received.is_over() { Body::empty() } else { Body::from(received) };
        Ok(Response::from_parts(parts, body))
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Received {
    stream: RecvStream,
    /// What its head said of the rest of it.
    length: Option<u64>,
    data_over: bool,
    /// The request's body, which may go on as long as this does, and after an answer that came to its end.
    piping: Option<Piping>,
}

impl Received {
    pub(super) fn is_over(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.length {
            _ if self.is_over() => SizeHint::with_exact(0),
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::new(),
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_over {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Whoever asks has room for it. Fails only on a stream that is over.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.length = self.length.map(|length| length.saturating_sub(data.len() as u64));
                    self.settle();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // All of the answer is here, and the server wants no more of the request (RFC 9113 section 8.1).
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_over = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        self.settle();
        Poll::Ready(match trailers {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(error)),
        })
    }

    fn settle(&mut self) {
        if self.is_over()
            && let Some(piping) = self.piping.take()
        {
            piping.go_on();
        }
    }
}

/// A request's body on its way, given up with this.
#[derive(Debug)]
struct Piping(Option<AbortHandle>);

impl Piping {
    fn new(body: Body, stream: SendStream<Bytes>) -> Piping {
        Piping(Some(tokio::task::spawn_local(pipe(body, stream)).abort_handle()))
    }

    /// To its end by itself.
    fn go_on(mut self) {
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

async fn pipe(mut body: Body, mut stream: SendStream<Bytes>) {
    loop {
        let frame = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => Pin::new(&mut body).poll_frame(cx).map(Some),
        });
        // Whatever fails below fails because the stream is over, and there is nobody to tell.
        let Some(frame) = frame.await else { return };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let is_last = body.is_end_stream();
                    if !has_room(&mut stream, data.len()).await || stream.send_data(data, is_last).is_err() {
                        return;
                    }
                    if is_last {
                        return;
                    }
                }
                Err(frame) => {
                    let _ = frame.into_trailers().map(|trailers| stream.send_trailers(trailers));
                    return;
                }
            },
            Some(Err(_)) => return stream.send_reset(Reason::CANCEL),
            None => {
                let _ = stream.send_data(Bytes::new(), true);
                return;
            }
        }
    }
}

/// Waits until the server takes some of `count` bytes, so that one part of a body is held here at most; false when it
/// takes no more. No more than a byte is claimed meanwhile: streams that wait must not take the window from others.
async fn has_room(stream: &mut SendStream<Bytes>, count: usize) -> bool {
    if count == 0 {
        return true;
    }
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        match poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
    }
    true
}
