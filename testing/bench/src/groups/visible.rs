//! From the moment a registration is sent to the first DNS answer that has its address.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::{Figure, Latencies};
use crate::harness::rounds::interleave;
use crate::load::{disk, dns::Resolver, http, registrations, runtime};
use crate::report::{Goal, Row, Section};
use crate::subject::portolan::Home;

/// What the goal allows beside two syncs of the disk.
const ALLOWED_MS: f64 = 10.0;

/// Registered before, so that the zone is not an empty one.
const BEFORE: u64 = 10_000;

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let mut sync_ms = Figure::default();
    let mut answered = [Figure::default(), Figure::default()];
    let mut visible = [Figure::default(), Figure::default()];
    interleave(context, &["portolan"], |_, _| {
        sync_ms.push(disk::fdatasync(&context.scratch, context.size(1000, 50))?.percentile_ms(0.5));
        let (mut api, mut name) = measure(context, cores)?;
        for (figure, share) in answered.iter_mut().zip([0.5, 0.99]) {
            figure.push(api.percentile_ms(share));
        }
        for (figure, share) in visible.iter_mut().zip([0.5, 0.99]) {
            figure.push(name.percentile_ms(share));
        }
        Ok(())
    })?;
    let goal = ALLOWED_MS + 2.0 * sync_ms.median();
    let [answered_p50, answered_p99] = answered;
    let [visible_p50, visible_p99] = visible;
    Ok(Section {
        group: "visible",
        title: "From a registration to its name",
        how: format!(
            "With {BEFORE} instances registered before, one client registers a new service; another asks for its \
             name over UDP, again and again, from the moment the registration is answered. Counted from the \
             moment it was sent. The goal is {ALLOWED_MS} ms and two fdatasyncs of this disk."
        ),
        rows: vec![
            Row::new("registration answered: median", "ms", answered_p50),
            Row::new("registration answered: 99 of 100 below", "ms", answered_p99),
            Row::new("name resolves: median", "ms", visible_p50),
            Row::new("name resolves: 99 of 100 below", "ms", visible_p99).goal(Goal::Below(goal)),
        ],
        facts: vec![format!("One fdatasync of 512 bytes on this disk: {:.2} ms (median).", sync_ms.median())],
    })
}

/// Latencies of the API's answer and of the name.
fn measure(context: &Context, cores: &Cores) -> Result<(Latencies, Latencies)> {
    let home = Home::new(&context.scratch)?;
    let portolan = home.start(context, cores)?;
    let (mut answered, mut visible) = (Latencies::default(), Latencies::default());
    let mut resolver = Resolver::new(portolan.dns)?;
    runtime()?.block_on(async {
        registrations::fill(portolan.api, context.size(BEFORE, 100), 100, 64).await?;
        let mut connection = http::Connection::open(portolan.api).await?;
        for number in 0..context.size(2000, 100) {
            let service = format!("new-{number}");
            let begin = Instant::now();
            registrations::register(&mut connection, &service, &service, number).await?;
            answered.push(begin.elapsed());
            resolver.wait_for(&format!("{service}.service.consul"), Duration::from_secs(5))?;
            visible.push(begin.elapsed());
        }
        anyhow::Ok(())
    })?;
    portolan.stop()?;
    Ok((answered, visible))
}
