//! `udp://host:port`: a connected socket. A call is a datagram, before as after the hand-over.

use std::rc::Rc;
use std::sync::Arc;

use consul::broker::{Problem, Socket};
use relay::Local;
use tokio::net::{UdpSocket, lookup_host};

use super::tcp::within;
use super::{Way, describe, permit, port, unreachable};
use crate::door::{Door, Who};
use crate::hand::{Handed, out_of_the_way};

pub(super) async fn connect(
    door: &Arc<Door>,
    local: &Rc<Local>,
    who: &Who,
    way: &Way<'_>,
) -> Result<Handed, Problem> {
    permit(local, who, way)?;
    let uri = way.uri;
    if uri.service.is_some() {
        return Err(crate::reach::malformed(
            "udp leads to a host and a port; there is no service behind them",
        ));
    }
    let address = (&*uri.host, port(uri)?);
    let connected = within(local.config().connect_timeout, async {
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for address in lookup_host(address).await? {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).await?;
            match socket.connect(address).await {
                Ok(()) => return socket.into_std(),
                Err(error) => last = error,
            }
        }
        Err(last)
    });
    let socket = connected.await.map_err(|cause| unreachable(uri, cause))?;
    out_of_the_way(door, socket.into(), describe(Socket::Udp, uri))
}
