//! Durable writes from many clients, beside etcd on the same disk.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;

use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::load::{Client, Outcome, Span, closed_loop, disk, etcd, http, registrations, runtime};
use crate::report::{Goal, Row, Section};
use crate::subject::etcd::Etcd;
use crate::subject::portolan::Home;

/// How many clients write at once, each waiting for its answer before it sends again.
const CLIENTS: [usize; 2] = [64, 256];

/// Who writes what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Ten instances for each service.
    Registrations,
    /// All into a hundred services, which grow to hundreds of instances.
    Crowded,
    Keys,
    /// A connection for each client.
    Etcd,
    /// Eight connections for all clients, as etcd's own client shares one.
    EtcdShared,
}

#[derive(Debug, Clone, Copy)]
struct Contestant {
    writer: Writer,
    clients: usize,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.writer {
            Writer::Registrations => "portolan, registrations",
            Writer::Crowded => "portolan, registrations into a hundred services",
            Writer::Keys => "portolan, keys",
            Writer::Etcd => "etcd, a connection for each client",
            Writer::EtcdShared => "etcd, shared connections",
        };
        write!(f, "{what}, {} clients", self.clients)
    }
}

#[derive(Default)]
struct Figures {
    rate: Figure,
    p50_ms: Figure,
    p99_ms: Figure,
    cpu_us: Figure,
}

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let writers = [Writer::Registrations, Writer::Crowded, Writer::Keys, Writer::Etcd, Writer::EtcdShared];
    let contestants: Vec<Contestant> = CLIENTS
        .into_iter()
        .flat_map(|clients| writers.map(|writer| Contestant { writer, clients }))
        .collect();
    let mut figures: Vec<Figures> = contestants.iter().map(|_| Figures::default()).collect();
    let mut sync_ms = Figure::default();
    interleave(context, &contestants, |at, contestant| {
        sync_ms.push(disk::fdatasync(&context.scratch, context.size(500, 50))?.percentile_ms(0.5));
        let (mut outcome, cpu_us) = measure(context, cores, *contestant)?;
        figures[at].rate.push(outcome.per_second());
        figures[at].p50_ms.push(outcome.latencies.percentile_ms(0.5));
        figures[at].p99_ms.push(outcome.latencies.percentile_ms(0.99));
        figures[at].cpu_us.push(cpu_us);
        Ok(())
    })?;
    Ok(section(&contestants, &figures, &sync_ms, crate::subject::etcd::version()?))
}

fn section(contestants: &[Contestant], figures: &[Figures], sync_ms: &Figure, etcd: String) -> Section {
    let of = |writer: Writer, clients: usize| {
        let same = |contestant: &Contestant| contestant.writer == writer && contestant.clients == clients;
        contestants.iter().position(same).map(|at| &figures[at])
    };
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let etcds = [of(Writer::Etcd, clients), of(Writer::EtcdShared, clients)].into_iter().flatten();
        let Some(etcd) = etcds.max_by(|a, b| a.rate.median().total_cmp(&b.rate.median())) else { continue };
        let ours = [
            (Writer::Registrations, "registrations"),
            (Writer::Crowded, "registrations into a hundred services"),
            (Writer::Keys, "keys put"),
        ];
        for (writer, what) in ours {
            let Some(ours) = of(writer, clients) else { continue };
            let row = |name: &str, unit, ours: &Figure, peer: &Figure| {
                Row::new(format!("{what}, {clients} clients: {name}"), unit, ours.clone())
                    .beside("etcd", peer.clone())
            };
            let rate = row("rate", "/s", &ours.rate, &etcd.rate);
            rows.push(match writer {
                Writer::Registrations => rate.goal(Goal::AtLeast(10_000.0)).goal(Goal::RatioAtLeast(2.0)),
                _ => rate,
            });
            rows.push(row("median", "ms", &ours.p50_ms, &etcd.p50_ms));
            rows.push(row("99 of 100 below", "ms", &ours.p99_ms, &etcd.p99_ms));
            rows.push(row("server's CPU for each", "µs", &ours.cpu_us, &etcd.cpu_us));
        }
    }
    Section {
        group: "writes",
        title: "Durable writes",
        how: "Each client waits for its answer before it sends again. A registration is a body of about 200 bytes, \
              ten instances to a service; those into a hundred services show what large services cost. etcd gets \
              the same bytes under a key of the same length. Everything answered is on disk: one fdatasync for each \
              turn of the log; Portolan writes the next turn while the last is being synced."
            .to_owned(),
        rows,
        facts: vec![
            format!("One fdatasync of 512 bytes on this disk: {:.2} ms (median of medians).", sync_ms.median()),
            format!("Beside it: {etcd}, one node."),
        ],
    }
}

/// A fresh server, the load, and the server's CPU for each operation in microseconds.
fn measure(context: &Context, cores: &Cores, contestant: Contestant) -> Result<(Outcome, f64)> {
    match contestant.writer {
        Writer::Registrations | Writer::Crowded | Writer::Keys => {
            let home = Home::new(&context.scratch)?;
            let portolan = home.start(context, cores)?;
            let measured = load(context, contestant, portolan.api, portolan.process.pid())?;
            portolan.stop()?;
            Ok(measured)
        }
        Writer::Etcd | Writer::EtcdShared => {
            let etcd = Etcd::start(cores, &context.scratch)?;
            load(context, contestant, etcd.address, etcd.process.pid())
        }
    }
}

fn load(context: &Context, contestant: Contestant, server: SocketAddr, pid: u32) -> Result<(Outcome, f64)> {
    let span = Span {
        warmup: context.size(Duration::from_secs(1), Duration::from_millis(200)),
        measured: context.size(Duration::from_secs(5), Duration::from_millis(500)),
    };
    let before = std::cell::Cell::new(Duration::ZERO);
    let at_start = || {
        before.set(process::cpu(pid)?);
        Ok(())
    };
    let Contestant { writer, clients } = contestant;
    let outcome = runtime()?.block_on(async {
        match writer {
            Writer::Registrations => {
                closed_loop(registering(server, clients, 0).await?, span, at_start).await
            }
            Writer::Crowded => closed_loop(registering(server, clients, 100).await?, span, at_start).await,
            Writer::Keys => closed_loop(putting(server, clients).await?, span, at_start).await,
            Writer::Etcd => closed_loop(etcds(server, clients, clients).await?, span, at_start).await,
            Writer::EtcdShared => closed_loop(etcds(server, clients, 8).await?, span, at_start).await,
        }
    });
    let outcome = outcome.with_context(|| format!("load {contestant}"))?;
    let spent = process::cpu(pid)?.saturating_sub(before.get());
    let each = spent.as_secs_f64() * 1e6 / outcome.latencies.count() as f64;
    Ok((outcome, each))
}

struct Registering {
    connection: http::Connection,
    /// How many services there are; 0 for one to every ten instances.
    services: u64,
}

impl Client for Registering {
    async fn step(&mut self, number: u64) -> Result<()> {
        let service = match self.services {
            0 => number / 10,
            services => number % services,
        };
        let (service, id) = (format!("service-{service:07}"), format!("instance-{number:08}"));
        registrations::register(&mut self.connection, &service, &id, number).await
    }
}

struct Putting(http::Connection);

impl Client for Putting {
    async fn step(&mut self, number: u64) -> Result<()> {
        let (key, value) = record(number);
        self.0.put(&format!("/v1/kv/{key}"), value).await.map(drop)
    }
}

struct EtcdPutting(etcd::Connection);

impl Client for EtcdPutting {
    async fn step(&mut self, number: u64) -> Result<()> {
        let (key, value) = record(number);
        self.0.put(key.as_bytes(), &value).await
    }
}

/// What a registration would be, as a key and a value.
fn record(number: u64) -> (String, Bytes) {
    let (service, id) = (format!("service-{:07}", number / 10), format!("instance-{number:08}"));
    (format!("services/{service}/{id}"), registrations::body(&service, &id, number))
}

async fn connections(server: SocketAddr, clients: usize) -> Result<Vec<http::Connection>> {
    let mut all = Vec::with_capacity(clients);
    for _ in 0..clients {
        all.push(http::Connection::open(server).await?);
    }
    Ok(all)
}

async fn registering(server: SocketAddr, clients: usize, services: u64) -> Result<Vec<Registering>> {
    let connections = connections(server, clients).await?;
    Ok(connections.into_iter().map(|connection| Registering { connection, services }).collect())
}

async fn putting(server: SocketAddr, clients: usize) -> Result<Vec<Putting>> {
    Ok(connections(server, clients).await?.into_iter().map(Putting).collect())
}

async fn etcds(server: SocketAddr, clients: usize, connections: usize) -> Result<Vec<EtcdPutting>> {
    let mut open = Vec::new();
    for _ in 0..connections.min(clients) {
        open.push(etcd::Connection::open(server).await?);
    }
    Ok(open.iter().cycle().take(clients).map(|connection| EtcdPutting(connection.clone())).collect())
}
