//! From the start of the process to its first answers, with instances on disk.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::load::{dns::Resolver, registrations, runtime};
use crate::report::{Goal, Row, Section};
use crate::subject::portolan::{Home, Portolan, is_ready};

const INSTANCES: u64 = 10_000;

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let instances = context.size(INSTANCES, 500);
    let home = Home::new(&context.scratch)?;
    let portolan = home.start(context, cores)?;
    runtime()?.block_on(registrations::fill(portolan.api, instances, 100, 64))?;
    let mut running = Some(portolan);
    let mut figures: [Figure; 2] = Default::default();
    interleave(context, &["after a stop", "after kill -9"], |at, _| {
        let mut old = running.take().ok_or_else(|| anyhow!("nothing runs"))?;
        match at {
            0 => old.stop()?,
            _ => old.process.kill(),
        }
        let (portolan, took) = start(context, cores, &home)?;
        figures[at].push(took.as_secs_f64() * 1000.0);
        running = Some(portolan);
        Ok(())
    })?;
    if let Some(portolan) = running {
        portolan.stop()?;
    }
    let [stopped, killed] = figures;
    Ok(Section {
        group: "start",
        title: "From start to serving",
        how: format!(
            "{instances} instances of 100 services are on disk. Counted from the start of the process to the moment \
             when `/readyz` has said yes and a service's name has resolved over DNS."
        ),
        rows: vec![
            Row::new("after an orderly stop", "ms", stopped).goal(Goal::Below(100.0)),
            Row::new("after kill -9", "ms", killed).goal(Goal::Below(100.0)),
        ],
        facts: vec![],
    })
}

fn start(context: &Context, cores: &Cores, home: &Home) -> Result<(Portolan, Duration)> {
    let begin = Instant::now();
    let portolan = home.launch(context, cores)?;
    while !is_ready(portolan.api) {
        anyhow::ensure!(begin.elapsed() < Duration::from_secs(60), "not ready: {}", portolan.process.said());
        std::thread::sleep(Duration::from_millis(1));
    }
    Resolver::new(portolan.dns)?.wait_for("service-7.service.consul", Duration::from_secs(10))?;
    Ok((portolan, begin.elapsed()))
}
