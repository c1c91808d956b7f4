//! CPU time of a gigabyte, a ping, a connection; memory of a connection that is idle.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::load::streams::{self, Backends};
use crate::load::{Outcome, Span};
use crate::report::{Goal, Row, Section};
use crate::subject::relay::{Kind, Protocol};

const CONTESTANTS: [Kind; 4] = [Kind::Portolan, Kind::Haproxy, Kind::HaproxySplicing, Kind::Nginx];
const PINGS: usize = 32;
const CALLERS: usize = 16;
const IDLE: usize = 2_000;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Figures {
    bulk_rate: Figure,
    bulk_cpu_ms: Figure,
    ping_rate: Figure,
    ping_cpu_us: Figure,
    ping_p99_ms: Figure,
    call_rate: Figure,
    call_cpu_us: Figure,
    idle_kib: Figure,
}

pub(crate) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let backends = Backends::start()?;
    let mut figures: [Figures; CONTESTANTS.len()] = Default::default();
    interleave(context, &CONTESTANTS, |at, kind| {
        measure(context, cores, *kind, &backends, &mut figures[at])
    })?;
    Ok(Section {
        group: "tcp",
        title: "TCP relay",
        how: format!(
            "One listener to one server, over loopback. Bulk: one connection, writes of 256 KiB, into a server that \
             throws everything away. Pings: 64 bytes there and back on {PINGS} connections. New connections: one \
             byte each way and an end, {CALLERS} clients. Idle: what {IDLE} connections that have said one ping \
             add to resident memory. CPU is that of the proxy. Splicing: HAProxy with `splice-request` and \
             `splice-response`, which by itself does not splice such a flow."
        ),
        rows: rows(&figures),
        facts: vec![format!(
            "Beside it: {}, {}; one thread each.",
            Kind::Haproxy.version()?,
            Kind::Nginx.version()?
        )],
    })
}

fn rows(figures: &[Figures; CONTESTANTS.len()]) -> Vec<Row> {
    let row = |what: &str, unit, peer: usize, of: fn(&Figures) -> &Figure| {
        let beside = of(&figures[peer]).clone();
        Row::new(what, unit, of(&figures[0]).clone()).beside(CONTESTANTS[peer].name(), beside)
    };
    vec![
        row("bulk: rate", "Gbit/s", 1, |f| &f.bulk_rate),
        row("bulk: CPU of a GB", "ms", 1, |f| &f.bulk_cpu_ms).goal(Goal::RatioAtMost(0.45)),
        row("bulk: rate", "Gbit/s", 2, |f| &f.bulk_rate),
        row("bulk: CPU of a GB", "ms", 2, |f| &f.bulk_cpu_ms).goal(Goal::RatioAtMost(1.15)),
        row("bulk: CPU of a GB", "ms", 3, |f| &f.bulk_cpu_ms),
        row("pings: rate", "/s", 1, |f| &f.ping_rate),
        row("pings: CPU of one", "µs", 1, |f| &f.ping_cpu_us).goal(Goal::RatioAtMost(1.05)),
        row("pings: CPU of one", "µs", 3, |f| &f.ping_cpu_us),
        row("pings: 99 of 100 below", "ms", 1, |f| &f.ping_p99_ms),
        row("new connections: rate", "/s", 1, |f| &f.call_rate),
        row("new connections: CPU of one", "µs", 1, |f| &f.call_cpu_us).goal(Goal::RatioAtMost(1.05)),
        row("new connections: CPU of one", "µs", 3, |f| &f.call_cpu_us),
        row("memory of an idle connection", "KiB", 1, |f| &f.idle_kib).goal(Goal::Below(4.0)),
        row("memory of an idle connection", "KiB", 3, |f| &f.idle_kib),
    ]
}

fn measure(
    context: &Context,
    cores: &Cores,
    kind: Kind,
    backends: &Backends,
    figures: &mut Figures,
) -> Result<()> {
    let servers = [backends.sink, backends.echo, backends.once];
    let relay = kind.start(context, cores, Protocol::Tcp, &servers)?;
    let [sink, echo, once]: [SocketAddr; 3] = [relay.listeners[0], relay.listeners[1], relay.listeners[2]];
    let idle = context.size(IDLE, 200);
    // The first may come before our own relay knows the service.
    let begin = Instant::now();
    while let Err(cause) = streams::idle(echo, 50) {
        ensure!(begin.elapsed() < PATIENCE, "{kind} relays nothing: {cause:#}");
    }
    let before = process::resident_mb(relay.pid)?;
    let held = streams::idle(echo, idle)?;
    figures.idle_kib.push((process::resident_mb(relay.pid)? - before) * 1e6 / 1024.0 / idle as f64);
    drop(held);

    let time = context.size(Duration::from_secs(2), Duration::from_millis(500));
    streams::bulk(sink, backends, time / 4)?;
    let (bytes, cpu_us) = process::cpu_us(relay.pid, || streams::bulk(sink, backends, time))?;
    figures.bulk_rate.push(bytes as f64 * 8e-9 / time.as_secs_f64());
    figures.bulk_cpu_ms.push(cpu_us / 1e3 / (bytes as f64 / 1e9));

    let span = Span { warmup: time / 4, measured: time };
    let (outcome, each) = looped(relay.pid, |start| streams::pings(echo, PINGS, span, start))?;
    figures.ping_rate.push(outcome.per_second());
    figures.ping_cpu_us.push(each);
    let mut outcome = context.awake.halting(|| streams::pings(echo, PINGS, span, || Ok(())))?;
    figures.ping_p99_ms.push(outcome.latencies.percentile_ms(0.99));
    let (outcome, each) = looped(relay.pid, |start| streams::connects(once, CALLERS, span, start))?;
    figures.call_rate.push(outcome.per_second());
    figures.call_cpu_us.push(each);
    relay.stop()
}

/// A closed loop with the CPU of each of its steps, counted from where the loop's warm-up ends.
pub(in crate::groups) fn looped(
    pid: u32,
    work: impl FnOnce(Box<dyn FnOnce() -> Result<()> + '_>) -> Result<Outcome>,
) -> Result<(Outcome, f64)> {
    let mut before = Duration::ZERO;
    let start = || {
        before = process::cpu(pid)?;
        Ok(())
    };
    let outcome = work(Box::new(start))?;
    let spent = process::cpu(pid)? - before;
    let each = spent.as_secs_f64() * 1e6 / outcome.latencies.count() as f64;
    Ok((outcome, each))
}
