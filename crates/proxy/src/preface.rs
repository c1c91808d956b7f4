//! Who a connection is from: its peer, or whom a listed peer relays it for.

use std::io;
use std::net::{IpAddr, SocketAddr};

use relay::proxy_header::{self, Ends, Header};
use tokio::net::TcpStream;

use crate::metrics::Miss;
use crate::serve::Context;

/// The connection without its PROXY header, and its ends. `None` when a peer in `listed` sent none, or one that
/// cannot be: the connection is closed.
pub(crate) async fn ends(
    context: &Context,
    mut stream: TcpStream,
    peer: SocketAddr,
    listed: &[IpAddr],
) -> Option<(TcpStream, Ends)> {
    let own = Ends { from: peer, to: stream.local_addr().ok()? };
    if !listed.iter().any(|ip| ip.to_canonical() == peer.ip().to_canonical()) {
        return Some((stream, own));
    }
    let patience = context.face.live.load().config.name_timeout;
    let taken = tokio::time::timeout(patience, proxy_header::take(&mut stream)).await;
    let judged = taken.map_err(io::Error::from).flatten().and_then(|header| match header {
        Header::Own => Ok(own),
        // To be on this host is to be trusted more: a proxy elsewhere cannot say that of anybody.
        Header::Relayed(ends)
            if context.face.is_local(ends.from.ip()) && !context.face.is_local(peer.ip()) =>
        {
            Err(io::Error::other("its PROXY header claims to come from this host"))
        }
        Header::Relayed(ends) => Ok(ends),
    });
    match judged {
        Ok(ends) => Some((stream, ends)),
        Err(cause) => {
            context.face.metrics.missed(Miss::Header);
            tracing::info!(%peer, %cause, "closed a connection of a proxy before us");
            None
        }
    }
}
