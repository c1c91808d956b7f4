//! What an operator may choose.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use state::units::Span;

/// Settings of the DNS face. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses to answer on, UDP and TCP each. Port 0 takes a free one. On a host with several addresses
    /// name each of them: an answer from a wildcard address leaves from the one that the route prefers, and
    /// a client that asked another does not take it.
    pub listen: Vec<SocketAddr>,
    /// Data threads, each with a UDP socket of its own per address. 0 means one per core.
    pub threads: usize,
    /// Our own zone: `<service>.<zone>`.
    pub zone: String,
    /// Answer the bare registered `<service>` too.
    pub bare_names: bool,
    /// Give clients on this host a service's virtual address instead of its endpoints.
    pub virtual_ips: bool,
    /// How long answers from our zone may be cached. DNS counts whole seconds.
    #[serde(with = "state::units::duration")]
    pub ttl: Duration,
    /// The same for single services, by name.
    pub service_ttl: BTreeMap<String, Span>,
    /// How long "no such name" and "no such type" from our zone may be cached.
    #[serde(with = "state::units::duration")]
    pub negative_ttl: Duration,
    /// Largest UDP answer in bytes, 512 to 4096, whatever the client would take. 1232 crosses every path
    /// without fragments.
    pub max_udp_bytes: u16,
    /// Consul's names.
    pub consul: ConsulNames,
    /// Limits on TCP clients.
    pub tcp: TcpLimits,
    /// Limits on answers by UDP to clients that may be somebody else.
    pub rate_limit: RateLimit,
    /// How clients by UDP prove their address.
    pub cookies: Cookies,
    /// What happens to names that are not ours.
    pub forward: Forward,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8600))],
            threads: 0,
            zone: "svc.internal".into(),
            bare_names: true,
            virtual_ips: true,
            ttl: Duration::from_secs(5),
            service_ttl: BTreeMap::new(),
            negative_ttl: Duration::from_secs(5),
            max_udp_bytes: 1232,
            consul: ConsulNames::default(),
            tcp: TcpLimits::default(),
            rate_limit: RateLimit::default(),
            cookies: Cookies::default(),
            forward: Forward::default(),
        }
    }
}

/// Names as Consul gives them, with its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsulNames {
    /// Top of the zone; empty turns these names off.
    pub domain: String,
    /// Leave out instances that warn (Consul's `only_passing`).
    pub only_passing: bool,
    /// How long answers may be cached.
    #[serde(with = "state::units::duration")]
    pub ttl: Duration,
    /// How long negative answers may be cached.
    #[serde(with = "state::units::duration")]
    pub negative_ttl: Duration,
    /// Most records in a UDP answer to a client without EDNS (Consul's `udp_answer_limit`, 3 there). 0
    /// means as many as fit: a client that wants them all is told so and comes back by TCP.
    pub udp_answers: usize,
}

impl Default for ConsulNames {
    fn default() -> Self {
        ConsulNames {
            domain: "consul".into(),
            only_passing: false,
            ttl: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            udp_answers: 0,
        }
    }
}

/// Limits on TCP clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TcpLimits {
    /// Most connections in all; the next one is closed at once.
    pub max_connections: usize,
    /// Most connections from one address that is not this host's, of IPv6 from one /64.
    pub max_per_address: usize,
    /// A connection without a whole query for this long is closed (RFC 7766 section 6.2.3).
    #[serde(with = "state::units::duration")]
    pub idle_timeout: Duration,
    /// A client that does not take its answer for this long is cut off.
    #[serde(with = "state::units::duration")]
    pub write_timeout: Duration,
}

impl Default for TcpLimits {
    fn default() -> Self {
        TcpLimits {
            max_connections: 1024,
            max_per_address: 64,
            idle_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(5),
        }
    }
}

/// Limits on answers by UDP toward one network, which may be the target of an attack and not its source. Clients on
/// this host, those with a cookie of ours and those by TCP are not limited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Answers a second; a second's worth may come at once. 0 means no limit.
    pub responses_per_second: u32,
    /// One of so many queries beyond that is told to come by TCP, or with its cookie; 0 means none.
    pub slip: u32,
    /// What is one network, in bits.
    pub ipv4_prefix: u8,
    /// The same for IPv6.
    pub ipv6_prefix: u8,
    /// Networks without a limit.
    pub exempt: Vec<Network>,
}

impl Default for RateLimit {
    fn default() -> Self {
        RateLimit {
            responses_per_second: 1000,
            slip: 2,
            ipv4_prefix: 24,
            ipv6_prefix: 56,
            exempt: Vec::new(),
        }
    }
}

/// DNS cookies (RFC 7873, RFC 9018).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cookies {
    /// Give and recognize them.
    pub enabled: bool,
    /// Secrets of 32 hexadecimal digits. The first makes cookies, all of them recognize theirs: give the same ones to
    /// servers that share an address. None means one of this process's own.
    pub secrets: Vec<Secret>,
}

impl Default for Cookies {
    fn default() -> Self {
        Cookies { enabled: true, secrets: Vec::new() }
    }
}

/// A secret of 128 bits, never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret([u8; 16]);

impl Secret {
    pub(crate) fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl TryFrom<String> for Secret {
    type Error = String;

    fn try_from(text: String) -> Result<Secret, String> {
        let number = match text.len() {
            32 if text.bytes().all(|byte| byte.is_ascii_hexdigit()) => u128::from_str_radix(&text, 16).ok(),
            _ => None,
        };
        number
            .map(|number| Secret(number.to_be_bytes()))
            .ok_or_else(|| "a DNS cookie's secret has 32 hexadecimal digits".to_owned())
    }
}

impl From<Secret> for String {
    fn from(_: Secret) -> String {
        "(secret)".to_owned()
    }
}

/// What happens to names that are not ours. Off: they are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forward {
    /// Ask other servers.
    pub enabled: bool,
    /// Which ones; none means those of the host's `/etc/resolv.conf`.
    pub to: Vec<SocketAddr>,
    /// Networks beside this host whose clients may use it.
    pub allow: Vec<Network>,
    /// Longest wait for one server.
    #[serde(with = "state::units::duration")]
    pub timeout: Duration,
    /// Most queries under way, a quarter of them for one client, of IPv6 for one /64; more are
    /// answered "server failure".
    pub max_in_flight: usize,
    /// Most answers that are kept; 0 means none.
    pub cache_entries: usize,
    /// Longest that an answer is kept, whatever it says.
    #[serde(with = "state::units::duration")]
    pub cache_ttl: Duration,
}

impl Default for Forward {
    fn default() -> Self {
        Forward {
            enabled: false,
            to: Vec::new(),
            allow: Vec::new(),
            timeout: Duration::from_secs(2),
            max_in_flight: 1024,
            cache_entries: 10_000,
            cache_ttl: Duration::from_secs(3600),
        }
    }
}

/// A time to live as DNS carries it: whole seconds, 31 bits (RFC 2181 section 8).
pub(crate) fn seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).min(i32::MAX as u32)
}

/// Addresses with a common prefix, written `address/prefix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The one that `address` is in. A prefix longer than addresses are is one address.
    pub fn new(address: IpAddr, prefix: u8) -> Network {
        let address = address.to_canonical();
        Network { address, prefix: prefix.min(if address.is_ipv4() { 32 } else { 128 }) }
    }

    /// True when `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let differ = u32::from(net) ^ u32::from(ip);
                differ.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let differ = u128::from(net) ^ u128::from(ip);
                differ.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Network, String> {
        let (address, prefix) = text.split_once('/').map_or((&*text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| format!("\"{text}\" is not an IP network"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), str::parse).map_err(|_| format!("\"{text}\": bad prefix"))?;
        if prefix > longest {
            return Err(format!("\"{text}\": the prefix is longer than {longest}"));
        }
        Ok(Network { address: address.to_canonical(), prefix })
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        format!("{}/{}", network.address, network.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn networks_contain_what_their_prefix_says() {
        let lan = network("10.1.0.0/16");
        assert!(lan.contains("10.1.255.3".parse().unwrap()));
        assert!(lan.contains("::ffff:10.1.0.1".parse().unwrap()));
        assert!(!lan.contains("10.2.0.1".parse().unwrap()));
        assert!(!lan.contains("fd00::1".parse().unwrap()));
        assert!(network("0.0.0.0/0").contains("192.0.2.1".parse().unwrap()));
        assert!(network("fd00::/8").contains("fd12::1".parse().unwrap()));
        assert!(network("192.0.2.7").contains("192.0.2.7".parse().unwrap()));
        assert!(Network::try_from("10.0.0.0/33".to_owned()).is_err());
        assert!(Network::try_from("lan".to_owned()).is_err());
    }
}
