//! Public names of services of this home, for clients inside it: a router that cannot lead them round by its address
//! outside is not asked to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Network;
use crate::wire::name::LowerName;

/// The first label of a name that stands for any.
const ANY: &[u8] = b"\x01*";

/// Which names, and who is inside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Indoors {
    networks: Vec<Network>,
    /// By the labels of the name with their length bytes, lower case.
    names: BTreeMap<Box<[u8]>, Vec<IpAddr>>,
}

impl Indoors {
    /// As it was told; `None` where nothing was.
    pub(crate) fn new(told: &catalog::exposure::Indoors) -> Option<Arc<Indoors>> {
        let name = |(name, ips): (&Arc<str>, &std::collections::BTreeSet<IpAddr>)| {
            Some((LowerName::parse(name)?.as_wire().into(), ips.iter().copied().collect()))
        };
        let names: BTreeMap<_, _> = told.names.iter().filter_map(name).collect();
        let networks =
            told.networks.iter().map(|(address, prefix)| Network::new(*address, *prefix)).collect();
        (!names.is_empty()).then(|| Arc::new(Indoors { networks, names }))
    }

    /// What a client is answered for a name: the addresses on its own network, or all of them where none is there; `None`
    /// for who is outside and for other names.
    pub(crate) fn addresses(&self, name: &LowerName, from: IpAddr, is_local: bool) -> Option<Vec<IpAddr>> {
        let home = self.networks.iter().filter(|network| network.contains(from));
        let home: Vec<&Network> = home.collect();
        if home.is_empty() && !is_local {
            return None;
        }
        let above = &name.as_wire()[name.first(1).len()..];
        let ips = self.names.get(name.as_wire()).or_else(|| self.names.get(&*[ANY, above].concat()))?;
        let near = ips.iter().filter(|ip| home.iter().any(|network| network.contains(**ip)));
        let near: Vec<IpAddr> = near.copied().collect();
        Some(if near.is_empty() { ips.clone() } else { near })
    }
}
