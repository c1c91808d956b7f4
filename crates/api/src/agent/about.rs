//! What this node says of itself: `agent/self`, `agent/members`, `agent/version`, `agent/host`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use catalog::{Mode, NodeEntry, Status};
use consul::agent::{AgentSelf, Member, SelfConfig, Version};
use consul::{Empty, Labels, Text};
use http::StatusCode;
use serde_json::json;

use crate::filter::Filter;
use crate::http::{Answer, Failure, Parts};
use crate::plan::NODE_ALIVE;
use crate::{Api, CONSUL_VERSION, status};

pub(crate) fn show(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let node = &api.node;
    let snapshot = api.store.now();
    let entry = snapshot.node(&node.name);
    let about = AgentSelf {
        config: SelfConfig {
            datacenter: node.datacenter.clone(),
            primary_datacenter: node.datacenter.clone(),
            node_name: node.name.clone(),
            node_id: node.id.clone(),
            revision: node.revision.into(),
            server: node.is_server,
            version: CONSUL_VERSION.into(),
            build_date: "1970-01-01T00:00:00Z".into(),
            portolan_version: node.version.into(),
        },
        debug_config: settings(api),
        coord: None,
        xds: Empty {},
        member: member(api, &node.name, &node.address, &node.id, true),
        stats: stats(api, entry),
        meta: entry.map(|entry| labels(&entry.def.meta)).unwrap_or_default(),
    };
    Answer::json_as(&about, parts.query.has("pretty"))
}

/// The few settings that clients look for, under Consul's names.
fn settings(api: &Api) -> serde_json::Map<String, serde_json::Value> {
    let (node, now) = (&api.node, api.store.now());
    let settings = json!({
        "Datacenter": node.datacenter,
        "NodeName": node.name,
        "NodeID": node.id,
        "ServerMode": node.is_server,
        "AdvertiseAddrLAN": node.address,
        "SerfAdvertiseAddrLAN": format!("tcp://{}:{}", node.address, node.mesh_port),
        "ACLsEnabled": now.mode() != Mode::Open,
        "ACLDefaultPolicy": now.acl().default_policy().as_str(),
        "EnableLocalScriptChecks": api.config.enable_script_checks,
        "EnableRemoteScriptChecks": api.config.enable_script_checks,
        "HTTPAddrs": api.config.listen.iter().map(|at| format!("tcp://{at}")).collect::<Vec<_>>(),
        "KVMaxValueSize": api.config.limits.max_body,
        "DNSDomain": "consul.",
        "DefaultQueryTime": "5m0s",
        "MaxQueryTime": "10m0s",
        "UIConfig": { "Enabled": false },
    });
    match settings {
        serde_json::Value::Object(settings) => settings,
        _ => serde_json::Map::new(),
    }
}

fn stats(api: &Api, entry: Option<&Arc<NodeEntry>>) -> BTreeMap<Text, BTreeMap<Text, Text>> {
    let snapshot = api.store.now();
    let log = api.store.log_status();
    let leases = api.leases.stats();
    let group = |pairs: &[(&str, String)]| -> BTreeMap<Text, Text> {
        pairs.iter().map(|(name, value)| ((*name).into(), value.as_str().into())).collect()
    };
    let checks = entry.map_or(0, |entry| entry.all_checks().count());
    let services = entry.map_or(0, |entry| entry.instances.len());
    BTreeMap::from([
        (
            "agent".into(),
            group(&[
                ("checks", checks.to_string()),
                ("services", services.to_string()),
                ("check_ttls", leases.ttl_checks.to_string()),
                ("check_monitors", checks.saturating_sub(leases.ttl_checks).to_string()),
            ]),
        ),
        ("build".into(), group(&[("prerelease", String::new()), ("version", CONSUL_VERSION.to_owned())])),
        (
            "consul".into(),
            group(&[
                ("acl", if snapshot.mode() == Mode::Open { "disabled" } else { "enabled" }.to_owned()),
                ("known_datacenters", "1".to_owned()),
                ("leader", (log.stopped.is_none() && !log.cut_off).to_string()),
                ("leader_addr", status::address(api)),
                ("server", api.node.is_server.to_string()),
            ]),
        ),
        (
            "raft".into(),
            group(&[
                ("applied_index", snapshot.index().to_string()),
                ("commit_index", log.last_index.to_string()),
                ("last_log_index", log.last_index.to_string()),
                ("last_snapshot_index", log.checkpoint_index.to_string()),
                ("num_peers", "0".to_owned()),
                ("state", "Leader".to_owned()),
            ]),
        ),
    ])
}

/// Members are the nodes that have a liveness check; those registered from outside have none. Among all
/// datacenters (`wan`) a name carries its own.
pub(crate) fn members(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let filter = Filter::<Member>::from_query(&parts.query)?;
    let snapshot = api.store.now();
    let is_wan = parts.query.has("wan");
    let lens = parts.caller.lens(&snapshot);
    let members: Vec<Member> = lens
        .nodes()
        .filter_map(|entry| {
            let alive = entry.checks.iter().find(|check| &*check.def.id == NODE_ALIVE)?;
            let def = &entry.def;
            let name = match is_wan {
                true => format!("{}.{}", def.name, api.node.datacenter).into(),
                false => def.name.clone(),
            };
            Some(member(api, &name, &def.address, &def.id, alive.status != Status::Critical))
        })
        .filter(|member| filter.lets(member))
        .collect();
    Answer::json_as(&members, parts.query.has("pretty"))
}

fn member(api: &Api, name: &Text, address: &Text, id: &Text, is_alive: bool) -> Member {
    let node = &api.node;
    let tags = [
        ("role", if node.is_server { "consul" } else { "node" }),
        ("dc", &*node.datacenter),
        ("id", &**id),
        ("build", CONSUL_VERSION),
        ("vsn", "2"),
        ("segment", ""),
    ];
    let mut tags: Labels = tags.map(|(name, value)| (name.into(), value.into())).into();
    tags.insert("port".into(), node.mesh_port.to_string().into());
    Member {
        name: name.clone(),
        addr: address.clone(),
        port: node.mesh_port,
        tags,
        status: if is_alive { 1 } else { 4 },
        protocol_min: 1,
        protocol_max: 5,
        protocol_cur: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate_cur: 4,
    }
}

pub(crate) fn version(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let version = Version {
        human_version: CONSUL_VERSION.into(),
        sha: api.node.revision.into(),
        build_date: "1970-01-01T00:00:00Z".into(),
        fips: "".into(),
        portolan_version: api.node.version.into(),
    };
    Answer::json_as(&version, parts.query.has("pretty"))
}

/// What the kernel says of the host. Consul shows much more; this is what people look for.
pub(crate) fn host(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let bytes = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib: u64 = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        kib * 1024
    };
    let uptime = read("/proc/uptime").split('.').next().and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
    let cores = std::thread::available_parallelism()
        .map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("count the cores: {e}")))?;
    let collected = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let host = json!({
        "Memory": { "total": bytes("MemTotal"), "available": bytes("MemAvailable"), "free": bytes("MemFree") },
        "CPU": (0..cores.get()).map(|cpu| json!({ "cpu": cpu })).collect::<Vec<_>>(),
        "Host": {
            "hostname": read("/proc/sys/kernel/hostname").trim(),
            "uptime": uptime,
            "os": "linux",
            "kernelVersion": read("/proc/sys/kernel/osrelease").trim(),
            "kernelArch": std::env::consts::ARCH,
            "nodeName": api.node.name,
        },
        // Nanoseconds, as Consul has it.
        "CollectionTime": collected.as_nanos() as u64,
        "Errors": null,
    });
    Answer::json_as(&host, parts.query.has("pretty"))
}

fn labels(of: &catalog::Labels) -> Labels {
    of.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}
