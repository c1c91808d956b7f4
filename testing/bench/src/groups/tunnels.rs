//! GOST tunnels renewing, also while the disk of the log stalls.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use netns::Disk;

use crate::harness::cores::Cores;
use crate::harness::figure::{Figure, Latencies};
use crate::harness::{Context, process};
use crate::load::{runtime, tunnels};
use crate::report::{Goal, Row, Section};
use crate::subject::portolan::{Home, Portolan};

const TUNNELS: usize = 10_000;

/// Room for the log's segments and no more.
const DISK_MIB: u64 = 512;

/// The disk stalls this long, once in twice that.
const STALL: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Figures {
    calm: Latencies,
    stalled: Latencies,
    /// Share of one processor.
    cpu_percent: f64,
    resident_mb: f64,
    /// How long a registration took that fell into a stall: the proof that the disk did stall.
    held_s: Figure,
}

/// One round only: it is two minutes long.
pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let disk = Disk::mount(DISK_MIB).map_err(|missing| anyhow!("{missing}"))?;
    let home = Home::new(disk.path())?;
    let portolan = home.start(context, cores)?;
    let figures = measure(context, &disk, &portolan)?;
    portolan.stop()?;
    Ok(section(context.size(TUNNELS, 200), figures))
}

fn measure(context: &Context, disk: &Disk, portolan: &Portolan) -> Result<Figures> {
    let count = context.size(TUNNELS, 200);
    let half = context.size(Duration::from_secs(60), STALL * 2);
    let (server, pid) = (portolan.api, portolan.process.pid());
    runtime()?.block_on(async {
        let mut figures = Figures::default();
        tunnels::register(server, count).await?;
        let (before, begin) = (process::cpu(pid)?, Instant::now());
        figures.calm = tunnels::renew(server, count, begin + half).await?;
        let spent = process::cpu(pid)?.saturating_sub(before);
        figures.cpu_percent = 100.0 * spent.as_secs_f64() / begin.elapsed().as_secs_f64();

        let end = Instant::now() + half;
        let mut number = count;
        while Instant::now() < end {
            number += 1;
            let stalled = stall(disk, portolan, count, number).await?;
            figures.stalled.append(stalled.0);
            figures.held_s.push(stalled.1.as_secs_f64());
            tokio::time::sleep(STALL).await;
        }
        figures.resident_mb = process::resident_mb(pid)?;
        anyhow::Ok(figures)
    })
}

/// Renewals while the disk stalls, and how long a registration took meanwhile.
async fn stall(
    disk: &Disk,
    portolan: &Portolan,
    count: usize,
    number: usize,
) -> Result<(Latencies, Duration)> {
    let stall = disk.stall().context("stall the disk")?;
    let end = Instant::now() + STALL;
    let registering = tokio::spawn(tunnels::register_one(portolan.api, number));
    let renewed = tunnels::renew(portolan.api, count, end).await?;
    tokio::time::sleep_until(end.into()).await;
    drop(stall);
    let held = registering.await.context("a client panicked")??;
    ensure!(held > STALL / 2, "the disk did not stall: a registration took {held:?}");
    Ok((renewed, held))
}

fn section(count: usize, mut figures: Figures) -> Section {
    let row = |what: String, value: f64| Row::new(what, "ms", Figure::from_iter([value]));
    let mut rows = Vec::new();
    for (when, latencies) in [("", &mut figures.calm), (", while the disk stalls", &mut figures.stalled)] {
        let count = latencies.count();
        rows.push(row(format!("Renew{when}: median of {count}"), latencies.percentile_ms(0.5)));
        let p99 = row(format!("Renew{when}: 99 of 100 below"), latencies.percentile_ms(0.99));
        rows.push(p99.goal(Goal::Below(2.0)));
        rows.push(row(format!("Renew{when}: the slowest"), latencies.percentile_ms(1.0)));
    }
    let one = |value| Figure::from_iter([value]);
    rows.push(Row::new("server's CPU, of one processor", "%", one(figures.cpu_percent)));
    rows.push(Row::new("server's memory at the end", "MB", one(figures.resident_mb)));
    rows.push(Row::new("a registration that a stall holds up", "s", figures.held_s));
    Section {
        group: "tunnels",
        title: "GOST tunnels",
        how: format!(
            "{count} tunnels are registered over HTTP and renewed every 15 seconds each, evenly spread, by one loader \
             over 64 kept connections: for a minute with nothing else going on, and for another in which the disk \
             under the log stands still (fsfreeze) for {} s of every {} s. A latency counts from the moment when the \
             renewal was due if the one before it held it up.",
            STALL.as_secs(),
            2 * STALL.as_secs()
        ),
        rows,
        facts: vec![],
    }
}
