//! HTTP to those who tell us things and do things for us: the catalog, routers, providers of names.
//!
//! A connection per request, limits on time and size, no redirects: a router that sends us elsewhere is not
//! followed.

mod tls;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::causes::chain;
pub use tls::{TlsError, TlsFiles, TlsSettings};

/// How much of an answer is waited for and read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first try to connect to the last byte.
    pub time: Duration,
    /// Of the body, in bytes.
    pub body: usize,
}

/// What came back, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// Body, whole.
    pub body: Bytes,
}

/// No answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// An address that is none.
    #[error("\"{0}\" is not an address like http://127.0.0.1:8500")]
    Url(String),
    /// Nobody there.
    #[error("connect to {to}")]
    Connect {
        /// Host and port.
        to: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The connection broke, or what came is no HTTP.
    #[error("ask {url}: {said}")]
    Exchange {
        /// Where.
        url: String,
        /// Why.
        said: String,
    },
    /// Too slow.
    #[error("{url} did not answer within {limit:?}")]
    Timeout {
        /// Where.
        url: String,
        /// The limit.
        limit: Duration,
    },
    /// An answer that says no.
    #[error("{url} answered {status}: {said}")]
    Status {
        /// Where.
        url: String,
        /// Status.
        status: StatusCode,
        /// The beginning of its body.
        said: String,
    },
}

/// Where requests go: a base address and, for HTTPS, what we trust.
#[derive(Clone)]
pub struct Base {
    is_tls: bool,
    host: String,
    port: u16,
    /// Without a slash at its end.
    path: String,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

impl Base {
    /// Reads `http://host:port/path`; without a scheme it is HTTP.
    ///
    /// # Errors
    /// [`HttpError::Url`].
    pub fn parse(text: &str) -> Result<Base, HttpError> {
        let wrong = || HttpError::Url(text.chars().take(200).collect());
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = full.parse().map_err(|_| wrong())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().filter(|one| !one.as_str().contains('@')).ok_or_else(wrong)?;
        let host = authority.host().to_owned();
        if host.is_empty() || uri.query().is_some() {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Base { is_tls, host, port, path: uri.path().trim_end_matches('/').to_owned(), tls: None })
    }

    /// The same with what HTTPS needs.
    ///
    /// # Errors
    /// Files that cannot be read, or a certificate without its key.
    pub fn with_tls(mut self, settings: &TlsSettings) -> Result<Base, TlsError> {
        if self.is_tls {
            self.tls = Some(tls::client(settings)?);
        }
        Ok(self)
    }

    /// An absolute address as a base of its own, trusting whom this one trusts, and the path there. Whoever speaks
    /// TLS is not sent on without it.
    ///
    /// # Errors
    /// [`HttpError::Url`].
    pub fn beside(&self, url: &str) -> Result<(Base, String), HttpError> {
        let wrong = || HttpError::Url(url.chars().take(200).collect());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or_else(wrong)?;
        let base = Base::parse(&format!("{scheme}://{authority}"))?;
        if self.is_tls && !base.is_tls {
            return Err(wrong());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok((Base { tls: self.tls.clone(), ..base }, path))
    }

    /// Host name or address, without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Sends a request to a path below the base, which is escaped already and begins with a slash.
    ///
    /// # Errors
    /// [`HttpError`]; a bad status is not one here.
    pub async fn send(&self, mut request: Request<Full<Bytes>>, limits: Limits) -> Result<Answer, HttpError> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let path = format!("{}{path}", self.path);
        let url =
            format!("{}://{}:{}{path}", if self.is_tls { "https" } else { "http" }, self.host, self.port);
        let fail = |said: String| HttpError::Exchange { url: url.clone(), said };
        *request.uri_mut() = path.parse().map_err(|_| HttpError::Url(url.clone()))?;
        let host = format!("{}:{}", self.host, self.port);
        let host = host.parse().map_err(|_| HttpError::Url(url.clone()))?;
        request.headers_mut().insert(http::header::HOST, host);
        let exchange = async {
            let to = format!("{}:{}", self.host, self.port);
            let stream = TcpStream::connect(&to).await.map_err(|cause| HttpError::Connect { to, cause })?;
            if self.is_tls {
                let stream = tls::connect(self.tls.as_ref(), self.host(), stream).await.map_err(fail)?;
                talk(stream, request, limits.body).await.map_err(fail)
            } else {
                talk(stream, request, limits.body).await.map_err(fail)
            }
        };
        match tokio::time::timeout(limits.time, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Timeout { url, limit: limits.time }),
        }
    }
}

impl Answer {
    /// The answer, if its status is a good one.
    ///
    /// # Errors
    /// [`HttpError::Status`] with the beginning of what was said.
    pub fn good(self, url: &dyn fmt::Display) -> Result<Answer, HttpError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let said = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]).trim().to_owned();
        Err(HttpError::Status { url: url.to_string(), status: self.status, said })
    }
}

async fn talk<S>(stream: S, request: Request<Full<Bytes>>, most: usize) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let talking = async {
        let response = sender.send_request(request).await.map_err(|error| chain(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, most).collect().await.map_err(|error| error.to_string())?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    };
    // The connection is driven here and dropped with the answer: nothing outlives the request.
    tokio::pin!(talking);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut talking => answer,
        ended = &mut connection => match ended {
            Ok(()) => talking.await,
            Err(error) => Err(chain(&error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::Base;

    #[test]
    fn addresses_are_read() {
        for (text, shown) in [
            ("http://127.0.0.1:8500", "http://127.0.0.1:8500"),
            ("localhost:8500/", "http://localhost:8500"),
            ("https://consul.example.org/dc/", "https://consul.example.org:443/dc"),
            ("http://[::1]:80", "http://[::1]:80"),
        ] {
            assert_eq!(Base::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "ftp://x", "http://", "http://u@x", "http://x?y", "unix:///x"] {
            assert!(Base::parse(text).is_err(), "{text}");
        }
    }
}
