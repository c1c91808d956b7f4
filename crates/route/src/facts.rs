//! What this host observed and nobody voted on: which sockets its virtual addresses really have here.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV4};
use std::pin::Pin;
use std::sync::Arc;

use imbl::OrdMap;

/// A virtual address as it holds on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualSocket {
    /// Where programs on this host connect.
    pub address: SocketAddrV4,
    /// Why the port is not the service's own, in words for the operator, when it is not.
    pub moved: Option<Arc<str>>,
    /// The same by IPv6, with the same port, where there is one.
    pub six: Option<Ipv6Addr>,
}

/// What this host observed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Virtual sockets that are open now, by service name in lower case.
    pub virtual_sockets: OrdMap<Arc<str>, VirtualSocket>,
    /// Addresses of this host: who asks from one of them is local.
    pub own_addresses: Vec<IpAddr>,
}

impl Facts {
    /// True when `address` is loopback or one of this host's own.
    pub fn is_local(&self, address: IpAddr) -> bool {
        address.to_canonical().is_loopback() || self.own_addresses.contains(&address.to_canonical())
    }
}

/// Opens the listener of a virtual address when somebody first asks for it. Sockets are not taken before.
pub trait OpenVirtual: Send + Sync {
    /// Resolves once programs on this host can connect, with where; `None` when the service has no virtual
    /// address or none can be bound here (the reason is in the log and in the report).
    fn open(&self, service: &str) -> Pin<Box<dyn Future<Output = Option<VirtualSocket>> + Send + '_>>;
}
