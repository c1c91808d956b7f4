//! Commands that ask an agent and show what it says: `members`, `catalog`, `info`, `version`, and the like.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};
use consul::agent::{AgentSelf, Member};
use consul::listing::Node;
use serde_json::json;

use super::talk;
use crate::cli::Global;
use crate::command::snapshot::Snapshot;
use crate::exit::{Exit, Failure, Result};
use crate::remote::encoded;

pub(super) fn help() -> Result {
    println!(
        "Usage: consul <command> [flags] [arguments]\n\n\
         This is Portolan under Consul's name. Commands that are here:\n\n    \
         agent       Run an agent (-dev keeps everything in memory)\n    \
         catalog     datacenters, nodes, services\n    \
         event       Fire an event\n    \
         force-leave Remove a member that is dead\n    \
         info        Show what the agent says of itself\n    \
         kv          get, put, delete, export, import\n    \
         leave       Let the agent leave\n    \
         lock        Run a program while a lock is held\n    \
         members     List nodes that run an agent\n    \
         reload      Let the agent read its files again\n    \
         services    register, deregister\n    \
         snapshot    save, restore, inspect\n    \
         validate    Check an agent's files\n    \
         version     Show the version\n\n\
         Everything else, and much more: portolan --help"
    );
    Ok(())
}

pub(super) fn version(arguments: &[&str]) -> Result {
    let flags = super::Flags::read(arguments, &["format"], &[]);
    let flags = flags.map_err(|why| Failure::new(Exit::Usage, why))?;
    if flags.last("format") == Some("json") {
        let version = json!({
            "Version": api::CONSUL_VERSION, "HumanVersion": api::CONSUL_VERSION, "Revision": "",
            "Prerelease": "", "BuildDate": "1970-01-01T00:00:00Z",
            "RPC": { "Default": 2, "Min": 2, "Max": 3 }, "PortolanVersion": env!("CARGO_PKG_VERSION"),
        });
        println!("{version}");
        return Ok(());
    }
    // Scripts look for the first line.
    println!("Consul v{}", api::CONSUL_VERSION);
    println!("Portolan {} (the API of that Consul)", env!("CARGO_PKG_VERSION"));
    println!(
        "Protocol 2 spoken by default, understands 2 to 3 (agent will automatically use protocol >2 when speaking to compatible agents)"
    );
    Ok(())
}

pub(super) fn catalog(what: &str, arguments: &[&str]) -> Result {
    let (flags, remote) = talk(arguments, &["node", "near", "node-meta", "service"], &["detailed", "tags"])?;
    let what = what.to_owned();
    crate::command::block_on(async move {
        match what.as_str() {
            "datacenters" => {
                let all: Vec<String> = remote.get("/v1/catalog/datacenters").await?.value;
                all.iter().for_each(|name| println!("{name}"));
            }
            "services" => {
                let all: BTreeMap<String, Vec<String>> = remote.get("/v1/catalog/services").await?.value;
                for (name, tags) in all {
                    match flags.is_on("tags") && !tags.is_empty() {
                        true => println!("{name}    {}", tags.join(",")),
                        false => println!("{name}"),
                    }
                }
            }
            _ => {
                let all: Vec<Node> = remote.get("/v1/catalog/nodes").await?.value;
                let rows = all.iter().map(|node| {
                    let id = node.id.get(..8).unwrap_or(&node.id).to_owned();
                    vec![node.node.to_string(), id, node.address.to_string(), node.datacenter.to_string()]
                });
                table(&["Node", "ID", "Address", "DC"], rows.collect());
            }
        }
        Ok(())
    })
}

pub(super) fn members(arguments: &[&str]) -> Result {
    let (flags, remote) = talk(arguments, &["status", "segment"], &["detailed", "wan"])?;
    crate::command::block_on(async move {
        let path = if flags.is_on("wan") { "/v1/agent/members?wan" } else { "/v1/agent/members" };
        let all: Vec<Member> = remote.get(path).await?.value;
        let tag =
            |member: &Member, name: &str| member.tags.get(name).map_or(String::new(), |tag| tag.to_string());
        let rows = all.iter().map(|member| {
            let status = if member.status == 1 { "alive" } else { "failed" };
            let kind = if tag(member, "role") == "consul" { "server" } else { "client" };
            let address = format!("{}:{}", member.addr, member.port);
            let (build, dc) = (tag(member, "build"), tag(member, "dc"));
            [&member.name, &*address, status, kind, &build, "2", &dc, "default", "<all>"]
                .map(str::to_owned)
                .to_vec()
        });
        let rows: Vec<Vec<String>> = rows.collect();
        table(
            &["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Partition", "Segment"],
            rows,
        );
        Ok(())
    })
}

pub(super) fn info(arguments: &[&str]) -> Result {
    let (_, remote) = talk(arguments, &[], &[])?;
    crate::command::block_on(async move {
        let about: AgentSelf = remote.get("/v1/agent/self").await?.value;
        for (group, pairs) in &about.stats {
            println!("{group}:");
            pairs.iter().for_each(|(name, value)| println!("\t{name} = {value}"));
        }
        Ok(())
    })
}

/// A wish without a body or an answer.
pub(super) fn told(path: &'static str, done: &'static str, arguments: &[&str]) -> Result {
    let (_, remote) = talk(arguments, &[], &[])?;
    crate::command::block_on(async move {
        remote.send(path, Vec::new()).await?;
        println!("{done}");
        Ok(())
    })
}

pub(super) fn force_leave(arguments: &[&str]) -> Result {
    let (flags, remote) = talk(arguments, &[], &["prune"])?;
    let node = flags.rest.first().context("name the node that is gone")?.to_owned();
    crate::command::block_on(async move {
        remote.send(&format!("/v1/agent/force-leave/{}", encoded(&node)), Vec::new()).await?;
        Ok(())
    })
}

pub(super) fn event(arguments: &[&str]) -> Result {
    let (flags, remote) = talk(arguments, &["name", "node", "service", "tag"], &[])?;
    let name = flags.last("name").context("name the event with -name")?.to_owned();
    let filters =
        ["node", "service", "tag"].into_iter().filter_map(|filter| Some((filter, flags.last(filter)?)));
    let filters: Vec<String> =
        filters.map(|(name, value)| format!("{name}={}", encoded(value).replace('/', "%2F"))).collect();
    let path = format!("/v1/event/fire/{}?{}", encoded(&name), filters.join("&"));
    let payload = flags.rest.first().cloned().unwrap_or_default();
    crate::command::block_on(async move {
        let answer = remote.send(&path, payload.into_bytes()).await?;
        let fired: serde_json::Value = serde_json::from_slice(&answer).context("read the answer")?;
        println!("Event ID: {}", fired["ID"].as_str().unwrap_or_default());
        Ok(())
    })
}

pub(super) fn snapshot(what: &str, arguments: &[&str], global: &Global) -> Result {
    let (flags, remote) = talk(arguments, &[], &[])?;
    drop(remote);
    let file = flags.rest.first().context("name a file")?.into();
    let snapshot = match what {
        "save" => Snapshot::Save { file, stale: flags.is_on("stale") },
        "restore" => Snapshot::Restore { file },
        _ => Snapshot::Inspect { file },
    };
    let api = flags.last("http-addr").map(str::to_owned).or_else(|| global.api.clone());
    crate::command::snapshot::run(snapshot, &Global { api, ..global.clone() })
}

/// Columns as Consul prints them: padded, two spaces apart.
pub(super) fn table(heads: &[&str], rows: Vec<Vec<String>>) {
    let all: Vec<Vec<String>> =
        std::iter::once(heads.iter().map(|head| (*head).to_owned()).collect()).chain(rows).collect();
    let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.len()).max();
    for row in &all {
        let cells = row.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at).unwrap_or(0)));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// Creates a session with a term; its id.
pub(super) async fn session(remote: &crate::remote::Remote, name: &str, term: &str) -> Result<String> {
    let body = json!({ "Name": name, "TTL": term, "LockDelay": "15s" });
    let body = serde_json::to_vec(&body).map_err(anyhow::Error::from)?;
    let answer = remote.send("/v1/session/create", body).await?;
    let created: consul::session::SessionCreated = consul::decode(&answer)
        .map_err(|cause| Failure::new(Exit::Failure, anyhow!("create a session: {cause}")))?;
    Ok(created.id.to_string())
}
