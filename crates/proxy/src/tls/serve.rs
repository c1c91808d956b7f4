//! One connection to a listener that speaks TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use relay::Stream;
use relay::tls::{Secured, hello};
use route::Principal;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::sites::Site;
use crate::http::conn::{self, Arrival};
use crate::public::Door;
use crate::serve::Context;
use crate::tcp;

/// What the first message led to.
enum Opened {
    /// TLS is the service's own affair.
    Passed { service: Arc<str>, stream: Stream, seen: Bytes },
    /// The handshake is behind us.
    Secured { site: Arc<Site>, secured: Secured },
}

/// Serves one connection to its end.
pub(crate) async fn serve(context: Context, stream: TcpStream, peer: SocketAddr, door: Door) {
    let Some(handshake) = context.face.tls.handshakes.begin() else { return };
    let patience = context.face.live.load().config.tls.handshake_timeout;
    let by_address = context.identify(&stream, peer);
    // Boxed: the handshake is over soon, and would be the largest part of the connection's task for ever.
    let opened = match timeout(patience, Box::pin(open(&context, stream, door))).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(cause)) => {
            tracing::debug!(client = %peer, %cause, "a TLS handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(client = %peer, "a TLS handshake took too long");
            return;
        }
    };
    handshake.done();
    match opened {
        Opened::Passed { service, stream, seen } => {
            tcp::relay(context, &service, stream, (peer, by_address), seen, None).await;
        }
        Opened::Secured { site, secured } => {
            let known = site.principal(&secured.chain);
            let principal = known.unwrap_or(by_address);
            go_on(context, site, secured.stream, (peer, principal), door).await;
        }
    }
}

async fn open(context: &Context, stream: TcpStream, door: Door) -> io::Result<Opened> {
    stream.set_nodelay(true)?;
    let hello = hello(Stream::Tcp(stream)).await?;
    if door == Door::Public {
        let name = hello.name().map_or("", |name| &**name);
        // Not even a certificate is shown for what nobody wishes to expose.
        context.face.shown.service(name).ok_or_else(|| io::Error::other("no such name is exposed"))?;
    }
    let site = context.face.tls.sites.load().find(hello.name().map(|name| &**name)).cloned();
    let site = site.ok_or_else(|| io::Error::other("there are no sites"))?;
    if let (true, Some(service)) = (site.passthrough, &site.service) {
        let (stream, seen) = hello.pass();
        return Ok(Opened::Passed { service: service.clone(), stream, seen });
    }
    let config = site.config.clone();
    let config = config.ok_or_else(|| io::Error::other("the site's authorities could not be read"))?;
    let secured = hello.secure(config).await?;
    Ok(Opened::Secured { site, secured })
}

async fn go_on(context: Context, site: Arc<Site>, stream: Stream, who: (SocketAddr, Principal), door: Door) {
    match site.service.clone() {
        Some(service) => tcp::relay(context, &service, stream, who, Bytes::new(), None).await,
        None => {
            let (peer, principal) = who;
            conn::serve(context, stream, Arrival { peer, principal, site: Some(site), door }).await;
        }
    }
}
