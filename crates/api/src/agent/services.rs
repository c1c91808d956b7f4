//! `agent/services`, `agent/service/*`: instances registered on this node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use acl::{Resource, Right};
use catalog::{Command, Deregister, Outcome, Refusal, Register, Snapshot, Topic};
use consul::agent::AgentService;
use consul::own::Renewal;
use consul::register::ServiceRegistration;
use http::StatusCode;
use lease::{NotPassedOn, RenewError, Sign, instances_elsewhere};
use store::Watched;
use tokio::time::timeout_at;

use crate::Api;
use crate::access::{may_deregister, may_register};
use crate::agent::define_service;
use crate::filter::Filter;
use crate::http::{Answer, Failure, Parts, Request};
use crate::plan;
use crate::read::{ReadOptions, check_tenancy};

/// `GET agent/services`: by id.
pub(crate) fn list(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_tenancy(&parts.query)?;
    let filter = Filter::<AgentService>::from_query(&parts.query)?;
    let snapshot = api.store.now();
    let lens = parts.caller.lens(&snapshot);
    // What is registered here is told by its service alone, as Consul's agent does.
    let services: BTreeMap<_, _> = snapshot
        .node(&api.node.name)
        .into_iter()
        .flat_map(|entry| lens.instances_on(entry))
        // The server's own entry is the catalog's, not the agent's, as in Consul.
        .filter(|instance| &*instance.def.service != "consul")
        .map(|instance| plan::agent_service(&api.context, instance))
        .filter(|service| filter.lets(service))
        .map(|service| (service.id.clone(), service))
        .collect();
    Answer::json_as(&services, parts.query.has("pretty"))
}

/// `GET agent/service/:id`: one, with a hash of its definition. With `hash` it answers once the hash differs.
pub(crate) async fn show(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let parts = request.parts;
    let options = ReadOptions::parse(&parts.query, &api.node.datacenter)?;
    let Some(seen) = parts.query.given("hash") else { return current(&api, &parts, None) };
    let _pass = api.gate.enter()?;
    let deadline = tokio::time::Instant::now() + options.jittered_wait();
    let mut watch = api.store.watch([Watched::Topic(Topic::Node(api.node.name.clone()))]);
    loop {
        let answer = current(&api, &parts, Some(seen));
        let is_same = answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::NOT_MODIFIED);
        if !is_same {
            return answer;
        }
        let is_over = timeout_at(deadline, watch.changed()).await.is_err();
        if is_over || api.drain.is_started() {
            return current(&api, &parts, None);
        }
    }
}

/// The instance as it is; 304 when its hash is the one that was seen.
fn current(api: &Api, parts: &Parts, seen: Option<&str>) -> Result<Answer, Failure> {
    let snapshot = api.store.now();
    let unknown = || Failure::not_found(format!("unknown service ID: {}", parts.rest));
    let caller = api.desk.again(&snapshot, &parts.caller)?;
    let caller = caller.as_ref().unwrap_or(&parts.caller);
    let instance = snapshot.instance(&api.node.name, &parts.rest).ok_or_else(unknown)?;
    caller.may(Resource::Service, Right::Read, &instance.def.service)?;
    parts.caller.has_asked();
    let mut service = plan::agent_service(&api.context, instance);
    let hash = content_hash(&Answer::json(&service)?.body);
    if seen == Some(hash.as_str()) {
        return Ok(Answer::empty().with_status(StatusCode::NOT_MODIFIED));
    }
    service.content_hash = hash.as_str().into();
    let answer = Answer::json_as(&service, parts.query.has("pretty"))?;
    Ok(answer.with_field("x-consul-contenthash", hash))
}

/// FNV-1a over the definition as it is shown: equal definitions, equal hashes, also after a restart.
fn content_hash(shown: &[u8]) -> String {
    let hash = shown.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// `PUT agent/service/register`.
pub(crate) async fn register(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = request.json::<ServiceRegistration>(api.config.max_body()).await?;
    check_tenancy(&parts.query)?;
    let replace = parts.query.get("replace-existing-checks").is_some_and(|value| value != "false");
    let register = define_service(&api.node.name, sent, replace, &api.config)?;
    may_register(&parts.caller, &api.store.now(), &register)?;
    submit(&api, register).await?;
    Ok(Answer::empty())
}

/// How long a registration waits for its node to be in the catalog.
const NODE_PATIENCE: Duration = Duration::from_secs(5);

/// Submits a registration on this node. In the moment in which the node itself is not in the catalog, since it has just
/// joined a cluster or somebody took it out, that waits for the node.
///
/// # Errors
/// As the store's; 503 when the node does not come in time.
pub(crate) async fn submit(api: &Api, register: Register) -> Result<(), Failure> {
    // Refused here, it costs the log nothing.
    catalog::validate::registration(&register).map_err(Refusal::from)?;
    let deadline = tokio::time::Instant::now() + NODE_PATIENCE;
    let node = &api.node.name;
    let mut watch = api.store.watch([Watched::Topic(Topic::Node(node.clone()))]);
    loop {
        let refusal = match api.store.propose(Command::Register(Box::new(register.clone()))).await?.outcome {
            Outcome::Refused(refusal @ Refusal::UnknownNode(_)) => refusal,
            Outcome::Refused(refusal) => return Err(refusal.into()),
            _ => return Ok(()),
        };
        let comes = async {
            while api.store.now().node(node).is_none() && !api.drain.is_started() {
                watch.changed().await;
            }
        };
        if timeout_at(deadline, comes).await.is_err() || api.drain.is_started() {
            let text = format!("{refusal}; try again in a moment");
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
    }
}

/// `PUT agent/service/deregister/:id`. What is not there is deregistered already.
pub(crate) async fn deregister(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let id = request.parts.rest.as_str().into();
    let node = api.node.name.clone();
    let what = Deregister::Instance { node, id, registered_index: None };
    may_deregister(&request.parts.caller, &api.store.now(), &what)?;
    api.store.submit(Command::Deregister(what)).await?;
    Ok(Answer::empty())
}

/// `PUT agent/service/renew/:id`, our own: the lease lasts a full term from now. The log hears nothing. What is
/// registered on another node is renewed there: a client whose node died goes on with any other.
pub(crate) async fn renew(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (snapshot, id) = (api.store.now(), request.parts.rest.as_str());
    may_renew(&request.parts, &snapshot, &api.node.name, id)?;
    let term = match api.leases.renew(&snapshot, &api.node.name, id, Instant::now()) {
        Ok(term) => term,
        Err(RenewError::Unknown { .. }) => match &instances_elsewhere(&snapshot, &api.node.name, id)[..] {
            [node] => pass_on(&api, Sign::Renewal { node: node.clone(), id: id.into() }).await?,
            nodes => return Err(elsewhere(id, nodes)),
        },
        Err(RenewError::Elsewhere { .. }) => {
            pass_on(&api, Sign::Renewal { node: api.node.name.clone(), id: id.into() }).await?
        }
        Err(error @ RenewError::Expired { .. }) => return Err(Failure::not_found(error.to_string())),
    };
    Answer::json(&Renewal { expires_in_ms: u64::try_from(term.as_millis()).unwrap_or(u64::MAX) })
}

/// Judges by every service that an instance of that id is of, wherever it is registered.
fn may_renew(parts: &Parts, now: &Snapshot, node: &str, id: &str) -> Result<(), Failure> {
    parts.caller.has_asked();
    let elsewhere = instances_elsewhere(now, node, id);
    let found = [node].into_iter().chain(elsewhere.iter().map(|node| &**node));
    for instance in found.filter_map(|node| now.instance(node, id)) {
        parts.may(Resource::Service, Right::Write, &instance.def.service)?;
    }
    Ok(())
}

fn elsewhere(id: &str, nodes: &[Arc<str>]) -> Failure {
    match nodes {
        [] => Failure::not_found(format!("renew \"{id}\": it is not registered; register it again")),
        _ => Failure::new(
            StatusCode::CONFLICT,
            format!(
                "renew \"{id}\": it is registered on {}, and none of them is this node",
                nodes.join(" and ")
            ),
        ),
    }
}

/// Passes a sign of life on; how long the lease lasts now.
pub(crate) async fn pass_on(api: &Api, sign: Sign) -> Result<std::time::Duration, Failure> {
    api.pass_on.pass_on(sign).await.map_err(|error| match error {
        NotPassedOn::Gone(why) => Failure::not_found(why),
        NotPassedOn::Unreachable(why) => Failure::new(StatusCode::SERVICE_UNAVAILABLE, why),
    })
}
