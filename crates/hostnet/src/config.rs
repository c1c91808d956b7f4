//! Settings.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use catalog::virtual_ip::Range;
use route::Network6;
use serde::{Deserialize, Serialize};

/// Settings of virtual addresses on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses that services are given: a part of 127.0.0.0/8, which every program may bind; any private range
    /// with `transparent`. Unset: what the registry has agreed on before, 127.77.0.0/16 at first. Services keep the
    /// address that they have.
    pub range: Option<Virtual>,
    /// One listener for all virtual addresses and ports: the kernel leads connections and datagrams there (TPROXY). No
    /// program's own port is in the way then. Needs CAP_NET_ADMIN and nft.
    pub transparent: bool,
    /// The same by IPv6 with `transparent`: a unique local range like `fd00:77::/64`, of which each service has the address
    /// that ends in its IPv4 one. For this host alone, so nodes need not have the same.
    pub range_v6: Option<Range6>,
    /// Interfaces, such as `docker0`, whose hosts may reach the virtual addresses too. This host always may, and
    /// nobody else.
    pub reachable_from: Vec<Interface>,
    /// Lowest port taken where a service's own cannot be.
    pub fallback_first: u16,
    /// Highest of them.
    pub fallback_last: u16,
    /// Most virtual addresses open at once. A name beyond that is answered with endpoints.
    pub max_open: usize,
}

impl Default for Config {
    /// Below the ports that the kernel gives to clients (`net.ipv4.ip_local_port_range`).
    fn default() -> Self {
        Config {
            range: None,
            transparent: false,
            range_v6: None,
            reachable_from: Vec::new(),
            fallback_first: 20_000,
            fallback_last: 29_999,
            max_open: 4096,
        }
    }
}

impl Config {
    /// What contradicts itself, before anything is touched.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), String> {
        let range = self.range.map_or_else(Range::default, |range| range.0);
        if !self.transparent && !range.base.is_loopback() {
            return Err(format!(
                "hostnet.range {range} is not within 127.0.0.0/8: other addresses need hostnet.transparent = true"
            ));
        }
        if !self.transparent && self.range_v6.is_some() {
            return Err("hostnet.range_v6 needs hostnet.transparent = true".into());
        }
        if !self.transparent && !self.reachable_from.is_empty() {
            return Err("hostnet.reachable_from needs hostnet.transparent = true".into());
        }
        if range.base.is_loopback() && !self.reachable_from.is_empty() {
            return Err(format!(
                "{range} is every host's own: set hostnet.range to a private range, for others to reach it"
            ));
        }
        Ok(())
    }
}

/// A range of addresses that may be virtual, written like `127.77.0.0/16`: of loopback, or private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Virtual(pub Range);

impl TryFrom<String> for Virtual {
    type Error = String;

    fn try_from(text: String) -> Result<Virtual, String> {
        let range: Range = text.parse().map_err(|error: catalog::virtual_ip::NotARange| error.to_string())?;
        let [a, b, ..] = range.base.octets();
        let is_shared = a == 100 && (64..128).contains(&b);
        match range.base.is_loopback() || range.base.is_private() || is_shared {
            true => Ok(Virtual(range)),
            false => Err(format!("{text} is neither within 127.0.0.0/8 nor private: it is somebody's")),
        }
    }
}

impl From<Virtual> for String {
    fn from(Virtual(range): Virtual) -> String {
        range.to_string()
    }
}

/// A range of unique local addresses (RFC 4193), written like `fd00:77::/64`, with room for all of IPv4 in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range6 {
    base: Ipv6Addr,
    prefix: u8,
}

impl Range6 {
    /// The address of a service with this virtual one.
    pub fn address(&self, virtual_ip: Ipv4Addr) -> Ipv6Addr {
        self.network().like(virtual_ip)
    }

    /// The same for those who know no settings.
    pub fn network(&self) -> Network6 {
        Network6 { base: self.base, prefix: self.prefix }
    }
}

impl TryFrom<String> for Range6 {
    type Error = String;

    fn try_from(text: String) -> Result<Range6, String> {
        let read = || {
            let (base, prefix) = text.split_once('/')?;
            let (base, prefix): (Ipv6Addr, u8) = (base.parse().ok()?, prefix.parse().ok()?);
            let is_fit = (8..=96).contains(&prefix) && base.is_unique_local();
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix))?;
            is_fit.then(|| Range6 { base: Ipv6Addr::from_bits(base.to_bits() & mask), prefix })
        };
        read().ok_or_else(|| {
            format!("{text:?} is no range of unique local addresses like fd00:77::/64, with a prefix of 8 to 96 bits")
        })
    }
}

impl fmt::Display for Range6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl From<Range6> for String {
    fn from(range: Range6) -> String {
        range.to_string()
    }
}

/// A network interface by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interface(String);

impl Interface {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Interface {
    type Error = String;

    fn try_from(text: String) -> Result<Interface, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match (1..=15).contains(&text.len()) && text.chars().all(plain) {
            true => Ok(Interface(text)),
            false => Err(format!("{text:?} is no interface: 1 to 15 letters, digits, - _ and .")),
        }
    }
}

impl From<Interface> for String {
    fn from(Interface(name): Interface) -> String {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_nobodys_and_says_what_is_wrong() {
        let read = |text: &str| Virtual::try_from(text.to_owned());
        assert_eq!(read("127.5.0.0/20").map(String::from), Ok("127.5.0.0/20".to_owned()));
        for bad in ["127.5.0.0", "127.5.0.0/31", "127.0.0.0/7", "x/16"] {
            assert!(read(bad).is_err_and(|e| e.contains("like 127.77.0.0/16")), "{bad}");
        }
        assert!(read("45.83.0.0/16").is_err_and(|e| e.contains("somebody's")));
    }

    #[test]
    fn an_address_of_ipv6_ends_in_that_of_ipv4() {
        let range = Range6::try_from("fd00:77::9/64".to_owned()).unwrap();
        assert_eq!(range.to_string(), "fd00:77::/64");
        assert_eq!(range.address([10, 77, 1, 2].into()).to_string(), "fd00:77::a4d:102");
        for bad in ["2001:db8::/64", "fd00::/97", "fd00::", "fe80::/64", "::1/64"] {
            assert!(Range6::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_needs_the_kernel_says_so() {
        let range = Some(Virtual::try_from("10.77.0.0/16".to_owned()).unwrap());
        let from = vec![Interface::try_from("docker0".to_owned()).unwrap()];
        let plain = Config { range, ..Config::default() };
        assert!(plain.check().is_err_and(|why| why.contains("hostnet.transparent")));
        let led = Config { range, transparent: true, reachable_from: from.clone(), ..Config::default() };
        assert_eq!(led.check(), Ok(()));
        let loopback = Config { range: None, ..led };
        assert!(loopback.check().is_err_and(|why| why.contains("private range")));
        assert!(Interface::try_from("a;b".to_owned()).is_err());
    }
}
