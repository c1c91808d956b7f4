//! HTTP connections toward endpoints.

use bytes::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::body::Body;
use super::framing::{MOST_HEAD, MOST_HEADERS};
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
