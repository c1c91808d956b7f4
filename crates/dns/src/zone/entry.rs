//! One name's facts, compact: answers are written from them, not copied.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use catalog::{InstanceDef, NodeDef};

use crate::wire::name::LowerName;
use crate::zone::table::Keyed;

/// A service.
#[derive(Debug, PartialEq)]
pub(crate) struct ServiceEntry {
    pub(crate) label: Label,
    /// Name as registered.
    pub(crate) name: Arc<str>,
    /// Its stable address.
    pub(crate) virtual_ip: Option<Ipv4Addr>,
    /// Where programs on this host reach it by that, once somebody listens.
    pub(crate) socket: Option<SocketAddrV4>,
    /// Seconds that answers from our zone may be cached.
    pub(crate) ttl: u32,
    /// Some endpoint is a host name: answers are made on the slow path.
    pub(crate) has_hosts: bool,
    /// Those that our zone gives out come first; in both parts each address's first endpoint comes before
    /// the rest, so that an address answer is one or two plain runs.
    pub(crate) endpoints: Box<[EndpointEntry]>,
    /// How many endpoints our zone gives out.
    pub(crate) healthy: u32,
    /// How many different IP addresses those have.
    pub(crate) healthy_addresses: u32,
    /// How many more IP addresses the others have.
    pub(crate) other_addresses: u32,
}

/// Where one instance is dialed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EndpointEntry {
    pub(crate) address: Address,
    pub(crate) port: u16,
    pub(crate) weight: u16,
    pub(crate) node: Arc<str>,
    pub(crate) def: Arc<InstanceDef>,
}

/// An IP address, or a name that somebody else resolves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Address {
    Ip(IpAddr),
    Host(Arc<str>),
}

impl EndpointEntry {
    /// What tells one record from another.
    pub(crate) fn place(&self) -> (&Address, u16) {
        (&self.address, self.port)
    }

    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self.address {
            Address::Ip(ip) => Some(ip),
            Address::Host(_) => None,
        }
    }
}

/// Which endpoints of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Passing, with a weight above zero.
    Healthy,
    /// Those that warn, too.
    Usable,
}

impl ServiceEntry {
    /// Endpoints in a row that starts anywhere: `turn` is a random number.
    pub(crate) fn rotated(&self, which: Which, turn: u32) -> impl Iterator<Item = &EndpointEntry> {
        let all = match which {
            Which::Healthy => &self.endpoints[..self.healthy as usize],
            Which::Usable => &self.endpoints[..],
        };
        let (before, after) = all.split_at(start(all.len(), turn));
        after.iter().chain(before)
    }

    /// The first endpoint of every IP address, in a row that starts anywhere.
    pub(crate) fn rotated_addresses(&self, which: Which, turn: u32) -> impl Iterator<Item = &EndpointEntry> {
        let first = &self.endpoints[..self.healthy_addresses as usize];
        let others = match which {
            Which::Healthy => &[],
            Which::Usable => &self.endpoints[self.healthy as usize..][..self.other_addresses as usize],
        };
        let at = start(first.len() + others.len(), turn);
        let (first_before, first_after) = first.split_at(at.min(first.len()));
        let (others_before, others_after) = others.split_at(at.saturating_sub(first.len()));
        // Exactly one of the two is split inside; around it the row keeps its order.
        first_after.iter().chain(others_after).chain(first_before).chain(others_before)
    }

    /// Addresses that it stands at, sorted, each once.
    pub(crate) fn holds(&self) -> Vec<IpAddr> {
        let endpoints = self.rotated_addresses(Which::Usable, 0).filter_map(EndpointEntry::ip);
        let mut holds: Vec<_> = endpoints.chain(self.virtual_ip.map(IpAddr::V4)).collect();
        holds.sort_unstable();
        holds.dedup();
        holds
    }

    /// True when there is an endpoint to give out.
    pub(crate) fn has(&self, which: Which) -> bool {
        match which {
            Which::Healthy => self.healthy > 0,
            Which::Usable => !self.endpoints.is_empty(),
        }
    }
}

fn start(length: usize, turn: u32) -> usize {
    ((u64::from(turn) * length as u64) >> 32) as usize
}

impl Keyed for ServiceEntry {
    fn key(&self) -> &[u8] {
        self.label.as_bytes()
    }
}

/// A host.
#[derive(Debug, PartialEq)]
pub(crate) struct NodeEntry {
    /// Labels of its name with their length bytes, lower case.
    pub(crate) key: Box<[u8]>,
    /// Its IP addresses; the one it registered first.
    pub(crate) addresses: Box<[IpAddr]>,
    /// As registered.
    pub(crate) def: Arc<NodeDef>,
}

impl NodeEntry {
    /// What the zone keeps of a node; `None` when its name is no DNS name.
    pub(crate) fn new(def: &Arc<NodeDef>) -> Option<NodeEntry> {
        let key = node_key(&def.name)?;
        let tagged = ["lan_ipv4", "lan_ipv6"].into_iter().filter_map(|tag| def.tagged_addresses.get(tag));
        let mut addresses: Vec<IpAddr> = Vec::new();
        for ip in std::iter::once(&def.address).chain(tagged).filter_map(|text| text.parse::<IpAddr>().ok()) {
            if !addresses.contains(&ip.to_canonical()) {
                addresses.push(ip.to_canonical());
            }
        }
        Some(NodeEntry { key, addresses: addresses.into(), def: def.clone() })
    }

    /// Addresses that it stands at, sorted, each once.
    pub(crate) fn holds(&self) -> Vec<IpAddr> {
        let mut holds = self.addresses.to_vec();
        holds.sort_unstable();
        holds
    }

    /// The name that it resolves to, where it has no address of its own.
    pub(crate) fn host(&self) -> Option<&str> {
        (self.addresses.is_empty() && !self.def.address.is_empty()).then_some(&*self.def.address)
    }
}

/// Labels of a node's name in lower case, with their length bytes; `None` when it is no DNS name.
pub(crate) fn node_key(name: &str) -> Option<Box<[u8]>> {
    let name = LowerName::parse(&name.to_ascii_lowercase()).filter(|name| name.labels() > 0)?;
    Some(name.as_wire().into())
}

impl Keyed for NodeEntry {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

/// A DNS label, in the entry itself: one memory access less for every query.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label {
    length: u8,
    bytes: [u8; 63],
}

impl Label {
    /// `text` in lower case; `None` when it is no label.
    pub(crate) fn new(text: &str) -> Option<Label> {
        let mut label = Label { length: text.len().try_into().ok()?, bytes: [0; 63] };
        label.bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        label.bytes.make_ascii_lowercase();
        (!text.is_empty()).then_some(label)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl std::fmt::Debug for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}
