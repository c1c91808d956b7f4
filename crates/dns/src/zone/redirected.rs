//! Names that lead elsewhere, as far as DNS can say so.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use catalog::InstanceDef;
use route::{Aim, Policy, Target};

use crate::zone::entry::{Address, EndpointEntry, Label, ServiceEntry};
use crate::zone::tags::Tags;

/// Every redirection, and what stands at those addresses that they lead to.
#[derive(Debug)]
pub(crate) struct Redirected {
    policy: Arc<Policy>,
    /// By name and URI: `tcp://host:port`, which is an address and a port. Other schemes are no business of DNS's.
    places: BTreeMap<(Arc<str>, Arc<str>), Arc<ServiceEntry>>,
}

impl PartialEq for Redirected {
    /// Places follow from the policy.
    fn eq(&self, other: &Self) -> bool {
        self.policy == other.policy
    }
}

/// Where a redirected name leads.
#[derive(Debug)]
pub(crate) enum Led<'z> {
    /// To a service, by its label; perhaps to itself.
    Service(&'z str),
    /// To an address that is none of the catalog's.
    Place(&'z Arc<ServiceEntry>),
    /// To something that has no address.
    Nowhere,
}

impl Redirected {
    /// The redirections of a policy; `None` where there are none. `ttl_s` tells how long an answer about a name may be
    /// cached.
    pub(crate) fn new(policy: &Arc<Policy>, ttl_s: &dyn Fn(&str) -> u32) -> Option<Arc<Redirected>> {
        policy.redirections().next()?;
        let places = policy.places().filter_map(|(name, uri, backend)| {
            let endpoint = backend.endpoints.first()?;
            Some(((name.clone(), uri.clone()), Arc::new(place(name, &endpoint.target, ttl_s(name))?)))
        });
        Some(Arc::new(Redirected { policy: policy.clone(), places: places.collect() }))
    }

    /// Where `label` leads, if it is redirected. Of several destinations each question draws one: a resolver asks twice
    /// for one connection, so dealing them in turn would give all of one kind to one destination.
    pub(crate) fn lead<'z>(&'z self, label: &'z [u8]) -> Option<Led<'z>> {
        let label = std::str::from_utf8(label).ok()?;
        Some(match self.policy.aim(label, fastrand::u32(..))? {
            Aim::Service(name) => Led::Service(name),
            Aim::Uri { name, uri } => {
                self.places.get(&(name.clone(), uri.clone())).map_or(Led::Nowhere, Led::Place)
            }
            Aim::Circle => Led::Nowhere,
        })
    }
}

/// What stands at an address under a service's name; `None` when that is no label.
fn place(name: &Arc<str>, target: &Target, ttl: u32) -> Option<ServiceEntry> {
    let (address, port, text): (Address, u16, Arc<str>) = match target {
        Target::Ip(at) => (Address::Ip(at.ip().to_canonical()), at.port(), at.ip().to_string().into()),
        Target::Host(host, port) => match host.parse::<IpAddr>() {
            Ok(ip) => (Address::Ip(ip.to_canonical()), *port, host.clone()),
            Err(_) => (Address::Host(host.clone()), *port, host.clone()),
        },
    };
    let is_host = matches!(address, Address::Host(_));
    let is_v4 = matches!(address, Address::Ip(IpAddr::V4(_)));
    let def = InstanceDef { address: text, ..InstanceDef::new(name.clone(), name.clone(), port) };
    let endpoint = EndpointEntry { address, port, weight: 1, node: "".into(), def: Arc::new(def) };
    Some(ServiceEntry {
        label: Label::new(name)?,
        virtual_ip: None,
        spot: None,
        ttl,
        has_hosts: is_host,
        has_ports: port != 0,
        hides: false,
        endpoints: [endpoint].into(),
        healthy: 1,
        firsts: is_host.then(|| [].into()),
        healthy_firsts: u32::from(!is_host),
        v4_firsts: [u32::from(is_v4), 0],
        tags: Tags::default(),
    })
}
