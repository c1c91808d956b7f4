//! What this host answers from: an immutable value, made by `plan`, swapped whole.

mod case;
pub(crate) mod entry;
pub(crate) mod indoors;
pub(crate) mod kept;
pub(crate) mod redirected;
pub(crate) mod table;
pub(crate) mod tags;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use catalog::Snapshot;
use imbl::{OrdMap, OrdSet};
use route::{Network6, VirtualSocket};

pub(crate) use crate::zone::case::{MixedCase, lower};
use crate::zone::entry::{NodeEntry, ServiceEntry};
use crate::zone::indoors::Indoors;
use crate::zone::kept::Kept;
use crate::zone::redirected::{Led, Redirected};
use crate::zone::table::Table;

/// Every name that this host answers, at one index of the log.
#[derive(Clone, Default, PartialEq)]
pub struct Zone {
    /// What this was projected from.
    pub(crate) snapshot: Snapshot,
    /// How many nodes that had.
    pub(crate) nodes_registered: usize,
    pub(crate) services: Table<ServiceEntry>,
    pub(crate) nodes: Table<NodeEntry>,
    /// Which nodes stand at an address, and which services have endpoints there; names in lower case.
    pub(crate) node_addresses: Holders,
    pub(crate) service_addresses: Holders,
    pub(crate) service_case: MixedCase,
    pub(crate) node_case: MixedCase,
    pub(crate) virtual_sockets: OrdMap<Arc<str>, VirtualSocket>,
    pub(crate) own_addresses: Arc<[IpAddr]>,
    /// Where virtual addresses have their like.
    pub(crate) six: Option<Network6>,
    /// Names that lead elsewhere; `None` where none does, so that asking costs nothing.
    pub(crate) redirected: Option<Arc<Redirected>>,
    /// What prepared queries found.
    pub(crate) kept: Arc<Kept>,
    /// Public names of services of this home; `None` where there are none.
    pub(crate) indoors: Option<Arc<Indoors>>,
}

/// Names by address, IPv4 mapped into IPv6.
pub(crate) type Holders = OrdSet<(Ipv6Addr, Arc<str>)>;

/// Who stands at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder<'z> {
    Node(&'z str),
    Service(&'z str),
}

impl Zone {
    /// Index of the snapshot that this was projected from.
    pub fn index(&self) -> u64 {
        self.snapshot.index()
    }

    /// How many services it answers for.
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// How many nodes it answers for.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// True when who asks from `address` is a program on this host.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.own_addresses.contains(&address)
    }

    /// Serial number of its start of authority (RFC 1982 arithmetic, so the lower half of the index).
    pub(crate) fn serial(&self) -> u32 {
        self.snapshot.index() as u32
    }

    /// Who stands at an address, in a stable order: its nodes, because a host's own name says more than those
    /// of the services on it; or else services, by endpoint and by virtual address.
    pub(crate) fn holders(&self, ip: IpAddr) -> impl Iterator<Item = Holder<'_>> {
        let mut nodes = names_at(&self.node_addresses, ip).map(Holder::Node).peekable();
        let has_node = nodes.peek().is_some();
        let virtual_ip = match ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(ip) => self.six.and_then(|network| network.virtual_ip(ip)),
        };
        let holder = virtual_ip.and_then(|ip| self.snapshot.service_of_virtual_ip(ip));
        let services = names_at(&self.service_addresses, ip).chain(holder.map(|service| &*service.name));
        nodes.chain(services.map(Holder::Service).filter(move |_| !has_node))
    }

    /// Where `label` leads instead, if anywhere.
    #[inline]
    pub(crate) fn led<'z>(&'z self, label: &'z [u8]) -> Option<Led<'z>> {
        self.redirected.as_ref()?.lead(label)
    }

    /// The service under `label` (lower case, without length byte), with its socket here when one is open.
    pub(crate) fn service(&self, label: &[u8]) -> Option<&Arc<ServiceEntry>> {
        self.services.get(label)
    }
}

/// The key of an address in [`Holders`].
pub(crate) fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn names_at(holders: &Holders, ip: IpAddr) -> impl Iterator<Item = &str> {
    let ip = mapped(ip);
    let from: (Ipv6Addr, Arc<str>) = (ip, "".into());
    holders.range(from..).take_while(move |(other, _)| *other == ip).map(|(_, name)| &**name)
}
