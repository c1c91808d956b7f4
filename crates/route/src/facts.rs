//! What this host observed and nobody voted on: which sockets its virtual addresses really have here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};
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

/// A network of IPv6 in which each virtual address has its like: it ends in that of IPv4, with zeroes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network6 {
    /// The first address.
    pub base: Ipv6Addr,
    /// Bits that all of them begin with, 96 at most.
    pub prefix: u8,
}

impl Network6 {
    /// The like of a virtual address.
    pub fn like(&self, virtual_ip: Ipv4Addr) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.base.to_bits() | u128::from(virtual_ip.to_bits()))
    }

    /// True when `address` begins as all of them do.
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        (address.to_bits() ^ self.base.to_bits()) & mask == 0
    }

    /// The virtual address that `address` is the like of.
    pub fn virtual_ip(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let virtual_ip = Ipv4Addr::from_bits(address.to_bits() as u32);
        (self.like(virtual_ip) == address).then_some(virtual_ip)
    }
}

/// What this host observed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Virtual sockets that are open now, by service name in lower case.
    pub virtual_sockets: OrdMap<Arc<str>, VirtualSocket>,
    /// Addresses of this host: who asks from one of them is local.
    pub own_addresses: Vec<IpAddr>,
    /// Where virtual addresses are reached by IPv6, too.
    pub six: Option<Network6>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_like_is_known_again() {
        let network = Network6 { base: "fd00:77::".parse().unwrap(), prefix: 64 };
        let like = network.like([10, 77, 1, 2].into());
        assert_eq!(like.to_string(), "fd00:77::a4d:102");
        assert_eq!(network.virtual_ip(like), Some([10, 77, 1, 2].into()));
        for (other, is_within) in
            [("fd00:77::1:a4d:102", true), ("fd00:77:0:1::a4d:102", false), ("::1", false)]
        {
            let other = other.parse().unwrap();
            assert_eq!((network.virtual_ip(other), network.contains(other)), (None, is_within), "{other}");
        }
    }
}
