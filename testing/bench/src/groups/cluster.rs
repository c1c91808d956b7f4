//! Three servers beside Debian's three-node etcd: writes, reads, the leader killed, and agents.

mod agents;
mod recovery;

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::load::keys::{self, Op};
use crate::load::{Span, closed_loop, runtime};
use crate::report::{Goal, Row, Section};
use crate::subject::trio::{Kind, Trio};

const CLIENTS: [usize; 3] = [1, 64, 1000];
const OPS: [Op; 3] = [Op::Write, Op::Linearizable, Op::Stale];

/// Three fresh servers under one number of clients.
#[derive(Debug, Clone, Copy)]
struct Contestant {
    kind: Kind,
    clients: usize,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} clients", name(self.kind), self.clients)
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Portolan => "portolan",
        Kind::Etcd => "etcd",
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
    sys::process::raise_descriptor_limit().context("raise the limit of open files")?;
    let contestants: Vec<Contestant> = CLIENTS
        .into_iter()
        .flat_map(|clients| [Kind::Portolan, Kind::Etcd].map(|kind| Contestant { kind, clients }))
        .collect();
    // For each contestant, one for each operation.
    let mut figures: Vec<[Figures; 3]> = contestants.iter().map(|_| Default::default()).collect();
    interleave(context, &contestants, |at, contestant| {
        measure(context, cores, *contestant, &mut figures[at])
    })?;
    let mut rows = Vec::new();
    for (pair, figures) in contestants.chunks_exact(2).zip(figures.chunks_exact_mut(2)) {
        let [ours, theirs] = figures else { continue };
        for ((op, ours), theirs) in OPS.into_iter().zip(ours).zip(theirs) {
            rows.extend(compare(op, pair[0].clients, ours, theirs));
        }
    }
    rows.push(recovery::run(context, cores)?);
    rows.extend(agents::run(context, cores)?);
    Ok(section(rows, crate::subject::etcd::version()?))
}

fn measure(
    context: &Context,
    cores: &Cores,
    contestant: Contestant,
    figures: &mut [Figures; 3],
) -> Result<()> {
    let trio = Trio::start(contestant.kind, context, cores).with_context(|| format!("start {contestant}"))?;
    let span = Span {
        warmup: context.size(Duration::from_secs(1), Duration::from_millis(200)),
        measured: context.size(Duration::from_secs(4), Duration::from_millis(500)),
    };
    runtime()?.block_on(async {
        keys::fill(&trio).await?;
        for (op, figures) in OPS.into_iter().zip(figures) {
            let clients = keys::clients(&trio, op, contestant.clients).await?;
            let before = std::cell::Cell::new(Duration::ZERO);
            let at_start = || {
                before.set(trio.cpu()?);
                Ok(())
            };
            let outcome = closed_loop(clients, span, at_start).await;
            let mut outcome = outcome.with_context(|| format!("{op:?} by {contestant}"))?;
            let spent = trio.cpu()?.saturating_sub(before.get());
            figures.rate.push(outcome.per_second());
            figures.p50_ms.push(outcome.latencies.percentile_ms(0.5));
            figures.p99_ms.push(outcome.latencies.percentile_ms(0.99));
            figures.cpu_us.push(spent.as_secs_f64() * 1e6 / outcome.latencies.count() as f64);
        }
        anyhow::Ok(())
    })
}

fn compare(op: Op, clients: usize, ours: &mut Figures, theirs: &mut Figures) -> Vec<Row> {
    let what = match op {
        Op::Write => "writes",
        Op::Linearizable => "linearizable reads",
        Op::Stale => "stale reads",
    };
    let row = |which: &str,
               unit,
               take: fn(&mut Figures) -> &mut Figure,
               ours: &mut Figures,
               theirs: &mut Figures| {
        let text = format!("{what}, {clients} clients{which}");
        Row::new(text, unit, std::mem::take(take(ours))).beside("etcd", std::mem::take(take(theirs)))
    };
    let least = match op {
        Op::Write if clients > 1 => Some(1.0),
        Op::Linearizable => Some(1.5),
        _ => None,
    };
    let mut rate = row("", "/s", |figures| &mut figures.rate, ours, theirs);
    if let Some(least) = least {
        rate = rate.goal(Goal::RatioAtLeast(least));
    }
    let median = row(": median", "ms", |figures| &mut figures.p50_ms, ours, theirs);
    let mut p99 = row(": 99 of 100 below", "ms", |figures| &mut figures.p99_ms, ours, theirs);
    if op == Op::Write && clients > 1 {
        p99 = p99.goal(Goal::RatioAtMost(1.0));
    }
    let cpu = row(": CPU of all servers, each", "µs", |figures| &mut figures.cpu_us, ours, theirs);
    vec![rate, median, p99, cpu]
}

fn section(rows: Vec<Row>, etcd: String) -> Section {
    Section {
        group: "cluster",
        title: "Three servers",
        how: format!(
            "Three servers on one machine and one disk, their clients spread evenly over them, each waiting for its \
             answer before it asks again; values of 200 bytes. Ours are asked over HTTP with a kept connection for \
             each client, etcd over gRPC with eight shared connections to each server. A write is answered when a \
             majority has it on disk. Leader killed: 64 clients write without pause to the two others, giving up on \
             an answer after {} ms; counted from the kill to the first answer to a write that was sent after it. Agents: \
             a fourth node joins and follows; a change is counted from the leader's answer to its writer to the \
             agent's to a blocking query.",
            recovery::PATIENCE.as_millis()
        ),
        rows,
        facts: vec![format!("Beside it: {etcd}, three members.")],
    }
}
