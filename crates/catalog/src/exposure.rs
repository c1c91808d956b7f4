//! Reachability from outside: wishes in the agreed state, and the nouns that the face which wishes and the
//! face which opens share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::Index;
use crate::snapshot::Snapshot;
use crate::validate::{self, Invalid};

/// Most ports of one service's wish.
pub const MAX_PORTS: usize = 1024;
/// Most public names of one service's wish.
pub const MAX_NAMES: usize = 32;
/// Most services that wish something.
pub const MAX_EXPOSURES: usize = 4096;

/// What a port is a port of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A port with its protocol, shown as `443/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Port {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Number, never 0.
    pub number: u16,
}

/// Begins what a firewall attempts for one port.
const LET: &str = "let ";

impl Port {
    /// What a firewall attempts for it, in the words of its report: whoever reads one knows by them which port is meant.
    pub fn let_in(&self) -> String {
        format!("{LET}{self} in")
    }

    /// The same by IPv6 alone.
    pub fn let_in_by_ipv6(&self) -> String {
        format!("{LET}{self} in by IPv6")
    }

    /// True when a report is about one port in these words, and not about the firewall as a whole.
    pub fn is_about_one(attempted: &str) -> bool {
        attempted.starts_with(LET)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// Ports of this host that others may reach: whole, never a difference. Whatever is not in it is closed, as
/// far as we opened it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Openings {
    /// Counts up with every change; a report names the one that holds.
    pub generation: u64,
    /// Port to the service that asked, for people who read the ruleset.
    pub ports: BTreeMap<Port, Arc<str>>,
}

/// What the public listeners of this node serve: whole, never a difference. Whoever asks for another name is
/// answered that there is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Front {
    /// Public name, perhaps `*.` and a suffix, to the service behind it.
    pub sites: BTreeMap<Arc<str>, Arc<str>>,
    /// Port at which the world finds HTTPS.
    pub https: u16,
}

impl Front {
    /// The service behind a name in lower case.
    pub fn service(&self, name: &str) -> Option<&Arc<str>> {
        let below = || self.sites.get(&*format!("*.{}", name.split_once('.')?.1));
        self.sites.get(name).or_else(below)
    }
}

/// What clients inside this node's home are answered for public names: whole, never a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indoors {
    /// Networks whose clients are inside: an address in each, and the length of its prefix.
    pub networks: Vec<(IpAddr, u8)>,
    /// Public name, perhaps `*.` and a suffix, to addresses inside at which everything answers that the world finds.
    pub names: BTreeMap<Arc<str>, BTreeSet<IpAddr>>,
}

/// A port that stands for itself, written `22/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WrittenPort(pub Port);

impl TryFrom<String> for WrittenPort {
    type Error = String;

    fn try_from(text: String) -> Result<WrittenPort, String> {
        match text.parse() {
            Ok(PortPair { external, internal: None }) => Ok(WrittenPort(external)),
            _ => Err(format!("{text:?} is no port: it is written like 22/tcp or 53/udp")),
        }
    }
}

impl From<WrittenPort> for String {
    fn from(WrittenPort(port): WrittenPort) -> String {
        port.to_string()
    }
}

/// A port outside, and where it leads. Written `443:8443/tcp`; `443/tcp` leads to the port that the instance is
/// registered with, and TCP need not be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PortPair {
    /// Port at the router, which clients outside dial.
    pub external: Port,
    /// Port of the instance; the one it is registered with when there is none.
    pub internal: Option<u16>,
}

impl fmt::Display for PortPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Port { protocol, number } = self.external;
        match self.internal {
            Some(internal) => write!(f, "{number}:{internal}/{protocol}"),
            None => write!(f, "{number}/{protocol}"),
        }
    }
}

impl From<PortPair> for String {
    fn from(pair: PortPair) -> String {
        pair.to_string()
    }
}

impl TryFrom<String> for PortPair {
    type Error = Invalid;

    fn try_from(text: String) -> Result<PortPair, Invalid> {
        text.parse()
    }
}

impl FromStr for PortPair {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<PortPair, Invalid> {
        let broken = || Invalid::new("port", text, "it is not written like 443:8443/tcp, 443:8443 or 53/udp");
        let (ports, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(broken()),
        };
        let number = |text: &str| {
            let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = is_plain.then(|| text.parse().ok()).flatten();
            number.filter(|number| *number != 0).ok_or_else(broken)
        };
        let (external, internal) = match ports.split_once(':') {
            None => (number(ports)?, None),
            Some((external, internal)) => (number(external)?, Some(number(internal)?)),
        };
        Ok(PortPair { external: Port { protocol, number: external }, internal })
    }
}

/// The wish that a service be reachable from outside. There is one for each service: whole, never a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExposureDef {
    /// Service by its name.
    pub service: Arc<str>,
    /// Ports, each external one once.
    pub ports: Vec<PortPair>,
    /// Public names that shall lead to it: lower case, no dot at the end.
    #[serde(default)]
    pub names: Vec<Arc<str>>,
    /// Node that shall expose it, although instances may be elsewhere; empty for every node that has one.
    #[serde(default)]
    pub via: Arc<str>,
    /// Reachable by HTTPS under its names: this node's proxy ends TLS, on the port that it has for all of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub https: bool,
}

impl ExposureDef {
    /// # Errors
    /// [`Invalid`] with the rule that is broken.
    pub fn validate(&self) -> Result<(), Invalid> {
        validate::label("service name", &self.service)?;
        if self.https && self.names.is_empty() {
            return Err(Invalid::new("names", "", "HTTPS is for names: at least one is due"));
        }
        if (self.ports.is_empty() && !self.https) || self.ports.len() > MAX_PORTS {
            let rule = format!("1 to {MAX_PORTS} are exposed");
            return Err(Invalid::new("ports", &self.ports.len().to_string(), rule));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.ports.iter().find(|pair| !seen.insert(pair.external)) {
            return Err(Invalid::new("port", &twice.to_string(), "it is named twice"));
        }
        if self.names.len() > MAX_NAMES {
            let rule = format!("at most {MAX_NAMES} lead to one service");
            return Err(Invalid::new("names", &self.names.len().to_string(), rule));
        }
        self.names.iter().try_for_each(|name| match public_name(name) {
            Ok(read) if read == *name => Ok(()),
            Ok(_) => Err(Invalid::new("public name", name, "lower case and no dot at the end is due")),
            Err(rule) => Err(Invalid::new("public name", name, rule)),
        })?;
        if self.via.is_empty() { Ok(()) } else { validate::node_name(&self.via) }
    }
}

/// A wish that is agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// What is wished.
    pub def: ExposureDef,
    /// Index of its first registration.
    pub create_index: Index,
    /// Index of its last change.
    pub modify_index: Index,
}

/// Wishes about exposures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExposureCommand {
    /// Sets what is wished for a service, whether or not it is registered.
    Set(ExposureDef),
    /// Takes it away.
    Remove {
        /// Service by its name.
        service: Arc<str>,
    },
}

impl Snapshot {
    /// What is wished for a service.
    pub fn exposure(&self, service: &str) -> Option<&Arc<Exposure>> {
        self.exposures.get(service)
    }

    pub(crate) fn restore_exposure(&mut self, exposure: Exposure) {
        self.exposures.insert(exposure.def.service.clone(), Arc::new(exposure));
    }

    /// All of them, by service.
    pub fn exposures(&self) -> impl Iterator<Item = &Arc<Exposure>> {
        self.exposures.values()
    }
}

/// A public name in one spelling: lower case, no dot at the end.
///
/// # Errors
/// Why it is none: RFC 1035 section 2.3.4 for lengths; letters, digits, hyphens, underscores, and an
/// asterisk as the first label.
pub fn public_name(text: &str) -> Result<Arc<str>, &'static str> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.len() > 253 {
        return Err("a name has at most 253 characters");
    }
    let labels: Vec<&str> = name.split('.').collect();
    if labels.len() < 2 {
        return Err("a public name has a dot in it");
    }
    for (at, label) in labels.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_wildcard = at == 0 && *label == "*";
        if label.is_empty() || label.len() > 63 || !(is_wildcard || label.chars().all(plain)) {
            return Err("not a name: labels of 1 to 63 letters, digits and hyphens, with dots between");
        }
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_knows_names_and_those_below_a_suffix() {
        let site = |name: &str, service: &str| (Arc::from(name), Arc::from(service));
        let sites = [site("a.example", "a"), site("*.b.example", "b")].into();
        let front = Front { sites, https: 443 };
        let service = |name| front.service(name).map(|service| &**service);
        assert_eq!((service("a.example"), service("x.b.example")), (Some("a"), Some("b")));
        assert_eq!(
            (service("b.example"), service("y.x.b.example"), service("x.a.example")),
            (None, None, None)
        );
    }

    #[test]
    fn pairs_are_read_as_they_are_written() {
        for text in ["443:8443/tcp", "443/tcp", "53:5353/udp", "53/udp"] {
            assert_eq!(text.parse::<PortPair>().map(|pair| pair.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("443:8443".parse::<PortPair>().map(|pair| pair.to_string()), Ok("443:8443/tcp".into()));
        for bad in ["", "0", "65536", "+80", "80:", ":80", "80:0", "80/sctp", "80/TCP", "a", "1:2:3", "80 "] {
            assert!(bad.parse::<PortPair>().is_err(), "{bad:?}");
        }
    }
}
