//! Which service somebody meant who was led here from a virtual address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use route::{Backend, Facts, Routes};

/// The service that has this address and port; it has one port.
pub(crate) fn backend<'r>(routes: &'r Routes, facts: &Facts, meant: SocketAddr) -> Option<&'r Arc<Backend>> {
    // Of IPv6 a range is led in which each address ends in a virtual one of IPv4.
    let address = match meant.ip().to_canonical() {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => Ipv4Addr::from_bits(v6.to_bits() as u32),
    };
    let backend = routes.backend_of(address)?;
    // The port that is told of the service may be another one, where its own is taken for datagrams.
    let is_told = || {
        let told = facts.virtual_sockets.get(&*backend.service.to_ascii_lowercase());
        told.is_some_and(|socket| *socket.address.ip() == address && socket.address.port() == meant.port())
    };
    (backend.port == meant.port() || is_told()).then_some(backend)
}
