//! Ten thousand blocking queries on one service, and a change to it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use http::{Method, StatusCode};

use crate::harness::cores::Cores;
use crate::harness::figure::{Figure, Latencies};
use crate::harness::rounds::interleave;
use crate::harness::{Context, process};
use crate::load::watchers::Watchers;
use crate::load::{http as client, registrations, runtime};
use crate::report::{Goal, Row, Section};
use crate::subject::portolan::Home;

const WATCHERS: usize = 10_000;
const SERVICE: &str = "watched";

#[derive(Default)]
struct Figures {
    last_ms: Figure,
    median_ms: Figure,
    quiet_ms: Figure,
    kib_each: Figure,
    cpu_ms: Figure,
}

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let watchers = context.size(WATCHERS, 200);
    raise_descriptor_limit(watchers as u64 + 1000)?;
    let mut figures = Figures::default();
    interleave(context, &["portolan"], |_, _| measure(context, cores, watchers, &mut figures))?;
    Ok(Section {
        group: "blocking",
        title: "Blocking queries",
        how: format!(
            "{watchers} connections each hold a blocking query on one service with three instances. A fourth is \
             registered; counted from the moment that request is sent to the moment the last watcher has its \
             whole answer, the loader's own reading included. Before that, another service changes and nobody may \
             be woken."
        ),
        rows: vec![
            Row::new(format!("last of {watchers} notified"), "ms", figures.last_ms).goal(Goal::Below(150.0)),
            Row::new("half of them notified", "ms", figures.median_ms),
            Row::new("server's CPU for all of them", "ms", figures.cpu_ms),
            Row::new("the registration itself, with nobody watching", "ms", figures.quiet_ms),
            Row::new("memory for each watcher", "KiB", figures.kib_each),
        ],
        facts: vec![],
    })
}

fn measure(context: &Context, cores: &Cores, watchers: usize, figures: &mut Figures) -> Result<()> {
    let home = Home::new(&context.scratch)?;
    let portolan = home.start(context, cores)?;
    runtime()?.block_on(async {
        let mut connection = client::Connection::open(portolan.api).await?;
        for number in 0..3 {
            registrations::register(&mut connection, SERVICE, &format!("{SERVICE}-{number}"), number).await?;
        }
        let index = index_of(portolan.api, SERVICE).await?;
        let before = process::resident_mb(portolan.process.pid())?;
        let path = format!("/v1/health/service/{SERVICE}?index={index}&wait=5m");
        let mut watching = Watchers::open(portolan.api, &path, watchers).await?;

        let quiet = Instant::now();
        registrations::register(&mut connection, "another", "another", 9).await?;
        figures.quiet_ms.push(quiet.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let early = watching.early();
        ensure!(early == 0, "{early} watchers were woken by another service");
        let grown = process::resident_mb(portolan.process.pid())? - before;
        figures.kib_each.push(grown * 1e6 / 1024.0 / watchers as f64);

        let spent = process::cpu(portolan.process.pid())?;
        let sent = Instant::now();
        registrations::register(&mut connection, SERVICE, &format!("{SERVICE}-new"), 77).await?;
        let mut latencies = Latencies::default();
        watching.answers().await?.into_iter().for_each(|at| latencies.push(at - sent));
        let spent = process::cpu(portolan.process.pid())?.saturating_sub(spent);
        figures.cpu_ms.push(spent.as_secs_f64() * 1000.0);
        figures.last_ms.push(latencies.percentile_ms(1.0));
        figures.median_ms.push(latencies.percentile_ms(0.5));
        anyhow::Ok(())
    })?;
    portolan.stop()
}

/// Consul's index of the service, from the header of an ordinary query.
pub(super) async fn index_of(api: SocketAddr, service: &str) -> Result<u64> {
    let mut connection = client::Connection::open(api).await?;
    let path = format!("/v1/health/service/{service}");
    let (status, headers) = connection.headers(Method::GET, &path).await?;
    ensure!(status == StatusCode::OK, "GET {path}: {status}");
    let index = headers.get("x-consul-index").context("no X-Consul-Index")?;
    index.to_str().ok().and_then(|index| index.parse().ok()).context("X-Consul-Index is not a number")
}

/// A descriptor for each connection, here and in the server, which inherits the limit.
pub(super) fn raise_descriptor_limit(needed: u64) -> Result<()> {
    let allowed = sys::process::raise_descriptor_limit().context("raise the limit of open files")?;
    ensure!(
        allowed >= needed,
        "this needs {needed} open files and {allowed} are allowed: raise `ulimit -Hn`"
    );
    Ok(())
}
