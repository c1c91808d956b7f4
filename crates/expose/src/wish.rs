//! Wishes to be reachable from outside, and why some cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use catalog::exposure::{Port, PortPair, Protocol};

/// Everything that is wished on this host: whole, never a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Ports to be opened and mapped.
    pub ports: BTreeSet<PortWish>,
    /// Public names to lead here.
    pub names: BTreeSet<NameWish>,
    /// What asked for something and cannot be read.
    pub complaints: Vec<Complaint>,
    /// What the source knows of this host's place in the world.
    pub place: Place,
    /// Wishes that nothing can be done for now.
    pub waiting: Vec<Waiting>,
    /// Names that are served by HTTPS.
    pub sites: BTreeSet<SiteWish>,
    /// Ports of this host that lead to a service elsewhere.
    pub doors: BTreeSet<DoorWish>,
    /// Public names that another node of this home has, with its addresses inside.
    pub neighbours: BTreeMap<Arc<str>, BTreeSet<IpAddr>>,
    /// Other nodes of this home: a name that one of them showed may be shown by this one instead.
    pub siblings: BTreeSet<Arc<str>>,
}

/// A port of this host that its proxy leads to a service on another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DoorWish {
    /// On this host.
    pub port: Port,
    /// Service behind it.
    pub service: Arc<str>,
}

/// A name that the proxy serves by HTTPS for a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SiteWish {
    /// Lower case, without the dot at the end.
    pub name: Arc<str>,
    /// Service behind it.
    pub service: Arc<str>,
}

/// A wish that waits for its service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// Service that wishes it.
    pub service: Arc<str>,
    /// Ports at the router, as they were wished.
    pub ports: Vec<PortPair>,
    /// Public names.
    pub names: Vec<Arc<str>>,
    /// What is missing.
    pub on: Missing,
    /// Why, in words.
    pub why: String,
}

/// What a wish waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// An instance on this host.
    Service,
    /// One that passes its checks.
    Health,
    /// A listener of this node's proxy for the world.
    Front,
    /// Another node of this home has it.
    Turn,
}

/// A port of this host that others outside may reach.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortWish {
    /// Port at the router, and what clients outside dial.
    pub external: Port,
    /// Port of the service on this host.
    pub internal: u16,
    /// Service that wishes it.
    pub service: Arc<str>,
}

/// A public name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameWish {
    /// Lower case, without the dot at the end.
    pub name: Arc<str>,
    /// What it leads to.
    pub kind: NameKind,
    /// Service that wishes it.
    pub service: Arc<str>,
    /// Nothing is said when this host has no such address.
    pub is_optional: bool,
}

/// What a name of a service says, `_sip._tcp.example.org`: the protocol, and the host that it is below. RFC 2782.
pub fn srv(name: &str) -> Option<(Protocol, &str)> {
    let (service, rest) = name.split_once('.')?;
    let (protocol, host) = rest.split_once('.')?;
    let protocol = match protocol {
        "_tcp" => Protocol::Tcp,
        "_udp" => Protocol::Udp,
        _ => return None,
    };
    (service.starts_with('_') && host.contains('.')).then_some((protocol, host))
}

/// The host that a public name leads to: itself, unless it is one of a service.
pub fn host(name: &str) -> &str {
    srv(name).map_or(name, |(_, host)| host)
}

/// What a public name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameKind {
    /// This host's public IPv4 address.
    A,
    /// This host's public IPv6 address.
    Aaaa,
    /// Another name of this host's.
    Cname,
    /// A host and a port of a service.
    Srv,
    /// Text.
    Txt,
}

impl NameKind {
    /// Its mnemonic: RFC 1035, RFC 2782.
    pub fn word(self) -> &'static str {
        match self {
            NameKind::A => "A",
            NameKind::Aaaa => "AAAA",
            NameKind::Cname => "CNAME",
            NameKind::Srv => "SRV",
            NameKind::Txt => "TXT",
        }
    }
}

/// What an operator said of this host's place, in the catalog's metadata of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// `public_ipv4`.
    pub public_ipv4: Option<std::net::Ipv4Addr>,
    /// `public_ipv6`.
    pub public_ipv6: Option<std::net::Ipv6Addr>,
    /// `cname_target`, as [`NameWish::name`].
    pub cname_target: Option<Arc<str>>,
}

/// A tag that means us and cannot be read: nothing of it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Service id.
    pub service: Arc<str>,
    /// The tag, shortened when it is long.
    pub tag: String,
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub why: String,
}

impl Wishes {
    /// Everything of both. What a host said of its place, the first one counts.
    #[must_use]
    pub fn and(mut self, other: &Wishes) -> Wishes {
        self.ports.extend(other.ports.iter().cloned());
        self.names.extend(other.names.iter().cloned());
        self.complaints.extend(other.complaints.iter().cloned());
        self.waiting.extend(other.waiting.iter().cloned());
        self.sites.extend(other.sites.iter().cloned());
        self.doors.extend(other.doors.iter().cloned());
        self.siblings.extend(other.siblings.iter().cloned());
        for (name, addresses) in &other.neighbours {
            self.neighbours.entry(name.clone()).or_default().extend(addresses);
        }
        let Place { public_ipv4, public_ipv6, cname_target } = &other.place;
        self.place.public_ipv4 = self.place.public_ipv4.or(*public_ipv4);
        self.place.public_ipv6 = self.place.public_ipv6.or(*public_ipv6);
        self.place.cname_target = self.place.cname_target.or_else(|| cname_target.clone());
        self
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Complaint { service, tag, column, why } = self;
        write!(f, "service \"{service}\", tag \"{tag}\", column {column}: {why}")
    }
}
