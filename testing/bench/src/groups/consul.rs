//! The same clients of the same API, beside Consul itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use peers::Running;

use super::blocking::{index_of, raise_descriptor_limit};
use super::web::wrk;
use crate::harness::cores::Cores;
use crate::harness::figure::{Figure, Latencies};
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::load::dns::Resolver;
use crate::load::dns::burst::{Queries, burst};
use crate::load::watchers::Watchers;
use crate::load::{Client, Span, closed_loop, http as client, registrations, runtime};
use crate::report::{Goal, Row, Section};
use crate::subject::consul::{self, Consul};
use crate::subject::portolan::{Home, Portolan};

/// Instances of the service that is read.
const FIFTY: u64 = 50;
const SERVICE: &str = "fifty";
const INSTANCES: u64 = 10_000;
const WATCHERS: usize = 10_000;
const WRITERS: usize = 64;

#[derive(Debug, Clone, Copy)]
enum Contestant {
    Portolan,
    Consul,
}

impl std::fmt::Display for Contestant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Contestant::Portolan => "Portolan",
            Contestant::Consul => "Consul",
        })
    }
}

/// A running server, and what keeps it.
enum Server {
    Portolan(Portolan, Home),
    Consul(Consul),
}

impl Server {
    fn start(contestant: Contestant, context: &Context, cores: &Cores) -> Result<Server> {
        Ok(match contestant {
            Contestant::Portolan => {
                let home = Home::new(&context.scratch)?;
                Server::Portolan(home.start(context, cores)?, home)
            }
            Contestant::Consul => Server::Consul(Consul::start(cores, &context.scratch)?),
        })
    }

    fn process(&self) -> &Running {
        match self {
            Server::Portolan(portolan, _) => &portolan.process,
            Server::Consul(consul) => &consul.process,
        }
    }

    /// Where the API is, and DNS.
    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        match self {
            Server::Portolan(portolan, _) => (portolan.api, portolan.dns),
            Server::Consul(consul) => (consul.api, consul.dns),
        }
    }
}

#[derive(Default)]
struct Figures {
    catalog: Figure,
    health: Figure,
    writes: Figure,
    dns: Figure,
    woken_ms: Figure,
    resident: Figure,
}

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let watchers = context.size(WATCHERS, 200);
    raise_descriptor_limit(watchers as u64 + 1000)?;
    let mut figures: [Figures; 2] = Default::default();
    interleave(context, &[Contestant::Portolan, Contestant::Consul], |at, contestant| {
        measure(context, cores, *contestant, watchers, &mut figures[at])
    })?;
    let [ours, theirs] = figures;
    let (instances, fifty) = (context.size(INSTANCES, 500), FIFTY);
    let beside =
        |what: &str, unit, ours, theirs, goal| Row::new(what, unit, ours).beside("Consul", theirs).goal(goal);
    let (five, ten, twice) = (Goal::RatioAtLeast(5.0), Goal::RatioAtLeast(10.0), Goal::RatioAtLeast(2.0));
    let quarter = || Goal::RatioAtMost(0.25);
    let woken = format!("last of {watchers} blocking queries answered");
    let resident = format!("resident with {instances} instances");
    Ok(Section {
        group: "consul",
        title: "Beside Consul",
        how: format!(
            "One durable server each, the same clients. Reads: wrk with 64 connections asks for a service of \
             {fifty} instances. Writes: {WRITERS} clients put keys of 200 bytes, each on disk before it is answered. \
             DNS: an A query for a random one of {instances} services with an instance each, by UDP, several hundred under way. \
             Blocking queries: all on one service, to which an instance comes; counted to the last whole answer."
        ),
        rows: vec![
            beside("catalog/service of fifty", "requests/s", ours.catalog, theirs.catalog, five),
            beside("health/service of fifty", "requests/s", ours.health, theirs.health, five),
            beside("keys put", "/s", ours.writes, theirs.writes, twice),
            beside(&woken, "ms", ours.woken_ms, theirs.woken_ms, quarter()),
            beside("DNS", "queries/s", ours.dns, theirs.dns, ten),
            beside(&resident, "MB", ours.resident, theirs.resident, quarter()),
        ],
        facts: vec![format!("Beside it: {}, one server, as it comes.", consul::version()?)],
    })
}

fn measure(
    context: &Context,
    cores: &Cores,
    contestant: Contestant,
    watchers: usize,
    figures: &mut Figures,
) -> Result<()> {
    let server = Server::start(contestant, context, cores)?;
    let (api, dns) = server.addresses();
    let instances = context.size(INSTANCES, 500);
    runtime()?.block_on(async {
        let mut connection = client::Connection::open(api).await?;
        for number in 0..FIFTY {
            registrations::register(&mut connection, SERVICE, &format!("fifty-{number}"), number).await?;
        }
        registrations::fill(api, instances, instances, 16).await
    })?;
    let last = format!("service-{}.service.consul", instances - 1);
    Resolver::new(dns)?.wait_for(&last, Duration::from_secs(120))?;
    figures.resident.push(process::resident_mb(server.process().pid())?);
    reads(context, api, figures)?;
    figures.writes.push(writes(context, api)?);
    figures.dns.push(asked(context, dns, instances)?);
    figures.woken_ms.push(woken(api, watchers)?);
    match server {
        Server::Portolan(portolan, _home) => portolan.stop(),
        Server::Consul(_) => Ok(()),
    }
}

fn reads(context: &Context, api: SocketAddr, figures: &mut Figures) -> Result<()> {
    let time = context.size(Duration::from_secs(3), Duration::from_secs(1));
    for (path, figure) in [("catalog", &mut figures.catalog), ("health", &mut figures.health)] {
        let url = format!("http://{api}/v1/{path}/service/{SERVICE}");
        // A name that is not this host's own is kept out, as a page of somebody else's would be.
        wrk(&url, "localhost", Duration::from_secs(1))?;
        figure.push(wrk(&url, "localhost", time)?.requests / time.as_secs_f64());
    }
    Ok(())
}

struct Writer(client::Connection);

impl Client for Writer {
    async fn step(&mut self, number: u64) -> Result<()> {
        let value = Bytes::from(vec![b'a' + (number % 26) as u8; 200]);
        self.0.put(&format!("/v1/kv/bench/key-{number:09}"), value).await.map(drop)
    }
}

fn writes(context: &Context, api: SocketAddr) -> Result<f64> {
    let measured = context.size(Duration::from_secs(3), Duration::from_secs(1));
    runtime()?.block_on(async {
        let mut clients = Vec::with_capacity(WRITERS);
        for _ in 0..WRITERS {
            clients.push(Writer(client::Connection::open(api).await?));
        }
        let span = Span { warmup: measured / 3, measured };
        Ok(closed_loop(clients, span, || Ok(())).await?.per_second())
    })
}

fn asked(context: &Context, dns: SocketAddr, instances: u64) -> Result<f64> {
    let time = context.size(Duration::from_secs(2), Duration::from_secs(1));
    let queries = Queries::draw(instances, |number| format!("service-{number}.service.consul"));
    burst(dns, &queries, time / 4)?;
    let answered = burst(dns, &queries, time)?;
    ensure!(answered.bad == 0, "{} answers without an address", answered.bad);
    Ok(answered.good as f64 / time.as_secs_f64())
}

fn woken(api: SocketAddr, watchers: usize) -> Result<f64> {
    runtime()?.block_on(async {
        let index = index_of(api, SERVICE).await?;
        let path = format!("/v1/health/service/{SERVICE}?index={index}&wait=5m");
        let mut watching = Watchers::open(api, &path, watchers).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        ensure!(watching.early() == 0, "some were woken by nothing");
        let mut connection = client::Connection::open(api).await?;
        let sent = Instant::now();
        registrations::register(&mut connection, SERVICE, "fifty-new", 77).await?;
        let mut latencies = Latencies::default();
        watching
            .answers()
            .await
            .context("wait for the watchers")?
            .into_iter()
            .for_each(|at| latencies.push(at - sent));
        Ok(latencies.percentile_ms(1.0))
    })
}
