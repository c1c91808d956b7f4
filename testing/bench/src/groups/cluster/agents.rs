//! A fourth node, which follows: how soon it knows everything, and how soon it sees a change.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};

use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::{Figure, Latencies};
use crate::load::http::Connection;
use crate::load::{registrations, runtime};
use crate::report::{Goal, Row};
use crate::subject::trio::{Kind, Newcomer, Trio};

/// Registered before it comes.
const INSTANCES: u64 = 100_000;
/// New agents, one after the other.
const NEW: usize = 3;
/// Changes that the last of them watches.
const CHANGES: u64 = 500;
const WATCHED: &str = "/v1/kv/bench/watched";
/// By then a blocking query that was sent is waited on.
const SETTLED: Duration = Duration::from_millis(3);

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Vec<Row>> {
    let trio = Trio::start(Kind::Portolan, context, cores)?;
    let leader = trio.leader(&[0, 1, 2])?;
    let instances = context.size(INSTANCES, 500);
    let token = trio.token.as_deref();
    let runtime = runtime()?;
    eprintln!("  {instances} instances to new agents");
    runtime.block_on(registrations::fill_with(trio.addresses()[leader], token, instances, 1000, 64))?;
    let mut synced = Figure::default();
    let mut agents = Vec::new();
    for at in 0..context.size(NEW, 1) {
        let agent = Newcomer::start(&trio, 3 + at, context, cores)?;
        synced.push(agent.join(trio.applied(leader)?)?.as_secs_f64());
        agents.push(agent);
    }
    let agent = agents.pop().context("no agent joined")?;
    // The others would share the processors.
    drop(agents);
    eprintln!("  changes seen by an agent");
    let server = trio.addresses()[leader];
    let mut seen = runtime.block_on(async {
        let mut writer = Connection::open(server).await?.with_token(token)?;
        let mut watcher = Connection::open(agent.address()).await?.with_token(token)?;
        watch(&mut writer, &mut watcher, context.size(CHANGES, 20)).await
    })?;
    let after = |share| format!("a change at an agent, after the leader has answered: {share}");
    Ok(vec![
        Row::new(format!("{instances} instances to a new agent, from `join` on"), "s", synced)
            .goal(Goal::Below(3.0)),
        Row::new(after("median"), "ms", Figure::from_iter([seen.percentile_ms(0.5)])).goal(Goal::Below(5.0)),
        Row::new(after("99 of 100 below"), "ms", Figure::from_iter([seen.percentile_ms(0.99)])),
    ])
}

/// From the writer's answer to the watcher's. The watcher's may be the first.
async fn watch(writer: &mut Connection, watcher: &mut Connection, changes: u64) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    writer.put(WATCHED, Bytes::from_static(b"first")).await?;
    let mut index = seen_index(watcher, 0).await?;
    for number in 0..changes {
        let seen = async { anyhow::Ok((seen_index(watcher, index).await?, Instant::now())) };
        let written = async {
            tokio::time::sleep(SETTLED).await;
            writer.put(WATCHED, Bytes::from(number.to_string())).await?;
            anyhow::Ok(Instant::now())
        };
        let (seen, written) = tokio::join!(seen, written);
        let (now, seen) = seen?;
        ensure!(now > index, "the agent answered without a change");
        index = now;
        latencies.push(seen.saturating_duration_since(written?));
    }
    Ok(latencies)
}

/// The index of the key, when it is past `index`, as the agent has it.
async fn seen_index(watcher: &mut Connection, index: u64) -> Result<u64> {
    let path = format!("{WATCHED}?stale&index={index}&wait=30s");
    loop {
        let (status, head) = watcher.headers(Method::GET, &path).await?;
        if status == StatusCode::OK {
            let index = head.get("x-consul-index").context("an answer without an index")?;
            return Ok(index.to_str()?.parse()?);
        }
        // Not there yet.
        ensure!(status == StatusCode::NOT_FOUND, "GET {path}: {status}");
        tokio::time::sleep(SETTLED).await;
    }
}
