//! Every address that a node answers on, taken before anything else happens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::config::Config;

/// Where a running node answers. Ports are the real ones, also where 0 was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP API.
    pub http: Vec<SocketAddr>,
    /// DNS, UDP and TCP each.
    pub dns: Vec<SocketAddr>,
    /// TCP proxy: the service's name, then bytes.
    pub tcp_proxy: Vec<SocketAddr>,
    /// HTTP proxy.
    pub http_proxy: Vec<SocketAddr>,
}

impl Addresses {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        [&self.http, &self.dns, &self.tcp_proxy, &self.http_proxy].into_iter().flatten().copied()
    }
}

/// The open sockets, until their faces take them.
#[derive(Debug)]
pub(crate) struct Listeners;

impl Listeners {
    pub(crate) fn reserve(_config: &Config) -> anyhow::Result<Listeners> {
        Ok(Listeners)
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses::default()
    }
}

/// The address that this node registers: the configured one, else loopback while nobody else can reach it
/// anyway, else the one that the default route leaves from. A wrong guess is no reason not to start.
pub(crate) fn node_address(config: &Config, addresses: &Addresses) -> IpAddr {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    if let Some(address) = config.node.address {
        return address;
    }
    if addresses.iter().all(|address| address.ip().is_loopback()) {
        return loopback;
    }
    let guess = outward().unwrap_or(loopback);
    tracing::info!(address = %guess, "chose this node's address by the default route; node.address sets another");
    guess
}

/// Asks the kernel which address it would send from. Nothing is sent: connecting a datagram socket only
/// looks up the route.
fn outward() -> Option<IpAddr> {
    const DOCUMENTATION: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(DOCUMENTATION).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}
