//! What an operation costs while something else grows: services, endpoints of one service, connections.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::relayed::tcp::looped;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::load::dns::Resolver;
use crate::load::dns::burst::{Queries, burst};
use crate::load::streams::{self, Backends};
use crate::load::{Span, registrations, runtime};
use crate::report::plot::{Curve, Panel, svg};
use crate::report::{Goal, Row, Section};
use crate::subject::relay::{Kind, Protocol, Relay};
use crate::subject::zone;

/// Beside `docs/benchmarks.md`.
const PICTURE: &str = "scaling.svg";
const SERVICES: [u64; 5] = [10, 100, 1_000, 10_000, 100_000];
const ENDPOINTS: [u64; 4] = [1, 10, 100, 1_000];
const CONNECTIONS: [u64; 4] = [1, 10, 100, 1_000];
/// Connections and clients where something else grows.
const PINGS: usize = 32;
const CALLERS: usize = 16;
/// Growth that is allowed from the smallest to the largest, in percent; of services, up to this many.
const ALLOWED: f64 = 15.0;
const UP_TO: u64 = 10_000;

/// What grows, and how much there is of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Services(u64),
    Endpoints(u64),
    Connections(u64),
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Size::Services(count) => write!(f, "{count} services"),
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
}

type Line = (&'static str, fn(&Costs) -> &Figure);

const QUERY: Line = ("DNS query", |costs| &costs.query);
const PING: Line = ("ping by TCP", |costs| &costs.ping);
const CALL: Line = ("new connection", |costs| &costs.call);

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let sizes: Vec<Size> = SERVICES
        .map(Size::Services)
        .into_iter()
        .chain(ENDPOINTS.map(Size::Endpoints))
        .chain(CONNECTIONS.map(Size::Connections))
        .filter(|size| !context.quick || !matches!(size, Size::Services(10_001..)))
        .collect();
    let backends = Backends::start()?;
    let many = streams::answer_once(ENDPOINTS[ENDPOINTS.len() - 1] as usize)?;
    let mut costs: Vec<Costs> = sizes.iter().map(|_| Costs::default()).collect();
    interleave(context, &sizes, |at, size| measure(context, cores, *size, &backends, &many, &mut costs[at]))?;

    let measured: Vec<(Size, Costs)> = sizes.into_iter().zip(costs).collect();
    let panels = [
        panel("services", &measured, &[QUERY, PING, CALL], |size| match size {
            Size::Services(count) => Some(count),
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
             relay; a new connection through it.\n\n![Costs over sizes, relative to the smallest]({PICTURE})"
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
            rows.push(if panel.title == "services" { row.goal(Goal::Below(ALLOWED)) } else { row });
        }
    }
    rows
}

fn measure(
    context: &Context,
    cores: &Cores,
    size: Size,
    backends: &Backends,
    many: &[SocketAddr],
    costs: &mut Costs,
) -> Result<()> {
    let relay = Kind::Portolan.start(context, cores, Protocol::Tcp, &[backends.echo, backends.once])?;
    let portolan = relay.portolan().context("our own relay is the daemon")?;
    let (api, dns, pid) = (portolan.api, portolan.dns, relay.pid);
    let services = match size {
        Size::Services(count) => count,
        _ => 10,
    };
    runtime()?.block_on(registrations::fill(api, services, services, 16))?;
    Resolver::new(dns)?.wait_for(&zone::name(services - 1), Duration::from_secs(60))?;
    if let Size::Endpoints(count) = size {
        grow(&relay, &many[..count as usize])?;
    }
    let time = context.size(Duration::from_secs(1), Duration::from_millis(300));
    let span = Span { warmup: time / 4, measured: time };
    let (echo, once) = (relay.listeners[0], relay.listeners[1]);
    if !matches!(size, Size::Connections(_)) {
        let queries = match size {
            Size::Endpoints(_) => Queries::draw(1, |_| "relayed-1.service.consul".to_owned()),
            _ => Queries::draw(services, zone::name),
        };
        burst(dns, &queries, time / 4)?;
        let (answered, cpu_us) = process::cpu_us(pid, || burst(dns, &queries, time))?;
        costs.query.push(cpu_us / (answered.good + answered.bad) as f64);
        costs.call.push(looped(pid, |start| streams::connects(once, CALLERS, span, start))?.1);
    }
    let connections = match size {
        Size::Connections(count) => count as usize,
        _ => PINGS,
    };
    costs.ping.push(looped(pid, |start| streams::pings(echo, connections, span, start))?.1);
    relay.stop()
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
