//! `tcp://host:port`: a plain connection. With a service behind it, tcpd's greeting first: its name, then `ok`.

use std::io;
use std::time::Duration;

use consul::broker::{Problem, Socket};
use route::Permit;
use sys::host::Transport;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, ToSocketAddrs};

use super::{Way, describe, permitted, port, unreachable};
use crate::door::Visit;
use crate::hand::{Handed, revocable};
use crate::uri::Uri;

pub(super) async fn connect(visit: Visit<'_>, way: &Way<'_>) -> Result<Handed, Problem> {
    let uri = way.uri;
    let patience = visit.local.config().connect_timeout;
    let (mut stream, permit) = dial_permitted(visit, way, port(uri)?).await?;
    if let Some(service) = &uri.service {
        greet(&mut stream, service, patience).await.map_err(|cause| unreachable(uri, cause))?;
    }
    let stream = stream.into_std().map_err(|cause| unreachable(uri, cause))?;
    revocable(visit, permit, Transport::Tcp, stream.into(), describe(Socket::Tcp, uri))
}

/// Connects to the first address that answers, of those that the rules allow.
pub(super) async fn dial_permitted(
    visit: Visit<'_>,
    way: &Way<'_>,
    port: u16,
) -> Result<(TcpStream, Permit), Problem> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for (address, permit) in permitted(visit, way, port).await? {
        match within(visit.local.config().connect_timeout, plain(address)).await {
            Ok(stream) => return Ok((stream, permit)),
            Err(cause) => last = cause,
        }
    }
    Err(unreachable(way.uri, last))
}

async fn plain(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) async fn dial(uri: &Uri, patience: Duration) -> Result<TcpStream, Problem> {
    dial_at(uri, port(uri)?, patience).await
}

pub(super) async fn dial_at(uri: &Uri, port: u16, patience: Duration) -> Result<TcpStream, Problem> {
    within(patience, plain((&*uri.host, port))).await.map_err(|cause| unreachable(uri, cause))
}

pub(super) async fn within<T>(
    patience: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?}")));
    tokio::time::timeout(patience, work).await.unwrap_or_else(late)
}

/// Says the name in one write, without an end, and waits for two bytes; nothing is sent before they are here,
/// because the other side reads once.
pub(super) async fn greet<S>(stream: &mut S, service: &str, patience: Duration) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    within(patience, async {
        stream.write_all(service.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await.map_err(|cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(
                io::ErrorKind::ConnectionRefused,
                format!("it does not admit to \"{service}\""),
            ),
            _ => cause,
        })?;
        if answer.eq_ignore_ascii_case(b"ok") {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("it does not admit to \"{service}\"")))
    })
    .await
}
