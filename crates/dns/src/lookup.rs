//! What stands at a name, for whoever asks. Both answer paths ask here, so they cannot disagree on it.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV4};
use std::sync::Arc;

use route::VirtualSocket;

use crate::names::{Apex, Asked, Names, Otherwise, Tag};
use crate::zone::Zone;
use crate::zone::entry::{EndpointEntry, NodeEntry, ServiceEntry, Which};
use crate::zone::redirected::Led;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// A program on this host.
    pub(crate) is_local: bool,
    /// What it gets where a virtual address is not open.
    pub(crate) when_closed: WhenClosed,
}

/// What to do about a virtual address on which nobody listens here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenClosed {
    /// Say so: it shall be opened.
    Open,
    /// Give endpoints: it cannot be opened.
    Endpoints,
    /// It was opened just now, and the zone does not know it yet.
    Use(Spot),
}

/// Where a virtual address is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) socket: SocketAddrV4,
    /// The same by IPv6, where there is one.
    pub(crate) six: Option<Ipv6Addr>,
}

impl Spot {
    pub(crate) fn of(socket: &VirtualSocket) -> Spot {
        Spot { socket: socket.address, six: socket.six }
    }

    /// Its addresses.
    pub(crate) fn ips(self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(IpAddr::V4(*self.socket.ip())).chain(self.six.map(IpAddr::V6))
    }
}

/// What stands at a name.
#[derive(Debug)]
pub(crate) enum Found<'z> {
    /// Endpoints of a service.
    Endpoints(Selection<'z>),
    /// A service's virtual address, with the port that is open here.
    Virtual { entry: &'z Arc<ServiceEntry>, spot: Spot, apex: Apex },
    /// The same before anybody listens there.
    Closed { entry: &'z Arc<ServiceEntry> },
    /// What a prepared query finds: it is run on the slow path.
    Prepared { name: &'z [u8] },
    /// A node.
    Node { entry: &'z Arc<NodeEntry>, apex: Apex },
    /// The address that is written in the name.
    Address { ip: IpAddr, apex: Apex },
    /// Who stands at an address.
    Holders { ip: IpAddr },
    /// The top of a zone.
    Top(Apex),
    /// The name exists, with nothing at it.
    Empty(Apex),
    /// No such name in our zones.
    Missing(Apex),
    /// Not ours to answer.
    Foreign,
}

/// Some endpoints of a service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection<'z> {
    pub(crate) entry: &'z Arc<ServiceEntry>,
    pub(crate) which: Which,
    pub(crate) tag: Option<Tag<'z>>,
    pub(crate) apex: Apex,
    /// Seconds that answers may be cached, where a prepared query says so.
    pub(crate) ttl_s: Option<u32>,
}

/// Rules that do not change while the daemon runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Local clients get virtual addresses.
    pub(crate) virtual_ips: bool,
    /// What Consul's zone gives out.
    pub(crate) consul: Which,
}

/// Looks up what `asked` stands for.
pub(crate) fn lookup<'z>(zone: &'z Zone, rules: Rules, asked: Asked<'z>, client: Client) -> Found<'z> {
    match asked {
        Asked::Service { label, endpoints, apex, otherwise } => match behind(zone, label) {
            Behind::Entry(entry) => service(entry, rules, client, endpoints, apex),
            Behind::Elsewhere { own, entry } => match own {
                // Whoever listens there leads every connection on, which is more than an answer can.
                Some(own) if rules.virtual_ips && !endpoints && entry.has(Which::Healthy) => {
                    let found = virtual_address(own, client, apex);
                    found.unwrap_or_else(|| service(entry, rules, client, endpoints, apex))
                }
                _ => service(entry, rules, client, endpoints, apex),
            },
            Behind::Nothing => Found::Empty(apex),
            Behind::Unknown => match otherwise {
                Otherwise::Missing => Found::Missing(apex),
                Otherwise::Empty => Found::Empty(apex),
                Otherwise::Foreign => Found::Foreign,
            },
        },
        Asked::ConsulService { label, tag } => {
            let (which, apex) = (rules.consul, Apex::Consul);
            let selection =
                behind(zone, label).entry().map(|entry| Selection { entry, which, tag, apex, ttl_s: None });
            match selection.filter(Selection::is_any) {
                Some(selection) => Found::Endpoints(selection),
                // Consul says "no such name" where nothing is healthy, and its clients wait for that.
                None => Found::Missing(apex),
            }
        }
        Asked::ConsulVirtual { label } => match zone.service(label).or_else(|| behind(zone, label).entry()) {
            // For others, 127.77.x.y would be their own loopback.
            Some(entry) => virtual_address(entry, client, Apex::Consul).unwrap_or(Found::Empty(Apex::Consul)),
            None => Found::Missing(Apex::Consul),
        },
        Asked::ConsulQuery { name } => Found::Prepared { name },
        Asked::Node { key, apex } => match zone.nodes.get(key) {
            Some(entry) => Found::Node { entry, apex },
            None => Found::Missing(apex),
        },
        Asked::Address { ip, apex } => Found::Address { ip, apex },
        Asked::Reverse(ip) => reverse(zone, ip),
        Asked::Top(apex) => Found::Top(apex),
        Asked::Empty(apex) => Found::Empty(apex),
        Asked::Missing(apex) => Found::Missing(apex),
        Asked::Foreign => Found::Foreign,
    }
}

/// What stands behind a service's name, once redirections were followed.
enum Behind<'z> {
    Entry(&'z Arc<ServiceEntry>),
    /// What it leads to, and what is registered under the name itself.
    Elsewhere {
        own: Option<&'z Arc<ServiceEntry>>,
        entry: &'z Arc<ServiceEntry>,
    },
    /// It leads to something that has no address.
    Nothing,
    /// Nobody has the name.
    Unknown,
}

impl<'z> Behind<'z> {
    fn entry(self) -> Option<&'z Arc<ServiceEntry>> {
        match self {
            Behind::Entry(entry) | Behind::Elsewhere { entry, .. } => Some(entry),
            Behind::Nothing | Behind::Unknown => None,
        }
    }
}

#[inline]
fn behind<'z>(zone: &'z Zone, label: &'z [u8]) -> Behind<'z> {
    let own = zone.service(label);
    let to = match zone.led(label) {
        None => return own.map_or(Behind::Unknown, Behind::Entry),
        Some(Led::Nowhere) => None,
        Some(Led::Place(entry)) => Some(entry),
        Some(Led::Service(name)) => match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => zone.service(name.to_ascii_lowercase().as_bytes()),
            false => zone.service(name.as_bytes()),
        },
    };
    to.map_or(Behind::Nothing, |entry| Behind::Elsewhere { own, entry })
}

/// The name of a service in our zone: who asks decides.
fn service<'z>(
    entry: &'z Arc<ServiceEntry>,
    rules: Rules,
    client: Client,
    endpoints: bool,
    apex: Apex,
) -> Found<'z> {
    if !entry.has(Which::Healthy) {
        return Found::Empty(apex);
    }
    if rules.virtual_ips
        && !endpoints
        && let Some(found) = virtual_address(entry, client, apex)
    {
        return found;
    }
    Found::Endpoints(Selection { entry, which: Which::Healthy, tag: None, apex, ttl_s: None })
}

fn virtual_address(entry: &Arc<ServiceEntry>, client: Client, apex: Apex) -> Option<Found<'_>> {
    match entry.spot {
        _ if !client.is_local || entry.virtual_ip.is_none() => None,
        Some(spot) => Some(Found::Virtual { entry, spot, apex }),
        None => match client.when_closed {
            WhenClosed::Open => Some(Found::Closed { entry }),
            WhenClosed::Endpoints => None,
            WhenClosed::Use(spot) => Some(Found::Virtual { entry, spot, apex }),
        },
    }
}

fn reverse(zone: &Zone, ip: IpAddr) -> Found<'_> {
    if zone.holders(ip).next().is_some() {
        return Found::Holders { ip };
    }
    let range = &zone.snapshot.settings().virtual_ips;
    match ip {
        // Nobody else can say anything of our own range.
        IpAddr::V4(v4) if range.contains(v4) => {
            let octets = usize::from(range.prefix / 8);
            Found::Missing(Apex::Reverse(octets + 2))
        }
        IpAddr::V6(v6) => match zone.six.filter(|network| network.contains(v6)) {
            Some(network) => Found::Missing(Apex::Reverse(usize::from(network.prefix / 4) + 2)),
            None => Found::Foreign,
        },
        IpAddr::V4(_) => Found::Foreign,
    }
}

impl Selection<'_> {
    fn is_any(&self) -> bool {
        self.entry.has(self.which) && self.most() > 0
    }

    /// So many endpoints at most: whoever has found as many need not look at the rest.
    pub(crate) fn most(&self) -> usize {
        self.tag.map_or(usize::MAX, |tag| self.entry.tags.count(tag, self.which))
    }

    /// True when an SRV record is made of `endpoint`: our zone gives out what can be dialed; Consul's gives out port 0, as
    /// Consul does.
    pub(crate) fn gives(&self, endpoint: &EndpointEntry) -> bool {
        endpoint.port != 0 || self.apex == Apex::Consul
    }

    /// False when there is none of which one is made.
    pub(crate) fn has_ports(&self) -> bool {
        self.entry.has_ports || self.apex == Apex::Consul
    }

    /// True when an endpoint with these tags is asked for.
    pub(crate) fn takes(&self, tags: &[Arc<str>]) -> bool {
        self.tag.is_none_or(|asked| tags.iter().any(|tag| asked.matches(tag)))
    }
}

impl Names {
    /// How many bytes of the question's name stand before the start of authority that covers it.
    pub(crate) fn before_apex(&self, name: &crate::wire::name::LowerName, apex: Apex) -> usize {
        let length = name.as_wire().len();
        match apex {
            Apex::Own => 0,
            Apex::Zone => length - self.zone.as_wire().len().min(length),
            Apex::Consul => {
                length - self.consul.as_ref().map_or(0, |domain| domain.as_wire().len()).min(length)
            }
            Apex::Reverse(labels) => name.first(name.labels().saturating_sub(labels)).len(),
        }
    }
}
