//! The daemon as the command line sees it: Consul's HTTP API, one connection per request.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};

/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 << 20;

/// A daemon's API.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    place: Place,
    timeout: Duration,
}

#[derive(Debug, Clone)]
enum Place {
    /// `host:port`.
    Tcp(String),
    Unix(PathBuf),
}

/// An answer with what blocking queries need to go on.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    /// `X-Consul-Index`; 0 where the path has none.
    pub(crate) index: u64,
}

impl Answer {
    /// Reads the body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        consul::decode(&self.body).context("read the daemon's answer").map_err(Failure::from)
    }
}

impl Remote {
    pub(crate) fn new(global: &Global) -> Result<Remote> {
        Ok(Remote { place: place(&global.api)?, timeout: global.timeout })
    }

    /// `http://host:port` or `unix:/path`, as it is shown to people.
    pub(crate) fn shown(&self) -> String {
        match &self.place {
            Place::Tcp(address) => format!("http://{address}"),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        self.request(Method::GET, path, Bytes::new(), self.timeout).await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
        self.request(Method::PUT, path, body.into(), self.timeout).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Answer> {
        self.request(Method::DELETE, path, Bytes::new(), self.timeout).await
    }

    /// A blocking query: answers once the index is past `seen`, or after a minute.
    pub(crate) async fn get_after(&self, path: &str, seen: u64) -> Result<Answer> {
        const WAIT: Duration = Duration::from_secs(60);
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}index={seen}&wait={}s", WAIT.as_secs());
        // The daemon adds up to a sixteenth, so that not all queries end at once.
        self.request(Method::GET, &path, Bytes::new(), WAIT + WAIT / 16 + self.timeout).await
    }

    async fn request(&self, method: Method, path: &str, body: Bytes, within: Duration) -> Result<Answer> {
        let what = format!("{method} {}{path}", self.shown());
        match tokio::time::timeout(within, self.exchange(method, path, body)).await {
            Ok(done) => done.map_err(|failure| Failure { cause: failure.cause.context(what), ..failure }),
            Err(_) => {
                let cause = anyhow!("no answer within {within:?}").context(what);
                Err(Failure::new(Exit::Unreachable, cause).advise("wait longer with --timeout"))
            }
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::USER_AGENT, concat!("portolan/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .context("make the request")?;
        match &self.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(|cause| self.unreachable(cause))?;
                send(stream, request).await
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|cause| self.unreachable(cause))?;
                send(stream, request).await
            }
        }
    }

    fn unreachable(&self, cause: std::io::Error) -> Failure {
        let cause = anyhow!(cause).context(format!("connect to the daemon at {}", self.shown()));
        Failure::new(Exit::Unreachable, cause)
            .advise("start a daemon with `portolan dev`, or name another with --api or PORTOLAN_API")
    }
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |cause: hyper::Error| Failure::new(Exit::Unreachable, cause);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let index = response.headers().get("x-consul-index").and_then(|value| value.to_str().ok());
    let index = index.and_then(|value| value.parse().ok()).unwrap_or(0);
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    driver.abort();
    let body = body.map_err(|cause| Failure::new(Exit::Unreachable, anyhow!(cause)))?.to_bytes();
    if status.is_success() { Ok(Answer { body, index }) } else { Err(refused(status, &body)) }
}

/// The daemon's own words, with the exit code that its status stands for.
fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let words = String::from_utf8_lossy(body);
    let words: String = words.trim().chars().take(2000).collect();
    let exit = match status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Exit::Denied,
        StatusCode::BAD_REQUEST => Exit::Usage,
        _ => Exit::Failure,
    };
    let words = if words.is_empty() { "the daemon gave no reason".to_owned() } else { words };
    Failure::new(exit, anyhow!("{words} ({status})"))
}

fn place(api: &str) -> Result<Place> {
    let usage = |text: &str| {
        Failure::new(Exit::Usage, anyhow!("--api {api}: {text}"))
            .advise("write --api http://127.0.0.1:8500 or --api unix:/run/portolan/api.sock")
    };
    if let Some(path) = api.strip_prefix("unix:") {
        return Ok(Place::Unix(path.trim_start_matches("//").into()));
    }
    if api.starts_with("https://") {
        return Err(usage("TLS is not spoken here yet"));
    }
    let address = api.strip_prefix("http://").unwrap_or(api).trim_end_matches('/');
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(_) => Ok(Place::Tcp(address.to_owned())),
        None if address.is_empty() || address.contains('/') => Err(usage("that is not an address")),
        None => Ok(Place::Tcp(format!("{address}:8500"))),
    }
}

/// A name, id or key as part of a path (RFC 3986 section 3.3). Slashes stay: keys are made of them.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_is_named_in_several_ways() {
        let shown = |api: &str| Remote { place: place(api).unwrap(), timeout: Duration::ZERO }.shown();
        assert_eq!(shown("127.0.0.1:8500"), "http://127.0.0.1:8500");
        assert_eq!(shown("http://[::1]:9/"), "http://[::1]:9");
        assert_eq!(shown("box"), "http://box:8500");
        assert_eq!(shown("unix:///run/a.sock"), "unix:/run/a.sock");
        assert!(place("https://a:1").is_err() && place("http:///").is_err());
    }

    #[test]
    fn keys_keep_their_slashes() {
        assert_eq!(encoded("a/b c?ü"), "a/b%20c%3F%C3%BC");
    }
}
