//! `catalog/*`: every node and every instance, and registration on behalf of others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::{
    CheckDef, CheckRegistration, Command, Deregister, InitialStatus, InstanceDef, InstanceRegistration, Kind,
    NodeDef, NodeEntry, NodeRegistration, Outcome, Probe, Register, Status,
};
use consul::listing::{CatalogNode, CatalogService, Node, NodeService, NodeServiceList};
use consul::register::{CatalogCheck, CatalogDeregistration, CatalogRegistration};

use crate::Api;
use crate::access::{Lens, may_deregister, may_register};
use crate::agent::{kind_of, locality, tagged, weights};
use crate::filter::Filter;
use crate::http::{Answer, Failure, Parts, Query, Request};
use crate::plan;
use crate::read::{Scope, View, check_datacenter};

/// `node-meta=name:value`, repeatable: all must hold.
#[derive(Debug, Default)]
pub(crate) struct NodeMeta(Vec<(String, String)>);

impl NodeMeta {
    pub(crate) fn from_query(query: &Query) -> NodeMeta {
        let pairs = query.all("node-meta").map(|pair| pair.split_once(':').unwrap_or((pair, "")));
        NodeMeta(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn lets(&self, entry: &NodeEntry) -> bool {
        self.0.iter().all(|(name, value)| entry.def.meta.get(name).is_some_and(|found| **found == **value))
    }
}

/// The path's parameter, which must not be empty.
pub(crate) fn named(parts: &Parts, what: &str) -> Result<Arc<str>, Failure> {
    match parts.rest.is_empty() {
        true => Err(Failure::bad_request(format!("Missing {what}"))),
        false => Ok(parts.rest.as_str().into()),
    }
}

pub(crate) fn datacenters(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    Answer::json_as(&[&api.node.datacenter], parts.query.has("pretty"))
}

pub(crate) fn nodes(parts: &Parts) -> Result<View, Failure> {
    let meta = NodeMeta::from_query(&parts.query);
    let filter = Filter::<Node>::from_query(&parts.query)?;
    Ok(View::new(Scope::Nodes, move |context, lens, pretty| {
        let nodes = lens.nodes().filter(|entry| meta.lets(entry)).map(|entry| plan::node(context, entry));
        Answer::list(nodes.filter(|node| filter.lets(node)), pretty)
    }))
}

/// Names with the tags of all instances. Restricted by node or by filter, it depends on every instance.
pub(crate) fn services(parts: &Parts) -> Result<View, Failure> {
    let meta = NodeMeta::from_query(&parts.query);
    let filter = Filter::<CatalogService>::from_query(&parts.query)?;
    if meta.is_open() && filter.is_open() {
        return Ok(View::new(Scope::ServiceNames, |_, lens, pretty| {
            let all: BTreeMap<_, _> = lens.services().map(|s| (s.name.clone(), s.tags())).collect();
            Answer::json_as(&all, pretty)
        }));
    }
    Ok(View::new(Scope::AllNodes, move |context, lens, pretty| {
        let mut some: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
        for service in lens.services() {
            for (entry, service, instance) in lens.instances(&service.name) {
                let lets = || filter.lets(&plan::catalog_service(context, entry, service, instance));
                if meta.lets(entry) && (filter.is_open() || lets()) {
                    let tags = some.entry(service.name.clone()).or_default();
                    tags.extend(instance.def.tags.iter().cloned());
                }
            }
        }
        Answer::json_as(&some, pretty)
    }))
}

/// Every tag asked for, which an instance must have, in any case as Consul compares.
pub(crate) fn tags(query: &Query) -> Vec<String> {
    query.all("tag").filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// True when an instance has all of them.
pub(crate) fn has_tags(instance: &catalog::Instance, wanted: &[String]) -> bool {
    wanted.iter().all(|tag| instance.def.tags.iter().any(|found| found.eq_ignore_ascii_case(tag)))
}

/// True when a peer is asked: there are none, so it has nothing.
pub(crate) fn asks_peer(query: &Query) -> bool {
    query.given("peer").is_some()
}

/// Instances that speak the mesh's TLS themselves.
pub(crate) fn connect(parts: &Parts) -> Result<View, Failure> {
    instances(parts, is_native)
}

/// True for what shows and demands certificates of the cluster's authority itself.
pub(crate) fn is_native(instance: &catalog::Instance) -> bool {
    instance.def.kind == Kind::Native
}

/// An empty list that waits like any other.
pub(crate) fn nothing(service: Arc<str>) -> View {
    View::new(Scope::Service(service), |_, _, pretty| Answer::list(std::iter::empty::<()>(), pretty))
}

pub(crate) fn service(parts: &Parts) -> Result<View, Failure> {
    instances(parts, |_| true)
}

fn instances(parts: &Parts, lets: fn(&catalog::Instance) -> bool) -> Result<View, Failure> {
    let name = named(parts, "service name")?;
    if asks_peer(&parts.query) {
        return Ok(nothing(name));
    }
    let (meta, wanted) = (NodeMeta::from_query(&parts.query), tags(&parts.query));
    let filter = Filter::<CatalogService>::from_query(&parts.query)?;
    Ok(View::new(Scope::Service(name.clone()), move |context, lens, pretty| {
        let found = lens
            .instances(&name)
            .filter(|(entry, _, instance)| meta.lets(entry) && has_tags(instance, &wanted) && lets(instance))
            .map(|(entry, service, instance)| plan::catalog_service(context, entry, service, instance));
        Answer::list(found.filter(|service| filter.lets(service)), pretty)
    }))
}

pub(crate) fn node(parts: &Parts) -> Result<View, Failure> {
    let name = named(parts, "node name")?;
    let filter = Filter::<NodeService>::from_query(&parts.query)?;
    Ok(View::new(Scope::Node(name.clone()), move |context, lens, pretty| {
        let shown = lens.node(&name).map(|entry| CatalogNode {
            node: plan::node(context, entry),
            services: services_on(lens, entry, &filter).map(|s| (s.id.clone(), s)).collect(),
        });
        Answer::json_as(&shown, pretty)
    }))
}

pub(crate) fn node_services(parts: &Parts) -> Result<View, Failure> {
    let name = named(parts, "node name")?;
    let filter = Filter::<NodeService>::from_query(&parts.query)?;
    Ok(View::new(Scope::Node(name.clone()), move |context, lens, pretty| {
        let entry = lens.node(&name);
        let shown = NodeServiceList {
            node: entry.map(|entry| plan::node(context, entry)),
            services: entry.map(|entry| services_on(lens, entry, &filter).collect()),
        };
        Answer::json_as(&shown, pretty)
    }))
}

fn services_on<'a>(
    lens: &Lens<'a>,
    entry: &'a NodeEntry,
    filter: &Filter<NodeService>,
) -> impl Iterator<Item = NodeService> {
    let of = |name: &str| lens.service(name).map(|service| &**service);
    let all = lens.instances_on(entry).map(move |i| plan::node_service(of(&i.def.service), i));
    all.filter(|service| filter.lets(service))
}

/// `PUT catalog/register`: whoever sends this keeps the checks up to date, too.
pub(crate) async fn register(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = request.json::<CatalogRegistration>(api.config.max_body()).await?;
    check_datacenter(Some(&sent.datacenter), &api.node.datacenter)?;
    if sent.node.is_empty() {
        return Err(Failure::bad_request("Must provide node"));
    }
    if sent.address.is_empty() && !sent.skip_node_update {
        return Err(Failure::bad_request("Must provide address if SkipNodeUpdate is not set"));
    }
    let register = registration(sent)?;
    may_register(&parts.caller, &api.store.now(), &register)?;
    let command = Command::Register(Box::new(register));
    let outcome = api.store.submit(command).await?.outcome;
    Ok(Answer::truth(!matches!(outcome, Outcome::Refused(_))))
}

fn registration(sent: CatalogRegistration) -> Result<Register, Failure> {
    let on = sent.node.clone();
    let checks = sent.check.iter().chain(&sent.checks).map(|check| external_check(check, &on));
    let checks = checks.collect::<Result<Vec<_>, _>>()?;
    let node = NodeRegistration {
        def: NodeDef {
            name: on.clone(),
            id: sent.id,
            address: sent.address,
            tagged_addresses: sent.tagged_addresses.into_iter().collect(),
            meta: sent.node_meta.into_iter().collect(),
        },
        only_if_absent: sent.skip_node_update,
    };
    let instance = sent.service.map(external_instance).transpose()?;
    Ok(Register { node: Some(node), on, instance, checks })
}

pub(crate) fn external_instance(
    sent: consul::register::CatalogService,
) -> Result<InstanceRegistration, Failure> {
    if !sent.kind.is_empty() {
        return Err(Failure::absent(&format!("services of kind {:?} are", sent.kind)));
    }
    if sent.service.is_empty() {
        return Err(Failure::bad_request("Must provide service name (Service.Service) with ID"));
    }
    let def = InstanceDef {
        id: if sent.id.is_empty() { sent.service.clone() } else { sent.id },
        service: sent.service,
        kind: kind_of(sent.connect.as_ref())?,
        tags: sent.tags,
        address: sent.address,
        port: sent.port,
        tagged_addresses: tagged(&sent.tagged_addresses),
        meta: sent.meta.into_iter().collect(),
        // Consul's Go client sends zeros for weights that nobody gave.
        weights: weights(sent.weights.filter(|weights| (weights.passing, weights.warning) != (0, 0)))?,
        enable_tag_override: sent.enable_tag_override,
        lease: None,
        locality: locality(sent.locality),
    };
    Ok(InstanceRegistration { def, replace_checks: false })
}

pub(crate) fn external_check(sent: &CatalogCheck, on: &Arc<str>) -> Result<CheckRegistration, Failure> {
    if !sent.node.is_empty() && sent.node != *on {
        let (check, node) = (&sent.check_id, &sent.node);
        return Err(Failure::bad_request(format!(
            "check {check:?} names node {node:?}, the registration {on:?}"
        )));
    }
    let status = match &*sent.status {
        "" => Status::Critical,
        word => Status::parse(word)
            .ok_or_else(|| Failure::bad_request(format!("Invalid check status: '{word}'")))?,
    };
    let def = CheckDef {
        id: if sent.check_id.is_empty() { sent.name.clone() } else { sent.check_id.clone() },
        name: sent.name.clone(),
        notes: sent.notes.clone(),
        service_id: sent.service_id.clone(),
        probe: Probe::External,
        deregister_after_ms: None,
        success_before_passing: 0,
        failures_before_warning: 0,
        failures_before_critical: 0,
        definition: carried(sent)?,
    };
    Ok(CheckRegistration { def, status: InitialStatus::Set(status), output: sent.output.clone() })
}

/// What the check asks, as text for whoever reads it from here and asks it.
fn carried(sent: &CatalogCheck) -> Result<Option<Arc<str>>, Failure> {
    let Some(definition) = &sent.definition.0 else { return Ok(None) };
    let text = serde_json::to_string(definition)
        .map_err(|why| Failure::bad_request(format!("definition of check {:?}: {why}", sent.check_id)))?;
    Ok(Some(text.into()))
}

/// `PUT catalog/deregister`: the check if one is named, else the instance, else the whole node.
pub(crate) async fn deregister(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = request.json::<CatalogDeregistration>(api.config.max_body()).await?;
    check_datacenter(Some(&sent.datacenter), &api.node.datacenter)?;
    if sent.node.is_empty() {
        return Err(Failure::bad_request("Must provide node"));
    }
    let node = sent.node;
    let what = match (sent.service_id.is_empty(), sent.check_id.is_empty()) {
        (false, _) => Deregister::Instance { node, id: sent.service_id, registered_index: None },
        (true, false) => Deregister::Check { node, id: sent.check_id },
        (true, true) => Deregister::Node { node },
    };
    may_deregister(&parts.caller, &api.store.now(), &what)?;
    api.store.submit(Command::Deregister(what)).await?;
    Ok(Answer::truth(true))
}
