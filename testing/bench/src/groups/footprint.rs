//! Resident memory: of a node that does nothing, and of one with a hundred thousand instances.

use std::time::Duration;

use anyhow::Result;

use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::load::{dns::Resolver, registrations, runtime};
use crate::report::{Goal, Row, Section};
use crate::subject::portolan::{Home, Portolan};

const INSTANCES: u64 = 100_000;
const SERVICES: u64 = 1_000;

/// Long enough for everything that starts lazily to have started.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let instances = context.size(INSTANCES, 2_000);
    let mut figures: [Figure; 4] = Default::default();
    let [idle, full, each, again] = &mut figures;
    interleave(context, &["portolan"], |_, _| {
        let home = Home::new(&context.scratch)?;
        let portolan = home.start(context, cores)?;
        let empty = settled(context, &portolan)?;
        idle.push(empty);
        runtime()?.block_on(registrations::fill(portolan.api, instances, SERVICES, 64))?;
        Resolver::new(portolan.dns)?.wait_for("service-7.service.consul", Duration::from_secs(10))?;
        let filled = settled(context, &portolan)?;
        full.push(filled);
        each.push((filled - empty) * 1e6 / instances as f64);
        portolan.stop()?;
        let portolan = home.start(context, cores)?;
        again.push(settled(context, &portolan)?);
        portolan.stop()
    })?;
    let [idle, full, each, again] = figures;
    Ok(Section {
        group: "footprint",
        title: "Memory",
        how: format!(
            "Resident memory of the daemon, code and shared pages included: three seconds after an empty start; \
             after {instances} instances of {SERVICES} services were registered over its API, with their \
             projections for DNS and the proxies; and after a restart with them on disk."
        ),
        rows: vec![
            Row::new("idle", "MB", idle).goal(Goal::Below(25.0)),
            Row::new(format!("with {instances} instances"), "MB", full).goal(Goal::Below(150.0)),
            Row::new("for each instance", "bytes", each),
            Row::new("the same after a restart", "MB", again),
        ],
        facts: vec![],
    })
}

fn settled(context: &Context, portolan: &Portolan) -> Result<f64> {
    std::thread::sleep(context.size(SETTLE, Duration::from_millis(300)));
    process::resident_mb(portolan.process.pid())
}
