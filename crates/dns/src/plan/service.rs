//! One service's entry.

use std::net::IpAddr;
use std::sync::Arc;

use catalog::{Instance, Service, Snapshot, Status};

use crate::zone::entry::{Address, EndpointEntry, Label, ServiceEntry};

/// What the zone keeps of `service`; `None` when its name is no DNS label.
pub(super) fn project(snapshot: &Snapshot, service: &Service, ttl: u32) -> Option<ServiceEntry> {
    let label = Label::new(&service.name)?;
    let (mut healthy, mut others) = (Vec::new(), Vec::new());
    for instance in service.iter() {
        let Some((endpoint, is_healthy)) = endpoint(snapshot, instance) else { continue };
        if is_healthy { &mut healthy } else { &mut others }.push(endpoint);
    }
    settle(&mut healthy);
    settle(&mut others);
    let search =
        |other: &EndpointEntry| healthy.binary_search_by(|healthy| healthy.place().cmp(&other.place()));
    others.retain(|other| search(other).is_err());
    // Sorted by place, an address's endpoints stand together: the first at or after port 0 tells.
    let is_known = |ip: IpAddr| {
        let from = healthy.partition_point(|endpoint| endpoint.place() < (&Address::Ip(ip), 0));
        healthy.get(from).is_some_and(|endpoint| endpoint.ip() == Some(ip))
    };
    let (other_addresses, others) = firsts_before_rest(others, is_known);
    let (healthy_addresses, mut endpoints) = firsts_before_rest(healthy, |_| false);
    let healthy = endpoints.len() as u32;
    endpoints.extend(others);
    Some(ServiceEntry {
        label,
        name: service.name.clone(),
        virtual_ip: service.virtual_ip.map(|virtual_ip| virtual_ip.0),
        socket: None,
        ttl,
        has_hosts: endpoints.iter().any(|endpoint| endpoint.ip().is_none()),
        endpoints: endpoints.into(),
        healthy,
        healthy_addresses,
        other_addresses,
    })
}

/// Where an instance is dialed, and whether our own zone gives it out. `None` when it is critical.
fn endpoint(snapshot: &Snapshot, instance: &Arc<Instance>) -> Option<(EndpointEntry, bool)> {
    let status = snapshot.health(instance);
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

/// By place, each place once: two instances that share one are one record.
fn settle(endpoints: &mut Vec<EndpointEntry>) {
    endpoints.sort_by(|a, b| a.place().cmp(&b.place()));
    endpoints.dedup_by(|b, a| a.place() == b.place());
}

/// Moves the first endpoint of each IP address to the front; those that `is_known` says are found
/// elsewhere count as not first. Returns how many came first.
fn firsts_before_rest(
    endpoints: Vec<EndpointEntry>,
    is_known: impl Fn(IpAddr) -> bool,
) -> (u32, Vec<EndpointEntry>) {
    let mut last = None;
    let (mut firsts, rest): (Vec<_>, Vec<_>) = endpoints.into_iter().partition(|endpoint| {
        // `replace` first: an address that is known must be remembered as seen, too.
        endpoint.ip().is_some_and(|ip| last.replace(ip) != Some(ip) && !is_known(ip))
    });
    let count = firsts.len() as u32;
    firsts.extend(rest);
    (count, firsts)
}
