//! `health/*`: checks, and instances with the checks that judge them.

use catalog::Status;
use consul::listing::{HealthCheck, ServiceEntry};

use crate::catalog_paths::{NodeMeta, asks_peer, has_tags, is_native, named, nothing, tags};
use crate::filter::Filter;
use crate::http::{Answer, Failure, Parts};
use crate::plan;
use crate::read::{Scope, View};

/// Checks on a node, its instances' included.
pub(crate) fn node(parts: &Parts) -> Result<View, Failure> {
    let name = named(parts, "node name")?;
    let filter = Filter::<HealthCheck>::from_query(&parts.query)?;
    Ok(View::new(Scope::Node(name.clone()), move |_, lens, pretty| {
        let entry = lens.node(&name);
        let checks = entry.into_iter().flat_map(|entry| plan::checks_on(lens, entry));
        Answer::list(checks.filter(|check| filter.lets(check)), pretty)
    }))
}

/// Checks of a service's instances, without their nodes'.
pub(crate) fn checks(parts: &Parts) -> Result<View, Failure> {
    let name = named(parts, "service name")?;
    let meta = NodeMeta::from_query(&parts.query);
    let filter = Filter::<HealthCheck>::from_query(&parts.query)?;
    Ok(View::new(Scope::Service(name.clone()), move |_, lens, pretty| {
        let checks =
            lens.instances(&name).filter(|(entry, _, _)| meta.lets(entry)).flat_map(|(_, _, instance)| {
                instance.checks.iter().map(|check| plan::health_check(check, Some(instance)))
            });
        Answer::list(checks.filter(|check| filter.lets(check)), pretty)
    }))
}

/// Instances of a service.
pub(crate) fn service(parts: &Parts) -> Result<View, Failure> {
    instances(parts, |_| true)
}

/// Those that speak the mesh's TLS themselves.
pub(crate) fn connect(parts: &Parts) -> Result<View, Failure> {
    instances(parts, is_native)
}

fn instances(parts: &Parts, lets: fn(&catalog::Instance) -> bool) -> Result<View, Failure> {
    let name = named(parts, "service name")?;
    let only_passing = match parts.query.get("passing") {
        None => false,
        Some("" | "true" | "1" | "t") => true,
        Some("false" | "0" | "f") => false,
        Some(_) => return Err(Failure::bad_request("Invalid value for ?passing")),
    };
    if asks_peer(&parts.query) {
        return Ok(nothing(name));
    }
    let (meta, wanted) = (NodeMeta::from_query(&parts.query), tags(&parts.query));
    let filter = Filter::<ServiceEntry>::from_query(&parts.query)?;
    Ok(View::new(Scope::Service(name.clone()), move |context, lens, pretty| {
        let found = lens
            .instances(&name)
            .filter(|(entry, _, instance)| meta.lets(entry) && has_tags(instance, &wanted) && lets(instance))
            .filter(|(_, _, instance)| !only_passing || lens.health(instance) == Status::Passing)
            .map(|(entry, service, instance)| plan::service_entry(context, lens, (entry, service, instance)));
        Answer::list(found.filter(|entry| filter.lets(entry)), pretty)
    }))
}

/// Instances behind an ingress gateway: there are no gateways.
pub(crate) fn ingress(parts: &Parts) -> Result<View, Failure> {
    let name = named(parts, "service name")?;
    Filter::<ServiceEntry>::from_query(&parts.query)?;
    Ok(nothing(name))
}

/// Checks in a state, `any` for all.
pub(crate) fn state(parts: &Parts) -> Result<View, Failure> {
    let wanted = named(parts, "check state")?;
    let meta = NodeMeta::from_query(&parts.query);
    let filter = Filter::<HealthCheck>::from_query(&parts.query)?;
    let scope = if meta.is_open() { Scope::Checks } else { Scope::ChecksAndNodes };
    Ok(View::new(scope, move |_, lens, pretty| {
        let checks = lens
            .nodes()
            .filter(|entry| meta.lets(entry))
            .flat_map(|entry| plan::checks_on(lens, entry))
            .filter(|check| &*wanted == "any" || check.status == wanted);
        Answer::list(checks.filter(|check| filter.lets(check)), pretty)
    }))
}
