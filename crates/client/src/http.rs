//! HTTP/1.1 to the daemon over kept connections.

use std::fmt::Write as _;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::{Address, Error};

/// Longest that an ordinary call may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// Most idle connections kept.
const MAX_IDLE: usize = 8;
/// Longest answer that is read, in bytes, unless a call says otherwise.
const MAX_ANSWER: usize = 64 << 20;

/// A value with the index that it stood at: `get_after` waits for a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed<T> {
    /// The value.
    pub value: T,
    /// `X-Consul-Index`, 0 where the answer has none.
    pub index: u64,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Bytes,
    is_json: bool,
    limit: Duration,
    /// Longest answer, in bytes.
    longest: usize,
    /// May be sent a second time when the first may or may not have arrived.
    is_repeatable: bool,
}

impl Call {
    pub(crate) fn new(method: Method, path: &str) -> Call {
        let (body, is_json) = (Bytes::new(), false);
        Call {
            method,
            path: path.into(),
            body,
            is_json,
            limit: TIMEOUT,
            longest: MAX_ANSWER,
            is_repeatable: true,
        }
    }

    pub(crate) fn put(path: &str) -> Call {
        Call::new(Method::PUT, path)
    }

    pub(crate) fn body(self, body: Bytes) -> Call {
        Call { body, ..self }
    }

    pub(crate) fn json<T: Serialize>(self, value: &T) -> Result<Call, Error> {
        let body = serde_json::to_vec(value).map_err(|cause| Error::Json { request: self.name(), cause })?;
        Ok(Call { body: body.into(), is_json: true, ..self })
    }

    pub(crate) fn within(self, limit: Duration) -> Call {
        Call { limit, ..self }
    }

    pub(crate) fn at_most(self, longest: usize) -> Call {
        Call { longest, ..self }
    }

    /// What compares and sets must not be sent twice: the second would fail because of the first.
    pub(crate) fn once(self) -> Call {
        Call { is_repeatable: false, ..self }
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What came back, with a good status.
#[derive(Debug)]
pub(crate) struct Answer {
    request: String,
    pub(crate) index: u64,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<Indexed<T>, Error> {
        match consul::decode(&self.body) {
            Ok(value) => Ok(Indexed { value, index: self.index }),
            Err(cause) => Err(Error::Json { request: self.request.clone(), cause }),
        }
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// The daemon's address with connections to it.
#[derive(Debug)]
pub(crate) struct Transport {
    address: Address,
    token: Option<String>,
    idle: Mutex<Vec<Sender>>,
}

impl Transport {
    pub(crate) fn new(address: Address, token: Option<String>) -> Transport {
        Transport { address, token, idle: Mutex::default() }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a request and reads its answer; an error status is an error.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, Error> {
        match tokio::time::timeout(call.limit, self.exchange(&call)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { request: call.name(), after: call.limit }),
        }
    }

    async fn exchange(&self, call: &Call) -> Result<Answer, Error> {
        // A kept connection may have been closed meanwhile; then a new one gets the request.
        while let Some(mut sender) = self.kept() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.send_request(self.request(call)?).await {
                Ok(response) => return self.read(call, sender, response).await,
                Err(cause) if cause.is_canceled() || call.is_repeatable => {}
                Err(cause) => return Err(Error::Exchange { request: call.name(), cause: cause.into() }),
            }
        }
        let mut sender = self.connect().await?;
        match sender.send_request(self.request(call)?).await {
            Ok(response) => self.read(call, sender, response).await,
            Err(cause) => Err(Error::Exchange { request: call.name(), cause: cause.into() }),
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, Error> {
        let host = match &self.address {
            Address::Tcp(authority) => authority,
            Address::Unix(_) => "localhost",
        };
        let mut builder = Request::builder().method(call.method.clone()).uri(&call.path).header("host", host);
        if call.is_json {
            builder = builder.header("content-type", "application/json");
        }
        let made = builder.body(Full::new(call.body.clone()));
        let exchange = |cause| Error::Exchange { request: call.name(), cause };
        let mut request = made.map_err(|cause| exchange(cause.into()))?;
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(token).map_err(|cause| exchange(cause.into()))?;
            value.set_sensitive(true);
            request.headers_mut().insert("x-consul-token", value);
        }
        Ok(request)
    }

    async fn read(&self, call: &Call, sender: Sender, response: Response<Incoming>) -> Result<Answer, Error> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, call.longest).collect().await;
        let body = body.map_err(|cause| Error::Exchange { request: call.name(), cause })?.to_bytes();
        self.keep(sender);
        if !head.status.is_success() {
            return Err(refused(call, head.status, &body));
        }
        let index = head.headers.get("x-consul-index").and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answer { request: call.name(), index: index.unwrap_or(0), body })
    }

    async fn connect(&self) -> Result<Sender, Error> {
        let failed = |cause| Error::Connect { address: self.address.to_string(), cause };
        match &self.address {
            Address::Tcp(authority) => {
                let stream = TcpStream::connect(authority.as_str()).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                start(stream).await.map_err(failed)
            }
            Address::Unix(path) => {
                start(UnixStream::connect(path).await.map_err(failed)?).await.map_err(failed)
            }
        }
    }

    fn kept(&self) -> Option<Sender> {
        let mut idle = self.idle();
        while let Some(sender) = idle.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(sender);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Sender>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn start<S>(stream: S) -> io::Result<Sender>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(cause) = connection.await {
            tracing::debug!(error = %cause, "a connection to the daemon ended");
        }
    });
    Ok(sender)
}

fn refused(call: &Call, status: StatusCode, body: &[u8]) -> Error {
    let message = String::from_utf8_lossy(&body[..body.len().min(2048)]).trim().to_owned();
    Error::Refused { request: call.name(), status: status.as_u16(), message }
}

/// Percent-encodes one part of a path or query: everything but the unreserved characters of RFC 3986
/// section 2.3, and slashes, which the API takes as part of ids and keys.
pub(crate) fn escape(part: &str) -> String {
    let mut escaped = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                escaped.push(byte.into())
            }
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths_are_escaped() {
        assert_eq!(escape("web-1/a b?c#d%é"), "web-1/a%20b%3Fc%23d%25%C3%A9");
    }
}
