//! From the catalog to Consul's shapes. Pure; everything that an answer shows is made here.

use std::net::IpAddr;
use std::sync::Arc;

use catalog::{Check, Instance, NodeEntry, Service, VirtualIp};
use consul::agent::AgentService;
use consul::definition::Definition;
use consul::listing::{CatalogService, HealthCheck, Node, NodeService, ServiceEntry};
use consul::{GoDuration, Labels, Locality, ServiceAddress, ServiceConnect, TaggedAddresses, Weights};

use crate::access::Lens;
use crate::catalog_paths::is_native;
use crate::read::Context;

/// Check id that stands for a node's own liveness, as every client of Consul expects it.
pub(crate) const NODE_ALIVE: &str = "serfHealth";
/// Check id of a node's maintenance mode.
pub(crate) const NODE_MAINTENANCE: &str = "_node_maintenance";
/// Check ids of services in maintenance mode begin with this.
pub(crate) const SERVICE_MAINTENANCE: &str = "_service_maintenance:";

/// A node.
pub(crate) fn node(context: &Context, entry: &NodeEntry) -> Node {
    let def = &entry.def;
    Node {
        id: def.id.clone(),
        node: def.name.clone(),
        address: def.address.clone(),
        datacenter: context.datacenter.clone(),
        tagged_addresses: some_labels(&def.tagged_addresses),
        meta: some_labels(&def.meta),
        create_index: entry.create_index,
        modify_index: entry.modify_index,
    }
}

/// An instance with its node, flat.
pub(crate) fn catalog_service(
    context: &Context,
    entry: &NodeEntry,
    service: &Service,
    instance: &Instance,
) -> CatalogService {
    let (host, def) = (&entry.def, &instance.def);
    CatalogService {
        id: host.id.clone(),
        node: host.name.clone(),
        address: host.address.clone(),
        datacenter: context.datacenter.clone(),
        tagged_addresses: some_labels(&host.tagged_addresses),
        node_meta: some_labels(&host.meta),
        service_id: def.id.clone(),
        service_name: def.service.clone(),
        service_tags: def.tags.to_vec(),
        service_address: def.address.clone(),
        service_tagged_addresses: tagged_addresses(Some(service), instance),
        service_weights: weights(instance),
        service_meta: labels(&def.meta),
        service_port: def.port,
        service_enable_tag_override: def.enable_tag_override,
        service_connect: ServiceConnect { native: is_native(instance) },
        service_locality: locality(instance),
        create_index: instance.create_index,
        modify_index: instance.modify_index,
        ..CatalogService::default()
    }
}

/// An instance.
pub(crate) fn node_service(service: Option<&Service>, instance: &Instance) -> NodeService {
    let def = &instance.def;
    NodeService {
        id: def.id.clone(),
        service: def.service.clone(),
        tags: def.tags.to_vec(),
        address: def.address.clone(),
        tagged_addresses: tagged_addresses(service, instance),
        meta: some_labels(&def.meta),
        port: def.port,
        weights: weights(instance),
        enable_tag_override: def.enable_tag_override,
        connect: ServiceConnect { native: is_native(instance) },
        locality: locality(instance),
        create_index: instance.create_index,
        modify_index: instance.modify_index,
        ..NodeService::default()
    }
}

/// An instance as its agent shows it: as registered, without what the catalog adds.
pub(crate) fn agent_service(context: &Context, instance: &Instance) -> AgentService {
    let def = &instance.def;
    AgentService {
        id: def.id.clone(),
        service: def.service.clone(),
        tags: def.tags.to_vec(),
        meta: labels(&def.meta),
        port: def.port,
        address: def.address.clone(),
        tagged_addresses: tagged_addresses(None, instance),
        weights: weights(instance),
        enable_tag_override: def.enable_tag_override,
        connect: is_native(instance).then_some(ServiceConnect { native: true }),
        locality: locality(instance),
        content_hash: "".into(),
        datacenter: context.datacenter.clone(),
    }
}

/// A check; `instance` is the one that it judges.
pub(crate) fn health_check(check: &Check, instance: Option<&Instance>) -> HealthCheck {
    let def = &check.def;
    let (interval, timeout) = match def.probe.cadence() {
        Some(cadence) => (text_ms(cadence.interval_ms), text_ms(cadence.timeout_ms)),
        None => ("".into(), "".into()),
    };
    let definition = definition(check);
    HealthCheck {
        node: check.node.clone(),
        check_id: def.id.clone(),
        name: def.name.clone(),
        status: check.status.as_str().into(),
        notes: def.notes.clone(),
        output: check.output.clone(),
        service_id: def.service_id.clone(),
        service_name: check.service.clone(),
        service_tags: instance.map(|instance| instance.def.tags.to_vec()).unwrap_or_default(),
        kind: kind_of(check, &definition).into(),
        interval,
        timeout,
        definition,
        create_index: check.create_index,
        modify_index: check.modify_index,
        ..HealthCheck::default()
    }
}

fn kind_of(check: &Check, definition: &Definition) -> &'static str {
    let id = &*check.def.id;
    match (id == NODE_MAINTENANCE || id.starts_with(SERVICE_MAINTENANCE), &definition.0) {
        (true, _) => "maintenance",
        (false, Some(definition)) => definition.kind(),
        (false, None) => check.def.probe.type_name(),
    }
}

/// What somebody else asks for a check.
fn definition(check: &Check) -> Definition {
    let text = check.def.definition.as_ref();
    text.and_then(|text| consul::decode(text.as_bytes()).ok()).unwrap_or_default()
}

fn locality(instance: &Instance) -> Option<Locality> {
    let at = instance.def.locality.as_ref()?;
    Some(Locality { region: at.region.clone(), zone: at.zone.clone() })
}

fn text_ms(ms: u64) -> Arc<str> {
    GoDuration::from_ms(ms).to_string().into()
}

/// Checks of an instance: its node's, then its own.
pub(crate) fn checks_of(lens: &Lens<'_>, instance: &Instance) -> Vec<HealthCheck> {
    let of = |check: &Check| (!check.def.service_id.is_empty()).then_some(instance);
    lens.checks_of(instance).map(|check| health_check(check, of(check))).collect()
}

/// An instance with its node and all checks that judge it.
pub(crate) fn service_entry(
    context: &Context,
    lens: &Lens<'_>,
    (entry, service, instance): (&NodeEntry, &Service, &Instance),
) -> ServiceEntry {
    ServiceEntry {
        node: node(context, entry),
        service: node_service(Some(service), instance),
        checks: checks_of(lens, instance),
    }
}

/// Every check on a node with the instance that it judges, as far as it may be seen: the node's own first.
pub(crate) fn checks_on<'a>(lens: &Lens<'a>, entry: &'a NodeEntry) -> impl Iterator<Item = HealthCheck> {
    lens.checks_on(entry).map(|(check, instance)| health_check(check, instance.map(|instance| &**instance)))
}

/// What was registered, the address under the names that Consul gives it, and the virtual address.
fn tagged_addresses(service: Option<&Service>, instance: &Instance) -> TaggedAddresses {
    let def = &instance.def;
    let mut tagged = TaggedAddresses::new();
    if let Ok(address) = def.address.parse::<IpAddr>() {
        let names = if address.is_ipv4() { ["lan_ipv4", "wan_ipv4"] } else { ["lan_ipv6", "wan_ipv6"] };
        for name in names {
            tagged.insert(name.into(), ServiceAddress { address: def.address.clone(), port: def.port });
        }
    }
    for (name, socket) in def.tagged_addresses.iter() {
        if let Some((address, port)) = socket.rsplit_once(':') {
            let address = ServiceAddress { address: address.into(), port: port.parse().unwrap_or(0) };
            tagged.insert(name.clone(), address);
        }
    }
    if let Some(service) = service
        && let Some(VirtualIp(address)) = service.virtual_ip
    {
        let address = ServiceAddress { address: address.to_string().into(), port: service.port };
        tagged.insert("consul-virtual".into(), address);
    }
    tagged
}

fn weights(instance: &Instance) -> Weights {
    Weights { passing: instance.def.weights.passing, warning: instance.def.weights.warning }
}

fn labels(of: &catalog::Labels) -> Labels {
    of.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Consul shows `null` for labels that were never given.
fn some_labels(of: &catalog::Labels) -> Option<Labels> {
    (!of.is_empty()).then(|| labels(of))
}
