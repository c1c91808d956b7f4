//! WebSocket clients before a server that speaks none.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::groups::relayed::tcp::looped;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::load::streams::Backends;
use crate::load::{Span, frames};
use crate::report::{Goal, Row};
use crate::subject::bridge::Kind;

const CONTESTANTS: [Kind; 3] = [Kind::Portolan, Kind::V2ray, Kind::Websockify];
pub(super) const PINGS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Figures {
    rate: Figure,
    bulk_cpu_ms: Figure,
    ping_rate: Figure,
    ping_cpu_us: Figure,
}

pub(super) fn rows(context: &Context, cores: &Cores, backends: &Backends) -> Result<Vec<Row>> {
    let mut figures: [Figures; CONTESTANTS.len()] = Default::default();
    interleave(context, &CONTESTANTS, |at, kind| measure(context, cores, *kind, backends, &mut figures[at]))?;
    let row = |what: &str, unit, peer: usize, of: fn(&Figures) -> &Figure| {
        let beside = of(&figures[peer]).clone();
        Row::new(what, unit, of(&figures[0]).clone()).beside(CONTESTANTS[peer].name(), beside)
    };
    let mut rows = Vec::new();
    for peer in 1..CONTESTANTS.len() {
        let most = Goal::RatioAtMost(1.0);
        rows.push(row("WebSocket, bulk: CPU of a GB", "ms", peer, |f| &f.bulk_cpu_ms).goal(most));
        rows.push(row("WebSocket, bulk: rate", "Gbit/s", peer, |f| &f.rate));
        rows.push(row("WebSocket, pings: CPU of one", "µs", peer, |f| &f.ping_cpu_us).goal(most));
        rows.push(row("WebSocket, pings: rate", "/s", peer, |f| &f.ping_rate));
    }
    Ok(rows)
}

fn measure(
    context: &Context,
    cores: &Cores,
    kind: Kind,
    backends: &Backends,
    figures: &mut Figures,
) -> Result<()> {
    let time = context.size(Duration::from_secs(2), Duration::from_millis(500));
    let echo = kind.start(context, cores, backends.echo)?;
    let begin = Instant::now();
    while !frames::is_bridged(echo.listener, &echo.path) {
        ensure!(begin.elapsed() < PATIENCE, "{kind} bridges nothing");
        std::thread::sleep(Duration::from_millis(50));
    }
    let span = Span { warmup: time / 4, measured: time };
    let (outcome, each) =
        looped(echo.pid, |start| frames::pings(echo.listener, &echo.path, PINGS, span, start))?;
    figures.ping_rate.push(outcome.per_second());
    figures.ping_cpu_us.push(each);
    echo.stop()?;

    let sink = kind.start(context, cores, backends.sink)?;
    let begin = Instant::now();
    while let Err(cause) = frames::bulk(sink.listener, &sink.path, backends, time / 4) {
        ensure!(begin.elapsed() < PATIENCE, "{kind} bridges nothing: {cause:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (bytes, cpu_us) =
        process::cpu_us(sink.pid, || frames::bulk(sink.listener, &sink.path, backends, time))?;
    figures.rate.push(bytes as f64 * 8e-9 / time.as_secs_f64());
    figures.bulk_cpu_ms.push(cpu_us / 1e3 / (bytes as f64 / 1e9));
    sink.stop()
}
