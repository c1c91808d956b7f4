//! A request as handlers see it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::access::Caller;
use crate::http::{Failure, Query};

/// After a refusal: how much of a body is read all the same, and for how long. Who is cut off in the middle of sending often
/// cannot read the answer any more.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A TCP connection from there.
    Tcp(SocketAddr),
    /// A program on this host, through the Unix socket.
    Unix {
        /// The user that it runs as, by the kernel's word.
        uid: Option<u32>,
    },
}

impl Peer {
    /// Its address; loopback for a program on this host.
    pub(crate) fn ip(self) -> IpAddr {
        match self {
            Peer::Tcp(address) => address.ip(),
            Peer::Unix { .. } => Ipv4Addr::LOCALHOST.into(),
        }
    }
}

/// Everything of a request but its body.
#[derive(Debug)]
pub(crate) struct Parts {
    /// What followed the route's prefix, decoded; empty for a route without a parameter.
    pub(crate) rest: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Peer,
    /// Who asks, and what may be done for them.
    pub(crate) caller: Caller,
}

/// A request whose body is still to be read.
pub(crate) struct Request {
    pub(crate) parts: Parts,
    pub(crate) body: Incoming,
    pub(crate) body_timeout: Duration,
}

impl Request {
    /// Reads the whole body.
    ///
    /// # Errors
    /// 413 above `limit` bytes, before anything is kept when the length is declared; 408 when it does not
    /// arrive in time; 400 when the peer breaks off.
    pub(crate) async fn body(mut self, limit: usize) -> Result<(Parts, Bytes), Failure> {
        let declared =
            self.parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(declared) = declared
            && declared > limit
        {
            // Who waits for leave to send needs none, and who sends far more is cut off all the same.
            if declared - limit <= LINGER_BYTES && !self.parts.headers.contains_key(EXPECT) {
                linger(&mut self.body).await;
            }
            return Err(too_large(Some(declared), limit));
        }
        let read = tokio::time::timeout(self.body_timeout, collect(self.body, limit));
        let seconds = self.body_timeout.as_secs();
        let late = || {
            Failure::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the request body did not arrive within {seconds} s"),
            )
        };
        Ok((self.parts, read.await.map_err(|_| late())??))
    }

    /// Reads the body as JSON, folding letter case as Consul does.
    ///
    /// # Errors
    /// As [`Request::body`], and 400 with the place when it is not the JSON that is expected.
    pub(crate) async fn json<T: DeserializeOwned>(self, limit: usize) -> Result<(Parts, T), Failure> {
        let (parts, bytes) = self.body(limit).await?;
        Ok((parts, decode(&bytes)?))
    }
}

/// Reads JSON that a client sent.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    consul::decode(bytes).map_err(|cause| Failure::bad_request(format!("Request decode failed: {cause}")))
}

fn too_large(size: Option<usize>, limit: usize) -> Failure {
    let size = size.map(|size| format!(" of {size} bytes")).unwrap_or_default();
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("Request body{size} too large, max size: {limit} bytes"),
    )
}

/// Reads for a moment what nobody wants.
async fn linger(body: &mut Incoming) {
    let drain = async {
        let mut left = LINGER_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Over when the client has sent it, or sends more, or takes longer, than the answer is worth.
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// Most bodies come in one frame and are handed on without a copy.
async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, Failure> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| Failure::bad_request(format!("read the request body: {cause}")))?;
        let Ok(mut data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.remaining() > limit {
            linger(&mut body).await;
            return Err(too_large(None, limit));
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(body.size_hint().lower() as usize + first.len() + data.len());
            whole.extend_from_slice(&first);
            first = Bytes::new();
        }
        whole.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
