//! `status/*` and `operator/*`: who leads, who votes, how they are.

use std::sync::Arc;

use log::LogStatus;
use serde_json::{Value, json};
use store::View;

use crate::catalog_paths::is_native;
use crate::http::{Answer, Failure, Parts};
use crate::plan::NODE_ALIVE;
use crate::read::check_datacenter;
use crate::{Api, CONSUL_VERSION};

/// Behind by more entries than this is not healthy: Consul's `MaxTrailingLogs`.
const MAX_TRAILING: u64 = 250;

/// A server that votes.
struct Server {
    name: Arc<str>,
    id: Arc<str>,
    address: String,
    leads: bool,
    alive: bool,
}

pub(crate) fn leader(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    Answer::json_as(&address(api), parts.query.has("pretty"))
}

pub(crate) fn peers(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    let addresses: Vec<_> = servers(api).into_iter().map(|server| server.address).collect();
    Answer::json_as(&addresses, parts.query.has("pretty"))
}

/// Empty when nothing can be decided any more, as Consul answers without a leader.
pub(crate) fn address(api: &Api) -> String {
    match api.contact.now().is_lost() {
        true => String::new(),
        false => servers(api)
            .into_iter()
            .find(|server| server.leads)
            .map(|server| server.address)
            .unwrap_or_default(),
    }
}

/// Those that vote; this node where it decides alone.
fn servers(api: &Api) -> Vec<Server> {
    let (log, now) = (api.store.log_status(), api.store.now());
    if log.voters.is_empty() {
        let address = format!("{}:{}", api.node.address, api.node.mesh_port);
        let (name, id, leads) = (api.node.name.clone(), api.node.id.clone(), log.stopped.is_none());
        return vec![Server { name, id, address, leads, alive: leads }];
    }
    log.voters.iter().map(|number| server(&now, &log, *number)).collect()
}

fn server(now: &View, log: &LogStatus, number: u64) -> Server {
    let member = now.cluster().server(number);
    let name: Arc<str> = member.map_or_else(|| number.to_string().into(), |member| member.name.clone());
    let address = member.and_then(|member| member.addresses.first()).map(|at| at.to_string());
    let check = now.check(&name, NODE_ALIVE);
    Server {
        id: now.node(&name).map(|entry| entry.def.id.clone()).unwrap_or_default(),
        address: address.unwrap_or_default(),
        leads: log.leader == Some(number),
        alive: check.is_none_or(|check| check.status != catalog::Status::Critical),
        name,
    }
}

/// `GET operator/raft/configuration`: the order is not Raft's, but who votes is the question.
pub(crate) fn configuration(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    let shown = |server: Server| {
        json!({
            "ID": server.id, "Node": server.name, "Address": server.address, "Leader": server.leads,
            "ProtocolVersion": "3", "Voter": true,
        })
    };
    let servers: Vec<_> = servers(api).into_iter().map(shown).collect();
    Answer::json_as(&json!({ "Servers": servers, "Index": 0 }), parts.query.has("pretty"))
}

/// `GET operator/autopilot/health`: 429 when a voting server is dead or nobody leads, as Consul answers.
pub(crate) fn health(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    let servers = servers(api);
    let is_led = !api.contact.now().is_lost();
    let alive = servers.iter().filter(|server| server.alive).count();
    let is_healthy = is_led && alive == servers.len();
    let spare = alive.saturating_sub(servers.len() / 2 + 1);
    let last_index = api.store.log_status().last_index;
    let shown: Vec<Value> = servers.iter().map(|server| shown(server, last_index)).collect();
    let body = json!({ "Healthy": is_healthy, "FailureTolerance": spare, "Servers": shown });
    let status = if is_healthy { http::StatusCode::OK } else { http::StatusCode::TOO_MANY_REQUESTS };
    Ok(Answer::json_as(&body, parts.query.has("pretty"))?.with_status(status))
}

/// `GET operator/autopilot/state`: the same by the servers' ids, with who leads and who votes.
pub(crate) fn state(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    let servers = servers(api);
    let alive = servers.iter().filter(|server| server.alive).count();
    let spare = alive.saturating_sub(servers.len() / 2 + 1);
    let last_index = api.store.log_status().last_index;
    let by_id: serde_json::Map<String, Value> =
        servers.iter().map(|server| (server.id.to_string(), described(server, last_index))).collect();
    let leader = servers.iter().find(|server| server.leads).map_or("", |server| &server.id);
    let body = json!({
        "Healthy": !api.contact.now().is_lost() && alive == servers.len(),
        "FailureTolerance": spare, "OptimisticFailureTolerance": spare, "Servers": by_id, "Leader": leader,
        "Voters": servers.iter().map(|server| &server.id).collect::<Vec<_>>(),
    });
    Answer::json_as(&body, parts.query.has("pretty"))
}

fn described(server: &Server, last_index: u64) -> Value {
    json!({
        "ID": server.id, "Name": server.name, "Address": server.address,
        "NodeStatus": if server.alive { "alive" } else { "failed" }, "Version": CONSUL_VERSION,
        "LastContact": "0s", "LastTerm": 0, "LastIndex": last_index, "Healthy": server.alive,
        "StableSince": "0001-01-01T00:00:00Z", "ReadReplica": false,
        "Status": if server.leads { "leader" } else { "voter" }, "Meta": {}, "NodeType": "voter",
    })
}

fn shown(server: &Server, last_index: u64) -> Value {
    json!({
        "ID": server.id, "Name": server.name, "Address": server.address,
        "SerfStatus": if server.alive { "alive" } else { "failed" },
        "Version": CONSUL_VERSION, "Leader": server.leads, "LastContact": "0s", "LastTerm": 0,
        "LastIndex": last_index, "Healthy": server.alive, "Voter": true,
        "StableSince": "0001-01-01T00:00:00Z",
    })
}

/// `GET operator/autopilot/configuration`: what holds here, under Consul's names. It cannot be changed.
pub(crate) fn autopilot(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    let body = json!({
        "CleanupDeadServers": false, "LastContactThreshold": "10s", "MaxTrailingLogs": MAX_TRAILING,
        "MinQuorum": 0, "ServerStabilizationTime": "0s", "RedundancyZoneTag": "",
        "DisableUpgradeMigration": true, "UpgradeVersionTag": "", "CreateIndex": 1, "ModifyIndex": 1,
    });
    Answer::json_as(&body, parts.query.has("pretty"))
}

/// `GET operator/usage`: how much there is.
pub(crate) fn usage(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    let (now, contact) = (api.store.now(), api.contact.now());
    let natives =
        now.services().flat_map(|service| service.iter()).filter(|instance| is_native(instance)).count();
    let itself = now.service("consul").map_or(0, |service| service.iter().count());
    let usage = json!({
        "Nodes": now.nodes().count(), "Services": now.service_count(),
        "ServiceInstances": now.instance_count(), "BillableServiceInstances": now.instance_count().saturating_sub(itself),
        "ConnectServiceInstances": {
            "connect-native": natives, "connect-proxy": 0, "api-gateway": 0, "ingress-gateway": 0,
            "mesh-gateway": 0, "terminating-gateway": 0,
        },
    });
    let body = json!({
        "Usage": { (&*api.node.datacenter): usage }, "Index": now.index(),
        "LastContact": contact.last_contact_ms(), "KnownLeader": !contact.is_lost(),
        "ConsistencyLevel": "leader", "NotModified": false, "Backend": 0, "ResultsFilteredByACLs": false,
    });
    Answer::json_as(&body, parts.query.has("pretty"))
}
