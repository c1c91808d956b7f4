//! Load generators: closed loops of many clients on one thread, each with one request under way.

pub(crate) mod brokered;
pub(crate) mod datagrams;
pub(crate) mod disk;
pub(crate) mod dns;
pub(crate) mod etcd;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod keys;
pub(crate) mod pages;
pub(crate) mod registrations;
pub(crate) mod streams;
pub(crate) mod tunnels;
pub(crate) mod watchers;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::harness::figure::Latencies;

/// One client of a closed loop.
pub(crate) trait Client {
    /// Sends one request and takes its answer. `number` never comes twice in one run.
    async fn step(&mut self, number: u64) -> Result<()>;
}

/// How long a loop runs. The first part is not counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
}

/// What a closed loop did while it was measured.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) latencies: Latencies,
    pub(crate) measured: Duration,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.count() as f64 / self.measured.as_secs_f64()
    }
}

/// Runs all clients until the time is over. One failed request fails the run: a rate with errors in it is
/// not a figure. `at_start` is called when the measured part begins.
pub(crate) async fn closed_loop<C: Client + 'static>(
    clients: Vec<C>,
    span: Span,
    at_start: impl FnOnce() -> Result<()>,
) -> Result<Outcome> {
    let next = Rc::new(Cell::new(0_u64));
    let begin = Instant::now() + span.warmup;
    let end = begin + span.measured;
    let local = tokio::task::LocalSet::new();
    let tasks: Vec<_> =
        clients.into_iter().map(|client| local.spawn_local(work(client, next.clone(), begin, end))).collect();
    local
        .run_until(async {
            tokio::time::sleep_until(begin.into()).await;
            at_start()?;
            let mut outcome = Outcome { measured: span.measured, ..Outcome::default() };
            for task in tasks {
                outcome.latencies.append(task.await.context("a client panicked")??);
            }
            ensure!(outcome.latencies.count() > 0, "nothing was answered in {:?}", span.measured);
            Ok(outcome)
        })
        .await
}

async fn work<C: Client>(
    mut client: C,
    next: Rc<Cell<u64>>,
    begin: Instant,
    end: Instant,
) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    loop {
        let number = next.replace(next.get() + 1);
        let sent = Instant::now();
        client.step(number).await?;
        let answered = Instant::now();
        if answered >= end {
            return Ok(latencies);
        }
        if answered >= begin {
            latencies.push(answered - sent);
        }
    }
}

/// The load generators' runtime: one thread, so that the loader's cost is one processor's at most.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the load generator's runtime")
}
