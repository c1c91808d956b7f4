//! One service's entry, made anew whenever something of the service changed.

use std::net::IpAddr;
use std::sync::Arc;

use catalog::{Instance, Service, Snapshot, Status};
use imbl::ordmap::DiffItem;

use crate::zone::entry::{Address, EndpointEntry, Label, ServiceEntry, first_at};
use crate::zone::tags::Tags;

/// What the zone keeps of `service`; `None` when its name is no DNS label.
pub(super) fn project(snapshot: &Snapshot, service: &Service) -> Option<ServiceEntry> {
    let judged = service.iter().map(|instance| (instance, snapshot.health(instance)));
    let entry = project_some(snapshot, service, judged)?;
    Some(ServiceEntry { tags: Tags::of(entry.healthy(), entry.others()), ..entry })
}

/// The same for some of its instances, with the verdicts on them; nobody asks for a tag of those.
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
    let has_ports = healthy.iter().any(|endpoint| endpoint.port != 0);
    let mut endpoints = healthy;
    endpoints.extend(others);
    ServiceEntry {
        label,
        virtual_ip: service.virtual_ip.map(|virtual_ip| virtual_ip.0),
        spot: None,
        ttl: 0,
        has_hosts: endpoints.iter().any(|endpoint| endpoint.ip().is_none()),
        has_ports,
        hides: false,
        v4_firsts: v4_firsts(&endpoints, &firsts, healthy_firsts as usize),
        tags: Tags::default(),
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

/// How many of the first endpoints are IPv4, of the healthy ones and of the others. Each part has them in front.
fn v4_firsts(endpoints: &[EndpointEntry], firsts: &[u32], healthy: usize) -> [u32; 2] {
    let is_v4 = |at: &u32| endpoints[*at as usize].ip().is_some_and(|ip| ip.is_ipv4());
    let (healthy, others) = firsts.split_at(healthy);
    [healthy, others].map(|part| part.partition_point(is_v4) as u32)
}

/// Brings `before` up to date by looking at what changed since `then`: the instances that differ, and those on nodes
/// that are other ones now. Equal to [`project`], only cheaper; with the addresses that may have come or gone. `None` where
/// only the whole projection tells: much has changed, or two instances share a place.
pub(super) fn advance(
    before: &ServiceEntry,
    (then, old): (&Snapshot, &Service),
    (now, new): (&Snapshot, &Service),
    changed_nodes: &[Arc<str>],
) -> Option<(ServiceEntry, Vec<IpAddr>)> {
    let most = (new.instances.len() / 8).max(8);
    // Of names that differ in case only one stands in the zone, and another one may have stood there before.
    let is_same = before.endpoints.first().is_some_and(|endpoint| endpoint.def.service == new.name);
    if before.hides || !is_same {
        return None;
    }
    let mut changes: Vec<(Option<Judged>, Option<Judged>)> = Vec::new();
    for item in old.instances.diff(&new.instances) {
        let (old, new) = match item {
            DiffItem::Add(_, new) => (None, Some(new)),
            DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
            DiffItem::Remove(_, old) => (Some(old), None),
        };
        let old = old.and_then(|old| judged(then, old));
        changes.push((old, new.and_then(|new| judged(now, new))));
        if changes.len() > most {
            return None;
        }
    }
    for node in changed_nodes {
        let from: (Arc<str>, Arc<str>) = (node.clone(), "".into());
        for (key, instance) in new.instances.range(from..).take_while(|((other, _), _)| other == node) {
            // One that differs itself is among the others already.
            if old.instances.get(key).is_some_and(|old| old == instance) {
                changes.push((judged(then, instance), judged(now, instance)));
            }
            if changes.len() > most {
                return None;
            }
        }
    }
    patched(before, new, changes)
}

fn patched(
    before: &ServiceEntry,
    service: &Service,
    changes: Vec<(Option<Judged>, Option<Judged>)>,
) -> Option<(ServiceEntry, Vec<IpAddr>)> {
    let mut parts = [before.healthy().to_vec(), before.others().to_vec()];
    let part = |is_healthy: bool| usize::from(!is_healthy);
    let (mut edited, mut tags) = (Vec::new(), before.tags.clone());
    let differing: Vec<_> = changes.into_iter().filter(|(old, new)| old != new).collect();
    for (endpoint, is_healthy) in differing.iter().filter_map(|(old, _)| old.as_ref()) {
        let part = &mut parts[part(*is_healthy)];
        let at = find(part, endpoint).ok()?;
        edited.extend(endpoint.ip());
        tags.remove(&part.remove(at), *is_healthy);
    }
    for (endpoint, is_healthy) in differing.into_iter().filter_map(|(_, new)| new) {
        let [mine, other] = [is_healthy, !is_healthy].map(part);
        let Err(at) = find(&parts[mine], &endpoint) else { return None };
        if find(&parts[other], &endpoint).is_ok() {
            return None;
        }
        edited.extend(endpoint.ip());
        tags.add(&endpoint, is_healthy);
        parts[mine].insert(at, endpoint);
    }
    let [healthy, others] = parts;
    let entry = assemble(before.label.clone(), service, healthy, others);
    Some((ServiceEntry { tags, ..entry }, edited))
}

fn find(part: &[EndpointEntry], endpoint: &EndpointEntry) -> Result<usize, usize> {
    part.binary_search_by(|other| other.place().cmp(&endpoint.place()))
}

fn judged(snapshot: &Snapshot, instance: &Arc<Instance>) -> Option<Judged> {
    endpoint(snapshot, instance, snapshot.health(instance))
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
