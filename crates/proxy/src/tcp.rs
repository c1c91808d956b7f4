//! TCP connections toward one service.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use relay::pump::{self, Prefix};
use relay::{Stream, proxy_header};
use route::{Caller, Principal};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::config::ServiceListener;
use crate::first_line;
use crate::meant;
use crate::metrics::Miss;
use crate::preface;
use crate::serve::Context;

/// A client that names the service first.
pub(crate) async fn named(context: Context, mut stream: TcpStream, peer: SocketAddr) {
    let patience = context.face.live.load().config.name_timeout;
    let (service, rest) = match tokio::time::timeout(patience, read_name(&mut stream)).await {
        Ok(Some(named)) => named,
        Ok(None) => {
            context.face.metrics.missed(Miss::Named);
            tracing::info!(client = %peer, "closed a connection: its first line names no service");
            return;
        }
        Err(_) => {
            context.face.metrics.missed(Miss::Named);
            tracing::info!(client = %peer, "closed a connection: no service was named in time");
            return;
        }
    };
    let who = (peer, context.identify(&stream, peer));
    relay(context, &service, Stream::Tcp(stream), who, rest, None).await;
}

/// The original reads once, at most so much; so does this, and leaves the rest to the pump.
async fn read_name(stream: &mut TcpStream) -> Option<(String, Bytes)> {
    let mut first = [0; first_line::MOST];
    let count = stream.read(&mut first).await.ok()?;
    let line = first_line::parse(&first[..count])?;
    Some((line.name.to_owned(), Bytes::copy_from_slice(line.rest)))
}

/// A client of a configured listener, bound at `at`; perhaps through a proxy before us.
pub(crate) async fn by_listener(
    context: Context,
    listener: Arc<ServiceListener>,
    stream: TcpStream,
    peer: SocketAddr,
    at: SocketAddr,
) {
    let Some((stream, ends)) = preface::ends(&context, stream, peer, &listener.accept_proxy).await else {
        return;
    };
    let header = listener.send_proxy.map(|version| proxy_header::write(version, ends).into());
    let who = (ends.from, context.identify(&stream, ends.from));
    relay(context, &listener.service, Stream::Tcp(stream), who, header.unwrap_or_default(), Some(at)).await;
}

/// A client of the listener at `at`, which is for one service.
pub(crate) async fn to_service(
    context: Context,
    service: Arc<str>,
    stream: TcpStream,
    peer: SocketAddr,
    at: SocketAddr,
) {
    let who = (peer, context.identify(&stream, peer));
    relay(context, &service, Stream::Tcp(stream), who, Bytes::new(), Some(at)).await;
}

/// A client that was led here: the socket's own address is the virtual one that it meant. A service has one port; on
/// every other the client is told that nobody listens, as far as an accepted connection can tell it.
pub(crate) async fn by_address(context: Context, stream: TcpStream, peer: SocketAddr) {
    let meant = stream.local_addr().ok();
    let Some((service, at)) = meant.and_then(|meant| Some((service_at(&context, meant)?, meant))) else {
        context.face.metrics.missed(Miss::Named);
        tracing::debug!(client = %peer, ?meant, "closed a connection: no service has this virtual address and port");
        let _ = sys::listen::reset_on_close(&stream);
        return;
    };
    to_service(context, service, stream, peer, at).await;
}

fn service_at(context: &Context, meant: SocketAddr) -> Option<Arc<str>> {
    let facts = context.face.facts.now();
    context.local.with_routes(|routes| Some(meant::backend(routes, &facts, meant)?.service.clone()))
}

/// Relays a connection of somebody to a service. `first` was read of it already; `at` is the service's own listener.
pub(crate) async fn relay(
    context: Context,
    service: &str,
    stream: Stream,
    (peer, principal): (SocketAddr, Principal),
    first: Bytes,
    at: Option<SocketAddr>,
) {
    let Context { face, local, .. } = &context;
    let caller = Caller::from(&principal).from_address(peer.ip());
    let (backend, permit) = match local.with_routes(|routes| routes.permit(caller, service)) {
        Ok(allowed) => allowed,
        Err(denial) => {
            face.metrics.denied(&denial);
            tracing::info!(client = %peer, %denial, "closed a connection");
            return;
        }
    };
    let connection = match relay::connect(local, &backend, &permit, at).await {
        Ok(connection) => connection,
        Err(unreachable) => {
            face.metrics.missed(Miss::Unreachable);
            tracing::info!(client = %peer, %unreachable, "closed a connection");
            // A reset tells the client that this was no answer.
            if let Some(socket) = stream.as_tcp() {
                let _ = sys::listen::reset_on_close(socket);
            }
            return;
        }
    };
    // The connection holds what it needs of the route; the routes may change and it goes on.
    drop(backend);
    let prefix = Prefix { upstream: first, downstream: Bytes::new() };
    let idle = face.live.load().tcp_idle();
    tokio::select! {
        outcome = pump::run(local, permit, stream, connection.stream, prefix, idle) => face.note(&outcome),
        () = face.deadline() => {}
    }
    drop(connection.flight);
}
