//! `udp://host:port`: a connected socket. A call is a datagram, before as after the hand-over.

use std::io;
use std::net::SocketAddr;

use consul::broker::{Problem, Socket};
use sys::host::Transport;
use tokio::net::UdpSocket;

use super::{Way, describe, permitted, port, unreachable};
use crate::door::Visit;
use crate::hand::{Handed, revocable};

pub(super) async fn connect(visit: Visit<'_>, way: &Way<'_>) -> Result<Handed, Problem> {
    let uri = way.uri;
    if uri.service.is_some() {
        return Err(crate::reach::malformed(
            "udp leads to a host and a port; there is no service behind them",
        ));
    }
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for (address, permit) in permitted(visit, way, port(uri)?).await? {
        match connected(address).await {
            Ok(socket) => {
                let told = describe(Socket::Udp, uri);
                return revocable(visit, permit, Transport::Udp, socket.into(), told);
            }
            Err(cause) => last = cause,
        }
    }
    Err(unreachable(uri, last))
}

/// Waits for nobody: no packet is sent.
async fn connected(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.into_std()
}
