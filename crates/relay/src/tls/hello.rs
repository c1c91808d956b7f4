//! A connection's first message: who is asked for, before anything is decided.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::StartHandshake;

use super::keyed::{Binding, binding};
use crate::stream::Stream;

/// Longest first message. Offers of post-quantum keys bring it to 2 KiB; tickets may be long.
const MOST_HELLO: usize = 64 * 1024;

/// A connection that has said hello.
pub struct Hello {
    start: StartHandshake<Tee>,
    name: Option<Arc<str>>,
}

/// A connection with its handshake behind it.
#[derive(Debug)]
pub struct Secured {
    /// What is said under TLS.
    pub stream: Stream,
    /// The protocol that was agreed on (ALPN).
    pub protocol: Option<Vec<u8>>,
    /// The client's certificate and those behind it, verified by the site's authorities; empty when none was shown.
    pub chain: Vec<CertificateDer<'static>>,
    /// What this handshake has and no other; absent under TLS 1.2, whose is not bound to all of it.
    pub binding: Option<Binding>,
}

/// Reads the first message. The caller bounds the time.
///
/// # Errors
/// What was sent is no TLS, or the connection failed; the client was told by an alert where that is possible.
pub async fn hello(stream: Stream) -> io::Result<Hello> {
    let tee = Tee { stream, seen: Some(Vec::new()) };
    let start = LazyConfigAcceptor::new(Acceptor::default(), tee).await?;
    let name = start.client_hello().server_name().map(|name| name.to_ascii_lowercase().into());
    Ok(Hello { start, name })
}

impl Hello {
    /// Name that is asked for, in lower case (RFC 6066 section 3).
    pub fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    /// True when the client offers this protocol (ALPN, RFC 7301).
    pub fn offers(&self, protocol: &[u8]) -> bool {
        let hello = self.start.client_hello();
        hello.alpn().is_some_and(|mut offered| offered.any(|one| one == protocol))
    }

    /// Protocols that the client offers (ALPN), the best first.
    pub fn offered(&self) -> impl Iterator<Item = Vec<u8>> {
        let hello = self.start.client_hello();
        let offered: Vec<_> = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
        offered.into_iter()
    }

    /// Leaves TLS to somebody else: the connection, and what was read of it.
    pub fn pass(self) -> (Stream, Bytes) {
        let Tee { stream, seen } = self.start.io;
        (stream, seen.unwrap_or_default().into())
    }

    /// Answers. The caller bounds the time.
    ///
    /// # Errors
    /// No certificate for the name, none from a client that needs one, nothing in common, a broken connection. The
    /// client was told by an alert where that is possible.
    pub async fn secure(mut self, config: Arc<ServerConfig>) -> io::Result<Secured> {
        self.start.io.seen = None;
        let secured = self.start.into_stream(config).await?;
        let session = secured.get_ref().1;
        let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
        let chain = session.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let binding = binding(secured.get_ref().1);
        Ok(Secured { stream: Stream::Other(Box::new(secured)), protocol, chain, binding })
    }
}

/// Keeps what is read until it is known whether somebody else needs it.
struct Tee {
    stream: Stream,
    seen: Option<Vec<u8>>,
}

impl AsyncRead for Tee {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(seen) = &mut this.seen else { return Pin::new(&mut this.stream).poll_read(cx, to) };
        if seen.len() > MOST_HELLO {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the first message is too long",
            )));
        }
        let before = to.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, to))?;
        seen.extend_from_slice(&to.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tee {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
