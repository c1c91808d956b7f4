//! HTTP connections toward endpoints.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;

use super::body::Body;
use crate::balance::Flight;
use crate::stream::Stream;

/// What is spoken toward an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: without TLS by prior knowledge (RFC 9113 section 3.3), with TLS by ALPN.
    Http2,
}

/// Flow-control windows. The protocol's own 64 KiB throttle any flow with a round trip worth the name.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Longest answer head.
const MOST_HEAD: usize = 64 * 1024;
const MOST_HEADERS: usize = 256;
/// How often an HTTP/2 connection is asked whether it lives, and how long it may think.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// A connection that left HTTP behind, with what was read beyond the answer's head.
#[derive(Debug)]
pub struct Upgraded {
    /// The connection.
    pub stream: Stream,
    /// Bytes for the client that came first.
    pub early: Bytes,
    /// Still counted in the balancer.
    pub flight: Option<Flight>,
}

/// One HTTP/1.1 connection.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<Body>,
    /// Delivers the bare connection when HTTP is over on it.
    pub(super) parts: oneshot::Receiver<Upgraded>,
}

pub(super) async fn http1(stream: Stream) -> hyper::Result<Http1> {
    let (sender, connection) = http1::Builder::new()
        .max_header_size(MOST_HEAD)
        .max_headers(MOST_HEADERS)
        .handshake(TokioIo::new(stream))
        .await?;
    let (deliver, parts) = oneshot::channel();
    tokio::task::spawn_local(async move {
        match connection.without_shutdown().await {
            Ok(parts) => {
                let upgraded =
                    Upgraded { stream: parts.io.into_inner(), early: parts.read_buf, flight: None };
                // Nobody listens unless the connection was upgraded; then it closes here.
                let _ = deliver.send(upgraded);
            }
            Err(cause) => tracing::trace!(%cause, "an upstream connection ended"),
        }
    });
    Ok(Http1 { sender, parts })
}

pub(super) async fn http2(stream: Stream) -> hyper::Result<http2::SendRequest<Body>> {
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MOST_HEAD as u32)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::task::spawn_local(async move {
        if let Err(cause) = connection.await {
            tracing::trace!(%cause, "an upstream connection ended");
        }
    });
    Ok(sender)
}

/// Runs hyper's tasks on the thread that they come from.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Shares an HTTP/2 connection among the requests of a thread; the lock is held while it is made.
pub(super) type Shared = Rc<tokio::sync::Mutex<Option<http2::SendRequest<Body>>>>;
