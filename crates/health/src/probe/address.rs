//! Where a probe may connect to. The address that was judged is the one that is dialed: no name is looked
//! up twice.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpStream, lookup_host};

/// AWS's metadata service on IPv6: not link-local, and as delicate.
const EC2_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Which addresses a probe may reach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Link-local addresses, where clouds keep their metadata.
    pub(super) link_local: bool,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("look up {address}")]
    LookUp {
        address: String,
        #[source]
        cause: io::Error,
    },
    #[error("look up {address}: it has no address")]
    NoAddress { address: String },
    #[error(
        "connect to {address}: checks do not reach link-local and metadata addresses; the node's operator can allow it with `link_local = true` under [health]"
    )]
    Forbidden { address: SocketAddr },
    #[error("connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        cause: io::Error,
    },
}

impl Reach {
    /// Connects to `address` (`host:port`), trying each of its addresses in turn.
    pub(super) async fn connect(self, address: &str) -> Result<TcpStream, ConnectError> {
        let mut failure = ConnectError::NoAddress { address: address.into() };
        for candidate in resolve(address).await? {
            if !self.may_reach(candidate.ip()) {
                return Err(ConnectError::Forbidden { address: candidate });
            }
            match TcpStream::connect(candidate).await {
                Ok(stream) => return Ok(stream),
                Err(cause) => failure = ConnectError::Connect { address: candidate, cause },
            }
        }
        Err(failure)
    }

    fn may_reach(self, address: IpAddr) -> bool {
        self.link_local || !is_delicate(address)
    }
}

async fn resolve(address: &str) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    match lookup_host(address).await {
        Ok(found) => Ok(found.collect()),
        Err(cause) => Err(ConnectError::LookUp { address: address.into(), cause }),
    }
}

/// True for link-local addresses and known metadata services, in all their spellings (IPv4-mapped and
/// NAT64, RFC 6052).
fn is_delicate(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments();
            let embedded = (a, b, c, d, e, f) == (0x64, 0xff9b, 0, 0, 0, 0);
            let v4 = std::net::Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
            v6.is_unicast_link_local() || v6 == EC2_METADATA || (embedded && v4.is_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delicate_addresses_are_known_in_every_spelling() {
        let delicate =
            ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1", "febf::1"];
        for address in delicate.iter().chain(&["fd00:ec2::254"]) {
            assert!(is_delicate(address.parse().unwrap()), "{address}");
        }
        for address in
            ["127.0.0.1", "10.0.0.1", "169.253.0.1", "::1", "fec0::1", "2001:db8::1", "64:ff9b::a00:1"]
        {
            assert!(!is_delicate(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn a_delicate_address_is_not_dialed() {
        let error = Reach { link_local: false }.connect("169.254.169.254:80").await.unwrap_err();
        assert!(matches!(error, ConnectError::Forbidden { .. }), "{error}");
    }
}
