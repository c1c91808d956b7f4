//! One name's facts, compact: answers are written from them, not copied.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::Arc;

use catalog::{InstanceDef, NodeDef};

use crate::lookup::Spot;
use crate::wire::name::LowerName;
use crate::zone::table::Keyed;
use crate::zone::tags::Tags;

/// A service.
#[derive(Debug, PartialEq)]
pub(crate) struct ServiceEntry {
    pub(crate) label: Label,
    /// Its stable address.
    pub(crate) virtual_ip: Option<Ipv4Addr>,
    /// Where programs on this host reach it by that, once somebody listens.
    pub(crate) spot: Option<Spot>,
    /// Seconds that answers from our zone may be cached.
    pub(crate) ttl: u32,
    /// Some endpoint is a host name: answers are made on the slow path.
    pub(crate) has_hosts: bool,
    /// Some endpoint that our zone gives out has a port.
    pub(crate) has_ports: bool,
    /// Two instances share one place, and only one of them is here.
    pub(crate) hides: bool,
    /// Those that our zone gives out, then the others; both by place.
    pub(crate) endpoints: Box<[EndpointEntry]>,
    /// How many endpoints our zone gives out.
    pub(crate) healthy: u32,
    /// Which endpoints are the first of their IP address; `None` when every one is.
    pub(crate) firsts: Option<Box<[u32]>>,
    /// How many of those our zone gives out.
    pub(crate) healthy_firsts: u32,
    /// How many are IPv4 addresses, which stand before the others: of those that our zone gives out, and of the rest.
    pub(crate) v4_firsts: [u32; 2],
    /// Tags of its endpoints. Where it was made for one question these are left out.
    pub(crate) tags: Tags,
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

    /// True when the address is its own, not its node's.
    pub(crate) fn is_own(&self) -> bool {
        !self.def.address.is_empty()
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

/// Which IP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// That of an address.
    pub(crate) fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

impl ServiceEntry {
    /// Endpoints that our zone gives out.
    pub(crate) fn healthy(&self) -> &[EndpointEntry] {
        &self.endpoints[..self.healthy as usize]
    }

    /// Endpoints that only Consul's zone gives out.
    pub(crate) fn others(&self) -> &[EndpointEntry] {
        &self.endpoints[self.healthy as usize..]
    }

    /// Endpoints in a row that starts anywhere: `turn` is a random number.
    pub(crate) fn rotated(&self, which: Which, turn: u32) -> impl Iterator<Item = &EndpointEntry> {
        let all = match which {
            Which::Healthy => self.healthy(),
            Which::Usable => &self.endpoints[..],
        };
        let (before, after) = all.split_at(start(all.len(), turn));
        after.iter().chain(before)
    }

    /// Every IP address of one family once, in a row that starts anywhere.
    pub(crate) fn rotated_addresses(
        &self,
        which: Which,
        family: Family,
        turn: u32,
    ) -> impl Iterator<Item = IpAddr> {
        let [healthy, others] = self.ranges(which, family);
        let count = healthy.len() + others.len();
        let from = start(count, turn);
        let place = move |at: usize| match at.checked_sub(healthy.len()) {
            None => healthy.start + at,
            Some(at) => others.start + at,
        };
        let firsts = self.firsts.as_deref();
        (from..count).chain(0..from).map(place).filter_map(move |at| match firsts {
            Some(firsts) => self.endpoints[firsts[at] as usize].ip(),
            None => self.endpoints[at].ip(),
        })
    }

    /// Where the first endpoints of one family stand among the first ones.
    fn ranges(&self, which: Which, family: Family) -> [Range<usize>; 2] {
        let all = self.firsts.as_ref().map_or(self.endpoints.len(), |firsts| firsts.len());
        let healthy = self.healthy_firsts as usize;
        let [first_v6, other_v6] = [self.v4_firsts[0] as usize, healthy + self.v4_firsts[1] as usize];
        match (which, family) {
            (Which::Healthy, Family::V4) => [0..first_v6, 0..0],
            (Which::Healthy, Family::V6) => [first_v6..healthy, 0..0],
            (Which::Usable, Family::V4) => [0..first_v6, healthy..other_v6],
            (Which::Usable, Family::V6) => [first_v6..healthy, other_v6..all],
        }
    }

    /// How many IP addresses of a family there are.
    pub(crate) fn addresses(&self, which: Which, family: Family) -> usize {
        self.ranges(which, family).map(|range| range.len()).iter().sum()
    }

    /// Its name as registered.
    pub(crate) fn name(&self) -> Arc<str> {
        match self.endpoints.first() {
            Some(endpoint) => endpoint.def.service.clone(),
            None => String::from_utf8_lossy(self.label.as_bytes()).into(),
        }
    }

    /// Addresses that its endpoints have of their own, unsorted. What an endpoint has from its node is the
    /// node's.
    pub(crate) fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.endpoints.iter().filter(|endpoint| endpoint.is_own()).filter_map(EndpointEntry::ip)
    }

    /// True when `ip` is one of them.
    pub(crate) fn has_own_address(&self, ip: IpAddr) -> bool {
        [self.healthy(), self.others()].iter().any(|part| {
            let same = part[first_at(part, ip)..].iter().take_while(|endpoint| endpoint.ip() == Some(ip));
            same.into_iter().any(EndpointEntry::is_own)
        })
    }

    /// True when there is an endpoint to give out.
    pub(crate) fn has(&self, which: Which) -> bool {
        match which {
            Which::Healthy => self.healthy > 0,
            Which::Usable => !self.endpoints.is_empty(),
        }
    }
}

/// Where the endpoints at `ip` start in a part, which is sorted by place.
pub(crate) fn first_at(part: &[EndpointEntry], ip: IpAddr) -> usize {
    part.partition_point(|endpoint| endpoint.place() < (&Address::Ip(ip), 0))
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

/// A DNS label. All but very long ones are in the entry itself: one memory access less for every query.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Label {
    /// Length and bytes.
    Short(u8, [u8; 22]),
    /// The rest.
    Long(Box<[u8]>),
}

impl Label {
    /// `text` in lower case; `None` when it is no label.
    pub(crate) fn new(text: &str) -> Option<Label> {
        let mut short = [0; 22];
        match (text.len(), short.get_mut(..text.len())) {
            (0 | 64.., _) => None,
            (length, Some(bytes)) => {
                bytes.copy_from_slice(text.as_bytes());
                bytes.make_ascii_lowercase();
                Some(Label::Short(length as u8, short))
            }
            (_, None) => Some(Label::Long(text.to_ascii_lowercase().into_bytes().into())),
        }
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Label::Short(length, bytes) => &bytes[..usize::from(*length)],
            Label::Long(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}
