//! `agent/checks`, `agent/check/register`, `agent/check/deregister`.

use std::collections::BTreeMap;
use std::sync::Arc;

use acl::Resource;
use catalog::{Command, Deregister, Register};
use consul::listing::HealthCheck;
use consul::register::CheckRegistration;

use crate::Api;
use crate::access::{may_deregister, may_register};
use crate::agent::define_check;
use crate::agent::services::submit;
use crate::filter::Filter;
use crate::http::{Answer, Failure, Parts, Request};
use crate::plan;
use crate::read::check_tenancy;

/// `GET agent/checks`: by id, with outputs that the log has not heard of yet.
pub(crate) fn list(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_tenancy(&parts.query)?;
    let filter = Filter::<HealthCheck>::from_query(&parts.query)?;
    let snapshot = api.store.now();
    let lens = parts.caller.lens(&snapshot);
    let entry = snapshot.node(&api.node.name);
    let sees_node = lens.sees(Resource::Node, &api.node.name);
    let checks: BTreeMap<_, _> = entry
        .into_iter()
        .flat_map(|entry| plan::checks_on(&lens, entry))
        .filter(|check| sees_node || !check.service_id.is_empty())
        .filter(|check| &*check.check_id != plan::NODE_ALIVE)
        .map(|check| latest(api, check))
        .filter(|check| filter.lets(check))
        .map(|check| (check.check_id.clone(), check))
        .collect();
    Answer::json_as(&checks, parts.query.has("pretty"))
}

/// The check with the output that was reported last.
pub(crate) fn latest(api: &Api, mut check: HealthCheck) -> HealthCheck {
    if &*check.kind == "ttl"
        && let Some(output) = api.leases.output(&api.node.name, &check.check_id)
    {
        check.output = output;
    }
    check
}

/// `PUT agent/check/register`.
pub(crate) async fn register(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = request.json::<CheckRegistration>(api.config.max_body()).await?;
    if sent.name.is_empty() {
        return Err(Failure::bad_request("Missing check name"));
    }
    let mut check = define_check(&sent, &api.config)?;
    if check.def.id.is_empty() {
        check.def.id = sent.name.clone();
    }
    let service = &check.def.service_id;
    if !service.is_empty() && api.store.now().instance(&api.node.name, service).is_none() {
        return Err(Failure::not_found(format!("ServiceID {service:?} does not exist")));
    }
    let on = api.node.name.clone();
    let register = Register { node: None, on, instance: None, checks: vec![check] };
    may_register(&parts.caller, &api.store.now(), &register)?;
    submit(&api, register).await?;
    Ok(Answer::empty())
}

/// `PUT agent/check/deregister/:id`.
pub(crate) async fn deregister(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let what = Deregister::Check { node: api.node.name.clone(), id: request.parts.rest.as_str().into() };
    may_deregister(&request.parts.caller, &api.store.now(), &what)?;
    api.store.submit(Command::Deregister(what)).await?;
    Ok(Answer::empty())
}
