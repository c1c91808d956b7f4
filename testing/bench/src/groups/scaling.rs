//! What an operation costs while something else grows: services, rules, endpoints of one service, connections.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::relayed::tcp::looped;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::load::dns::Resolver;
use crate::load::dns::burst::{Queries, burst};
use crate::load::streams::{self, Backends};
use crate::load::{Span, pages, registrations, runtime};
use crate::report::plot::{Curve, Panel, svg};
use crate::report::{Goal, Row, Section};
use crate::subject::relay::{self, Relay};
use crate::subject::{ask, zone};

/// Beside `docs/benchmarks.md`.
const PICTURE: &str = "scaling.svg";
const SERVICES: [u64; 5] = [10, 100, 1_000, 10_000, 100_000];
const RULES: [u64; 4] = [1, 10, 100, 1_000];
const ENDPOINTS: [u64; 4] = [1, 10, 100, 1_000];
const CONNECTIONS: [u64; 4] = [1, 10, 100, 1_000];
/// Connections and clients where something else grows.
const PINGS: usize = 32;
const CALLERS: usize = 16;
/// The service with pages.
const SITE: &str = "relayed-2";
const LIMIT: Duration = Duration::from_secs(20);
/// Growth of services and rules that is allowed from the smallest to the largest, in percent; of services, up to this many.
const ALLOWED: f64 = 15.0;
const UP_TO: u64 = 10_000;

/// What grows, and how much there is of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Services(u64),
    Rules(u64),
    Endpoints(u64),
    Connections(u64),
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Size::Services(count) => write!(f, "{count} services"),
            Size::Rules(count) => write!(f, "{count} rules"),
            Size::Endpoints(count) => write!(f, "{count} endpoints"),
            Size::Connections(count) => write!(f, "{count} connections"),
        }
    }
}

/// What was measured there, in microseconds of the daemon's CPU.
#[derive(Default)]
struct Costs {
    query: Figure,
    ping: Figure,
    call: Figure,
    request: Figure,
}

type Line = (&'static str, fn(&Costs) -> &Figure);

const QUERY: Line = ("DNS query", |costs| &costs.query);
const PING: Line = ("ping by TCP", |costs| &costs.ping);
const CALL: Line = ("new connection", |costs| &costs.call);
const REQUEST: Line = ("HTTP request", |costs| &costs.request);

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let sizes: Vec<Size> = SERVICES
        .map(Size::Services)
        .into_iter()
        .chain(RULES.map(Size::Rules))
        .chain(ENDPOINTS.map(Size::Endpoints))
        .chain(CONNECTIONS.map(Size::Connections))
        .filter(|size| !context.quick || !matches!(size, Size::Services(10_001..)))
        .collect();
    let most = ENDPOINTS[ENDPOINTS.len() - 1] as usize;
    let behind =
        Behind { streams: Backends::start()?, site: pages::serve()?, many: streams::answer_once(most)? };
    let mut costs: Vec<Costs> = sizes.iter().map(|_| Costs::default()).collect();
    interleave(context, &sizes, |at, size| measure(context, cores, *size, &behind, &mut costs[at]))?;

    let measured: Vec<(Size, Costs)> = sizes.into_iter().zip(costs).collect();
    let panels = [
        panel("services", &measured, &[QUERY, PING, CALL, REQUEST], |size| match size {
            Size::Services(count) => Some(count),
            _ => None,
        }),
        panel("rules", &measured, &[QUERY, PING, CALL, REQUEST], |size| match size {
            Size::Rules(count) => Some(count),
            _ => None,
        }),
        panel("endpoints of the service", &measured, &[QUERY, CALL], |size| match size {
            Size::Endpoints(count) => Some(count),
            _ => None,
        }),
        panel("connections", &measured, &[PING], |size| match size {
            Size::Connections(count) => Some(count),
            _ => None,
        }),
    ];
    if !context.quick {
        let path = context.documents().join(PICTURE);
        std::fs::write(&path, svg(&panels)).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(Section {
        group: "scaling",
        title: "Growth",
        how: format!(
            "What an operation costs the daemon in CPU while something grows, relative to the smallest: a DNS query \
             for a random service, or for the one with many endpoints; 64 bytes there and back through the TCP \
             relay; a new connection through it; a small page through the HTTP proxy, on kept connections. Rules are about \
             users, networks, services and nodes in turn, and the last one, which allows everybody, decides; without \
             growing there is one.\n\n![Costs over sizes, relative to the smallest]({PICTURE})"
        ),
        rows: panels.iter().flat_map(rows).collect(),
        facts: vec![],
    })
}

fn panel(what: &str, measured: &[(Size, Costs)], lines: &[Line], of: fn(Size) -> Option<u64>) -> Panel {
    let curve = |(name, cost): &Line| Curve {
        name: (*name).to_owned(),
        points: measured
            .iter()
            .filter_map(|(size, costs)| Some((of(*size)? as f64, cost(costs).median())))
            .collect(),
    };
    Panel { title: what.to_owned(), curves: lines.iter().map(curve).collect() }
}

/// A row for each point, and how much it grew since the first.
fn rows(panel: &Panel) -> Vec<Row> {
    let mut rows = Vec::new();
    for curve in &panel.curves {
        let first = curve.points.first().map_or(0.0, |point| point.1);
        for (at, cost) in &curve.points {
            let what = format!("{}, {at} {}", curve.name, panel.title);
            rows.push(Row::new(what, "µs", Figure::from_iter([*cost])));
        }
        let last = curve.points.iter().rfind(|point| point.0 <= UP_TO as f64);
        if let Some((at, cost)) = last {
            let growth = (cost / first - 1.0) * 100.0;
            let what = format!("{}: growth to {at} {}", curve.name, panel.title);
            let row = Row::new(what, "%", Figure::from_iter([growth]));
            rows.push(if matches!(&*panel.title, "services" | "rules") {
                row.goal(Goal::Below(ALLOWED))
            } else {
                row
            });
        }
    }
    rows
}

/// What stands behind the daemon.
struct Behind {
    streams: Backends,
    site: SocketAddr,
    /// As many as a service may have endpoints.
    many: Vec<SocketAddr>,
}

fn measure(context: &Context, cores: &Cores, size: Size, behind: &Behind, costs: &mut Costs) -> Result<()> {
    let site = relay::port()?;
    let relay = started(context, cores, size, behind, site)?;
    let portolan = relay.portolan().context("our own relay is the daemon")?;
    let (dns, pid) = (portolan.dns, relay.pid);
    let time = context.size(Duration::from_secs(1), Duration::from_millis(300));
    let span = Span { warmup: time / 4, measured: time };
    let (echo, once) = (relay.listeners[0], relay.listeners[1]);
    if !matches!(size, Size::Connections(_)) {
        let queries = match size {
            Size::Endpoints(_) => Queries::draw(1, |_| "relayed-1.service.consul".to_owned()),
            _ => Queries::draw(services(size), zone::name),
        };
        burst(dns, &queries, time / 4)?;
        let (answered, cpu_us) = process::cpu_us(pid, || burst(dns, &queries, time))?;
        costs.query.push(cpu_us / (answered.good + answered.bad) as f64);
        costs.call.push(looped(pid, |start| streams::connects(once, CALLERS, span, start))?.1);
        costs.request.push(looped(pid, |start| pages::requests(site, SITE, PINGS, span, start))?.1);
    }
    let connections = match size {
        Size::Connections(count) => count as usize,
        _ => PINGS,
    };
    costs.ping.push(looped(pid, |start| streams::pings(echo, connections, span, start))?.1);
    relay.stop()
}

fn services(size: Size) -> u64 {
    match size {
        Size::Services(count) => count,
        _ => 10,
    }
}

/// The daemon, with as much of everything as is asked for, once it serves that.
fn started(context: &Context, cores: &Cores, size: Size, behind: &Behind, site: SocketAddr) -> Result<Relay> {
    let servers = [behind.streams.echo, behind.streams.once, behind.site];
    let count = match size {
        Size::Rules(count) => count,
        _ => 1,
    };
    let relay = Relay::ours(context, cores, &servers, site, &rules(count))?;
    let portolan = relay.portolan().context("our own relay is the daemon")?;
    let mode = ask::status(portolan.api, LIMIT, "PUT", "/v1/portolan/mode/observe", "");
    ensure!(mode == Some(200), "the rules' mode was answered with {mode:?}");
    let services = services(size);
    runtime()?.block_on(registrations::fill(portolan.api, services, services, 16))?;
    Resolver::new(portolan.dns)?.wait_for(&zone::name(services - 1), Duration::from_secs(60))?;
    if let Size::Endpoints(count) = size {
        grow(&relay, &behind.many[..count as usize])?;
    }
    let begin = Instant::now();
    while let Err(cause) = pages::once(site, SITE) {
        ensure!(begin.elapsed() < LIMIT, "the proxy has no page: {cause:#}");
    }
    Ok(relay)
}

/// Rules about others, in the file's form, and the one that lets everybody.
fn rules(count: u64) -> String {
    let mut text = String::new();
    for number in 1..count {
        let source = match number % 4 {
            0 => format!("uid:{}", 100_000 + number),
            1 => format!("192.0.{}.{}/32", number / 250, number % 250),
            2 => format!("service-{number}"),
            _ => format!("node:node-{number}"),
        };
        let _ = writeln!(text, "[[rules]]\naction = \"deny\"\nsource = \"{source}\"\nservice = \"any\"");
    }
    text + "[[rules]]\naction = \"allow\"\nsource = \"any\"\nservice = \"any\"\n"
}

/// Gives the second relayed service so many endpoints, and waits until the name has some of them.
fn grow(relay: &Relay, endpoints: &[SocketAddr]) -> Result<()> {
    for (number, endpoint) in endpoints.iter().enumerate() {
        let id = format!("relayed-1-{number}");
        let registered = relay.register("relayed-1", &id, *endpoint)?;
        ensure!(registered, "an endpoint was not registered");
    }
    Ok(())
}
