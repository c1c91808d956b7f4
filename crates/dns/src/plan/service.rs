//! One service's entry, made anew whenever something of the service changed.

use std::net::IpAddr;
use std::sync::Arc;

use catalog::{Instance, Service, Snapshot, Status};

use crate::zone::entry::{Address, EndpointEntry, Label, ServiceEntry, first_at};

/// What the zone keeps of `service`; `None` when its name is no DNS label.
pub(super) fn project(snapshot: &Snapshot, service: &Service) -> Option<ServiceEntry> {
    let judged = service.iter().map(|instance| (instance, snapshot.health(instance)));
    project_some(snapshot, service, judged)
}

/// The same for some of its instances, with the verdicts on them.
pub(crate) fn project_some<'s>(
    snapshot: &Snapshot,
    service: &Service,
    instances: impl Iterator<Item = (&'s Arc<Instance>, Status)>,
) -> Option<ServiceEntry> {
    let label = Label::new(&service.name)?;
    let (mut healthy, mut others) = (Vec::new(), Vec::new());
    for (instance, status) in instances {
        let Some((endpoint, is_healthy)) = endpoint(snapshot, instance, status) else { continue };
        if is_healthy { &mut healthy } else { &mut others }.push(endpoint);
    }
    let count = healthy.len() + others.len();
    // Stable: of two instances at one place the first by (node, id) stays.
    for part in [&mut healthy, &mut others] {
        part.sort_by(|a, b| a.place().cmp(&b.place()));
        part.dedup_by(|b, a| a.place() == b.place());
    }
    others.retain(|other| find(&healthy, other).is_err());
    let hides = healthy.len() + others.len() < count;
    Some(ServiceEntry { hides, ..assemble(label, service, healthy, others) })
}

/// An endpoint, and whether our own zone gives it out.
type Judged = (EndpointEntry, bool);

/// Both parts are sorted by place, and no place is in both.
fn assemble(
    label: Label,
    service: &Service,
    healthy: Vec<EndpointEntry>,
    others: Vec<EndpointEntry>,
) -> ServiceEntry {
    let (firsts, healthy_firsts) = firsts(&healthy, &others);
    let count = healthy.len() as u32;
    let mut endpoints = healthy;
    endpoints.extend(others);
    ServiceEntry {
        label,
        virtual_ip: service.virtual_ip.map(|virtual_ip| virtual_ip.0),
        socket: None,
        ttl: 0,
        has_hosts: endpoints.iter().any(|endpoint| endpoint.ip().is_none()),
        hides: false,
        firsts: (firsts.len() < endpoints.len()).then(|| firsts.into()),
        endpoints: endpoints.into(),
        healthy: count,
        healthy_firsts,
    }
}

/// Which endpoints are the first of their IP address, and how many of those are healthy.
fn firsts(healthy: &[EndpointEntry], others: &[EndpointEntry]) -> (Vec<u32>, u32) {
    let mut firsts = Vec::with_capacity(healthy.len() + others.len());
    let mut last = None;
    for (at, endpoint) in healthy.iter().enumerate() {
        let ip = endpoint.ip();
        if ip.is_some() && std::mem::replace(&mut last, ip) != ip {
            firsts.push(at as u32);
        }
    }
    let (count, mut last) = (firsts.len() as u32, None);
    for (at, endpoint) in others.iter().enumerate() {
        let Some(ip) = endpoint.ip().filter(|ip| last.replace(*ip) != Some(*ip)) else { continue };
        let same = healthy.get(first_at(healthy, ip)).and_then(EndpointEntry::ip);
        if same != Some(ip) {
            firsts.push((healthy.len() + at) as u32);
        }
    }
    (firsts, count)
}

fn find(part: &[EndpointEntry], endpoint: &EndpointEntry) -> Result<usize, usize> {
    part.binary_search_by(|other| other.place().cmp(&endpoint.place()))
}

/// Where an instance is dialed, and whether our own zone gives it out. `None` when it is critical.
fn endpoint(snapshot: &Snapshot, instance: &Arc<Instance>, status: Status) -> Option<Judged> {
    let weight = match status {
        Status::Passing => instance.def.weights.passing,
        Status::Warning => instance.def.weights.warning,
        Status::Critical => return None,
    };
    let text = snapshot.address_of(instance);
    let address = match text.parse::<IpAddr>() {
        Ok(ip) => Address::Ip(ip.to_canonical()),
        Err(_) if text.is_empty() => return None,
        Err(_) => Address::Host(text),
    };
    let (node, def) = (instance.node.clone(), instance.def.clone());
    let endpoint = EndpointEntry { address, port: instance.def.port, weight, node, def };
    Some((endpoint, status == Status::Passing && weight > 0))
}
