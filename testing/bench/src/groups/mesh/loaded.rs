//! What bulk on the mesh does to commits: a writer alone, then beside a stream of bulk from every server to every other.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use client::broker::Broker;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::load::http::Connection;
use crate::load::keys::{self, Op};
use crate::load::{Span, closed_loop, runtime};
use crate::report::{Goal, Row};
use crate::subject::trio::{Kind, Trio};

const CHUNK: usize = 64 << 10;
/// Clients that write, as many as there are servers.
const WRITERS: usize = 3;

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Vec<Row>> {
    let (mut alone, mut beside, mut bulk) = (Figure::default(), Figure::default(), Figure::default());
    for round in 0..context.rounds {
        eprintln!("  round {}/{}: commits beside bulk on the mesh", round + 1, context.rounds);
        let trio = Trio::start(Kind::Portolan, context, cores)?;
        trio.cli(0, &["allow", "any", "any"])?;
        runtime()?.block_on(async {
            let moved = Arc::new(AtomicU64::new(0));
            let mut streams = JoinSet::new();
            let sinks = sinks(&trio, &moved, &mut streams).await?;
            alone.push(p99(context, &trio).await?);
            bulk_from_everybody(&trio, sinks, &mut streams).await?;
            let (begin, before) = (Instant::now(), moved.load(Relaxed));
            beside.push(p99(context, &trio).await?);
            let bytes = moved.load(Relaxed) - before;
            ensure!(bytes > 0, "nothing moved");
            bulk.push(bytes as f64 / 1e6 / begin.elapsed().as_secs_f64());
            anyhow::Ok(())
        })?;
    }
    let row = Row::new("writes beside bulk on every link of the mesh: 99 of 100 below", "ms", beside);
    Ok(vec![
        row.beside("without bulk", alone).goal(Goal::RatioAtMost(2.0)),
        Row::new("that bulk, all links together", "MB/s", bulk),
    ])
}

async fn p99(context: &Context, trio: &Trio) -> Result<f64> {
    let span = Span {
        warmup: context.size(Duration::from_secs(1), Duration::from_millis(200)),
        measured: context.size(Duration::from_secs(4), Duration::from_millis(500)),
    };
    let clients = keys::clients(trio, Op::Write, WRITERS).await?;
    Ok(closed_loop(clients, span, || Ok(())).await?.latencies.percentile_ms(0.99))
}

/// A service at every server that takes bytes and counts them; their names.
async fn sinks(trio: &Trio, moved: &Arc<AtomicU64>, tasks: &mut JoinSet<()>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (at, api) in trio.addresses().into_iter().enumerate() {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let name = format!("sink-{at}");
        let body = format!(
            "{{\"Name\":\"{name}\",\"Address\":\"127.0.0.1\",\"Port\":{}}}",
            listener.local_addr()?.port()
        );
        let mut connection = Connection::open(api).await?.with_token(trio.token.as_deref())?;
        connection.put("/v1/agent/service/register", Bytes::from(body)).await?;
        let moved = moved.clone();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let moved = moved.clone();
                tokio::spawn(async move {
                    let mut bytes = vec![0; CHUNK];
                    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                        moved.fetch_add(length as u64, Relaxed);
                    }
                });
            }
        });
        names.push(name);
    }
    Ok(names)
}

/// From every server to every other, through the broker of the one and the mesh.
async fn bulk_from_everybody(trio: &Trio, sinks: Vec<String>, tasks: &mut JoinSet<()>) -> Result<()> {
    for from in 0..sinks.len() {
        for (to, sink) in sinks.iter().enumerate().filter(|(to, _)| *to != from) {
            let (socket, uri) = (trio.broker(from), format!("quic://n{to}/{sink}"));
            // A name is known everywhere a moment after it was registered.
            let (broker, limit) = (Broker::at(&socket)?, Instant::now() + Duration::from_secs(10));
            let stream = loop {
                match broker.connect(&uri) {
                    Ok((stream, _)) => break stream,
                    Err(why) if Instant::now() > limit => {
                        return Err(why).with_context(|| format!("reach {uri}"));
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            let stream = UnixStream::from(stream);
            stream.set_nonblocking(true).context("a connection that does not block")?;
            let mut stream = tokio::net::UnixStream::from_std(stream)?;
            tasks.spawn(async move {
                let bytes = vec![7; CHUNK];
                while stream.write_all(&bytes).await.is_ok() {}
            });
        }
    }
    Ok(())
}
