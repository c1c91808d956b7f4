//! What an operation costs while something else grows: services, rules, endpoints of one service, connections.
//!
//! A host's processors may be half as quick a minute later. So each size runs beside the smallest of its kind, on the same
//! processor, and the two are asked in turns.

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
/// How often the two are asked in turns.
const TURNS: usize = 2;
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

impl Size {
    /// The smallest of its kind.
    fn least(self) -> Size {
        match self {
            Size::Services(_) => Size::Services(SERVICES[0]),
            Size::Rules(_) => Size::Rules(RULES[0]),
            Size::Endpoints(_) => Size::Endpoints(ENDPOINTS[0]),
            Size::Connections(_) => Size::Connections(CONNECTIONS[0]),
        }
    }

    /// Services that names are asked of.
    fn services(self) -> u64 {
        match self {
            Size::Services(count) => count,
            _ => SERVICES[0],
        }
    }
}

/// What one operation cost there.
#[derive(Default)]
struct Cost {
    /// Of the daemon's CPU, in microseconds.
    us: Figure,
    /// To what the smallest took in its turns.
    ratio: Figure,
}

/// What was measured at one size.
#[derive(Default)]
struct Costs {
    query: Cost,
    ping: Cost,
    call: Cost,
    request: Cost,
}

type Line = (&'static str, fn(&Costs) -> &Cost);

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
    let grown = [
        Grown::of("services", &measured, &[QUERY, PING, CALL, REQUEST], |size| match size {
            Size::Services(count) => Some(count),
            _ => None,
        }),
        Grown::of("rules", &measured, &[QUERY, PING, CALL, REQUEST], |size| match size {
            Size::Rules(count) => Some(count),
            _ => None,
        }),
        Grown::of("endpoints of the service", &measured, &[QUERY, CALL], |size| match size {
            Size::Endpoints(count) => Some(count),
            _ => None,
        }),
        Grown::of("connections", &measured, &[PING], |size| match size {
            Size::Connections(count) => Some(count),
            _ => None,
        }),
    ];
    let panels: Vec<Panel> = grown.iter().map(Grown::panel).collect();
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
             growing there is one. Each size runs beside the smallest of its kind, on the same processor, and the two are \
             asked in turns: growth is the median of what those turns gave.\n\n![Costs over sizes, relative to the smallest]({PICTURE})"
        ),
        rows: grown.iter().flat_map(Grown::rows).collect(),
        facts: vec![],
    })
}

/// What became of each operation's cost while one thing grew.
struct Grown<'m> {
    what: &'static str,
    lines: Vec<(&'static str, Vec<(u64, &'m Cost)>)>,
}

impl<'m> Grown<'m> {
    fn of(
        what: &'static str,
        measured: &'m [(Size, Costs)],
        lines: &[Line],
        count: fn(Size) -> Option<u64>,
    ) -> Grown<'m> {
        let points = |cost: fn(&Costs) -> &Cost| {
            measured.iter().filter_map(move |(size, costs)| Some((count(*size)?, cost(costs))))
        };
        Grown { what, lines: lines.iter().map(|(name, cost)| (*name, points(*cost).collect())).collect() }
    }

    fn panel(&self) -> Panel {
        let curve = |(name, points): &(&str, Vec<(u64, &Cost)>)| Curve {
            name: (*name).to_owned(),
            points: points.iter().map(|(count, cost)| (*count as f64, cost.ratio.median())).collect(),
        };
        Panel { title: self.what.to_owned(), curves: self.lines.iter().map(curve).collect() }
    }

    /// A row for each point, and how much it grew since the first.
    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (name, points) in &self.lines {
            for (count, cost) in points {
                let what = format!("{name}, {count} {}", self.what);
                rows.push(Row::new(what, "µs", Figure::from_iter([cost.us.median()])));
            }
            let Some((count, cost)) = points.iter().rfind(|(count, _)| *count <= UP_TO) else { continue };
            let growth = (cost.ratio.median() - 1.0) * 100.0;
            let what = format!("{name}: growth to {count} {}", self.what);
            let row = Row::new(what, "%", Figure::from_iter([growth]));
            rows.push(if matches!(self.what, "services" | "rules") {
                row.goal(Goal::Below(ALLOWED))
            } else {
                row
            });
        }
        rows
    }
}

/// What stands behind the daemon.
struct Behind {
    streams: Backends,
    site: SocketAddr,
    /// As many as a service may have endpoints.
    many: Vec<SocketAddr>,
}

fn measure(context: &Context, cores: &Cores, size: Size, behind: &Behind, costs: &mut Costs) -> Result<()> {
    let pair = [
        Subject::start(context, cores, size.least(), behind)?,
        Subject::start(context, cores, size, behind)?,
    ];
    if !matches!(size, Size::Connections(_)) {
        costs.query.push(in_turns(&pair, Subject::query)?);
        costs.call.push(in_turns(&pair, Subject::call)?);
        costs.request.push(in_turns(&pair, Subject::request)?);
    }
    costs.ping.push(in_turns(&pair, Subject::ping)?);
    pair.into_iter().try_for_each(|subject| subject.relay.stop())
}

/// Microseconds of the smallest and of the other one; both have the same share of earlier and later.
fn in_turns(pair: &[Subject; 2], cost: fn(&Subject) -> Result<f64>) -> Result<[f64; 2]> {
    let [least, one] = pair;
    let mut sums = [0.0; 2];
    for _ in 0..TURNS {
        sums[0] += cost(least)?;
        sums[1] += cost(one)?;
        sums[1] += cost(one)?;
        sums[0] += cost(least)?;
    }
    Ok(sums.map(|sum| sum / (2 * TURNS) as f64))
}

impl Cost {
    fn push(&mut self, [least, one]: [f64; 2]) {
        self.us.push(one);
        self.ratio.push(one / least);
    }
}

/// One daemon of a size, and how it is asked.
struct Subject {
    relay: Relay,
    size: Size,
    site: SocketAddr,
    dns: SocketAddr,
    span: Span,
}

impl Subject {
    fn start(context: &Context, cores: &Cores, size: Size, behind: &Behind) -> Result<Subject> {
        let site = relay::port()?;
        let relay = started(context, cores, size, behind, site)?;
        let dns = relay.portolan().context("our own relay is the daemon")?.dns;
        let time = context.size(Duration::from_millis(300), Duration::from_millis(100));
        Ok(Subject { relay, size, site, dns, span: Span { warmup: time / 4, measured: time } })
    }

    fn query(&self) -> Result<f64> {
        let queries = match self.size {
            Size::Endpoints(_) => Queries::draw(1, |_| "relayed-1.service.consul".to_owned()),
            size => Queries::draw(size.services(), zone::name),
        };
        burst(self.dns, &queries, self.span.warmup)?;
        let asked = || burst(self.dns, &queries, self.span.measured);
        let (answered, cpu_us) = process::cpu_us(self.relay.pid, asked)?;
        Ok(cpu_us / (answered.good + answered.bad) as f64)
    }

    fn call(&self) -> Result<f64> {
        let once = self.relay.listeners[1];
        Ok(looped(self.relay.pid, |start| streams::connects(once, CALLERS, self.span, start))?.1)
    }

    fn request(&self) -> Result<f64> {
        Ok(looped(self.relay.pid, |start| pages::requests(self.site, SITE, PINGS, self.span, start))?.1)
    }

    fn ping(&self) -> Result<f64> {
        let connections = match self.size {
            Size::Connections(count) => count as usize,
            _ => PINGS,
        };
        let echo = self.relay.listeners[0];
        Ok(looped(self.relay.pid, |start| streams::pings(echo, connections, self.span, start))?.1)
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
    let services = size.services();
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
