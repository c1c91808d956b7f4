//! What this host answers from: an immutable value, made by `plan`, swapped whole.

mod case;
pub(crate) mod entry;
pub(crate) mod table;

use std::net::IpAddr;
use std::sync::Arc;

use catalog::virtual_ip::Range;
use imbl::{OrdMap, OrdSet};
use route::VirtualSocket;

pub(crate) use crate::zone::case::{MixedCase, lower};
use crate::zone::entry::{NodeEntry, ServiceEntry};
use crate::zone::table::Table;

/// Every name that this host answers, at one index of the log.
#[derive(Clone, Default, PartialEq)]
pub struct Zone {
    pub(crate) index: u64,
    /// Index of the node table that `nodes` was made from, and how many nodes it had.
    pub(crate) nodes_index: u64,
    pub(crate) nodes_registered: usize,
    pub(crate) services: Table<ServiceEntry>,
    pub(crate) nodes: Table<NodeEntry>,
    /// Who stands at an address: what PTR answers say.
    pub(crate) reverse: OrdSet<(IpAddr, Holder)>,
    pub(crate) service_case: MixedCase,
    pub(crate) node_case: MixedCase,
    pub(crate) virtual_sockets: OrdMap<Arc<str>, VirtualSocket>,
    pub(crate) own_addresses: Arc<[IpAddr]>,
    pub(crate) virtual_range: Range,
}

/// Who stands at an address. Both names in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    Node(Arc<str>),
    Service(Arc<str>),
}

impl Zone {
    /// Index of the snapshot that this was projected from.
    pub fn index(&self) -> u64 {
        self.index
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
        self.index as u32
    }

    /// The service under `label` (lower case, without length byte), with its socket here when one is open.
    pub(crate) fn service(&self, label: &[u8]) -> Option<&Arc<ServiceEntry>> {
        self.services.get(label)
    }
}
