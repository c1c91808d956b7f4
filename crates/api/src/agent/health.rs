//! `agent/health/service/{id,name}/…`: what this node says of its own instances, by status code.

use std::sync::Arc;

use acl::{Resource, Right};
use catalog::{Instance, Snapshot, Status};
use consul::agent::AgentServiceHealth;
use http::{StatusCode, header};
use serde_json::json;

use crate::Api;
use crate::agent::checks::latest;
use crate::http::{Answer, Failure, Parts};
use crate::plan::{self, NODE_MAINTENANCE, SERVICE_MAINTENANCE};

/// Worst of several, as Consul aggregates: maintenance is worse than critical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aggregated {
    Status(Status),
    Maintenance,
}

impl Aggregated {
    fn as_str(self) -> &'static str {
        match self {
            Aggregated::Status(status) => status.as_str(),
            Aggregated::Maintenance => "maintenance",
        }
    }

    fn code(self) -> StatusCode {
        match self {
            Aggregated::Status(Status::Passing) => StatusCode::OK,
            Aggregated::Status(Status::Warning) => StatusCode::TOO_MANY_REQUESTS,
            Aggregated::Status(Status::Critical) | Aggregated::Maintenance => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// One instance.
pub(crate) fn by_id(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let id = parts.rest.as_str();
    if id.is_empty() {
        return Err(Failure::bad_request("Missing serviceID"));
    }
    let snapshot = api.store.now();
    let Some(instance) = snapshot.instance(&api.node.name, id) else {
        let reason = format!("ServiceId {id} not found");
        let nothing = json!({ "AggregatedStatus": "critical", "Service": null, "Checks": null });
        return shown(parts, StatusCode::NOT_FOUND, "critical", &reason, &nothing);
    };
    parts.may(Resource::Service, Right::Read, &instance.def.service)?;
    let worst = aggregate(&snapshot, instance);
    shown(parts, worst.code(), worst.as_str(), worst.as_str(), &health(api, parts, &snapshot, instance))
}

/// Every instance of a service on this node.
pub(crate) fn by_name(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let name = parts.rest.as_str();
    if name.is_empty() {
        return Err(Failure::bad_request("Missing service Name"));
    }
    let snapshot = api.store.now();
    let entry = snapshot.node(&api.node.name);
    let found: Vec<&Arc<Instance>> = entry
        .into_iter()
        .flat_map(|entry| entry.instances.values())
        .filter(|instance| &*instance.def.service == name)
        .collect();
    let Some(worst) = found.iter().map(|instance| aggregate(&snapshot, instance)).max() else {
        let reason = format!("ServiceName {name} Not Found");
        return shown(parts, StatusCode::NOT_FOUND, "critical", &reason, &json!([]));
    };
    let all: Vec<_> = found.into_iter().map(|instance| health(api, parts, &snapshot, instance)).collect();
    shown(parts, worst.code(), worst.as_str(), worst.as_str(), &all)
}

fn aggregate(snapshot: &Snapshot, instance: &Instance) -> Aggregated {
    let each = snapshot.checks_of(instance).map(|check| match &*check.def.id {
        id if id == NODE_MAINTENANCE || id.starts_with(SERVICE_MAINTENANCE) => Aggregated::Maintenance,
        _ => Aggregated::Status(check.status),
    });
    each.max().unwrap_or(Aggregated::Status(Status::Passing))
}

fn health(api: &Api, parts: &Parts, snapshot: &Snapshot, instance: &Instance) -> AgentServiceHealth {
    let checks = plan::checks_of(&parts.caller.lens(snapshot), instance);
    AgentServiceHealth {
        aggregated_status: aggregate(snapshot, instance).as_str().into(),
        service: plan::agent_service(&api.context, instance),
        checks: checks
            .into_iter()
            .filter(|check| &*check.check_id != plan::NODE_ALIVE)
            .map(|check| latest(api, check))
            .collect(),
    }
}

/// As text for load balancers that ask for it, else as JSON.
fn shown(
    parts: &Parts,
    status: StatusCode,
    word: &'static str,
    reason: &str,
    json: &impl serde::Serialize,
) -> Result<Answer, Failure> {
    let accepts = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let wants_text = parts.query.get("format") == Some("text")
        || accepts.is_some_and(|accepts| accepts.starts_with("text/plain"));
    let answer = match wants_text {
        true => Answer::text(word),
        false => Answer::json_as(json, parts.query.has("pretty"))?,
    };
    Ok(answer.with_status(status).with_field("x-consul-reason", reason.to_owned()))
}
