//! The router: who asks it, in which language, and what came of it.

mod epoch;
pub mod igd;
mod keep;
#[cfg(test)]
mod keep_tests;
pub mod natpmp;
pub mod pcp;
mod search;
mod udp;

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use keep::BE_REACHABLE;
pub use keep::{Held, Keeper};
pub use search::{Everywhere, Search};

use crate::wish::Port;

/// A future that may be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A mapping that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Port at the router.
    pub external: Port,
    /// Port of this host.
    pub internal: u16,
    /// What the router's page shows beside it.
    pub description: Arc<str>,
}

/// A router as one protocol speaks to it.
pub trait Gateway: Send + Sync {
    /// For people: the protocol and the address.
    fn name(&self) -> &str;

    /// The router's address on our network.
    fn router(&self) -> IpAddr;

    /// Our address on that network, where mappings lead.
    fn client(&self) -> IpAddr;

    /// Makes or renews a mapping at exactly the wished port; the lease that was granted. Zero: forever.
    fn map<'a>(&'a self, mapping: &'a Mapping, lease: Duration) -> BoxFuture<'a, Result<Duration, MapError>>;

    /// Removes a mapping of ours; one that is gone already is removed.
    fn unmap<'a>(&'a self, mapping: &'a Mapping) -> BoxFuture<'a, Result<(), MapError>>;

    /// Looks whether the router still holds a mapping of ours: one question, whatever their number. False when
    /// it was lost, and others may be too.
    fn holds<'a>(&'a self, mapping: &'a Mapping) -> BoxFuture<'a, Result<bool, MapError>>;

    /// The address that the world sees.
    fn public_address(&self) -> BoxFuture<'_, Result<IpAddr, MapError>>;

    /// Mappings that lead to us and carry this description: an earlier life's. Empty where the protocol
    /// cannot tell.
    fn ours<'a>(&'a self, description: &'a str) -> BoxFuture<'a, Result<Vec<Mapping>, MapError>>;
}

/// Why there is no mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Somebody else has the port.
    #[error("the port is held by {0}; remove that mapping at the router, or expose another port")]
    Held(String),
    /// The router offered another port, which is not what was wished.
    #[error("the router gives {0} instead: the port is taken or not allowed")]
    OtherPort(u16),
    /// The router's rules forbid it.
    #[error("the router does not allow it ({0})")]
    Forbidden(String),
    /// The router has no way to the outside, or no room.
    #[error("the router cannot do it now ({0})")]
    Unable(String),
    /// It said no in another way.
    #[error("the router refused: {0}")]
    Refused(String),
    /// It did not answer, or what it answered cannot be read. It is looked for again.
    #[error("the router is not heard: {0}")]
    Silent(String),
}

/// True for an address that the world can send to. Private, shared (RFC 6598) and reserved ones are not:
/// behind such there is another router.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        // Global unicast is 2000::/3; the rest is local or not assigned.
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000 && v6.segments()[..2] != [0x2001, 0xdb8],
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_protocol = (a, b, c) == (192, 0, 0) || (a == 198 && (18..20).contains(&b));
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || is_shared
        || is_protocol
        || a == 0
        || a >= 224)
}

#[cfg(test)]
mod tests {
    use super::is_public;

    #[test]
    fn addresses_behind_another_router_are_not_public() {
        for text in ["45.83.0.1", "1.1.1.1", "100.63.255.255", "2a01:4f8::1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "fe80::1",
            "fd00::1",
            "::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }
}
