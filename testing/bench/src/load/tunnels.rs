//! Ten thousand GOST tunnels, each renewed every 15 seconds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::task::JoinSet;

use super::http::Connection;
use crate::harness::figure::Latencies;

/// What GOST does unless configured otherwise.
pub(crate) const RENEWED_EVERY: Duration = Duration::from_secs(15);

/// Servers whose tunnels these are: each keeps a connection or two to its plugin.
const CONNECTIONS: usize = 64;

/// GOST's HTTP plugin sends the same keys each time; after the first, without network and address.
fn body(number: usize, first: bool) -> Bytes {
    let (network, address) = if first { ("tcp", "10.42.0.100:80") } else { ("", "") };
    Bytes::from(format!(
        r#"{{"id":"00000000-0000-4000-8000-{number:012}","name":"11111111-0000-4000-8000-{:012}","node":"db670b91-61a5-4f7c-8014-3bbe994446ea","network":"{network}","address":"{address}"}}"#,
        number / 2
    ))
}

async fn send(connection: &mut Connection, method: Method, number: usize) -> Result<()> {
    let first = method == Method::POST;
    let (status, answer) = connection.send(method, "/sd", body(number, first)).await?;
    let expected: &[u8] = br#"{"ok":true}"#;
    ensure!(status == StatusCode::OK && answer == expected, "/sd: {status}: {answer:?}");
    Ok(())
}

/// Registers one more; returns when it is on disk.
pub(crate) async fn register_one(server: SocketAddr, number: usize) -> Result<Duration> {
    let mut connection = Connection::open(server).await?;
    let begin = Instant::now();
    send(&mut connection, Method::POST, number).await?;
    Ok(begin.elapsed())
}

/// Registers all of them.
pub(crate) async fn register(server: SocketAddr, tunnels: usize) -> Result<()> {
    let mut tasks = JoinSet::new();
    for first in 0..CONNECTIONS {
        let mut connection = Connection::open(server).await?;
        tasks.spawn(async move {
            for number in (first..tunnels).step_by(CONNECTIONS) {
                send(&mut connection, Method::POST, number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.context("a client panicked")??;
    }
    Ok(())
}

/// Renews each of them on its time until `end`. A latency counts from the moment when the renewal was due, so that
/// a stall is felt by all who fall into it.
pub(crate) async fn renew(server: SocketAddr, tunnels: usize, end: Instant) -> Result<Latencies> {
    let begin = Instant::now() + Duration::from_millis(100);
    let mut tasks = JoinSet::new();
    for first in 0..CONNECTIONS {
        let connection = Connection::open(server).await?;
        tasks.spawn(renew_share(connection, first, tunnels, begin, end));
    }
    let mut all = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        all.append(done.context("a client panicked")??);
    }
    Ok(all)
}

async fn renew_share(
    mut connection: Connection,
    first: usize,
    tunnels: usize,
    begin: Instant,
    end: Instant,
) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for term in 0.. {
        for number in (first..tunnels).step_by(CONNECTIONS) {
            let due = begin + RENEWED_EVERY * term + RENEWED_EVERY.mul_f64(number as f64 / tunnels as f64);
            if due >= end {
                return Ok(latencies);
            }
            // Late because the answer before was late: the server's doing, and counted. Late because a timer
            // fires late: the loader's, and not.
            let is_behind = due <= Instant::now();
            tokio::time::sleep_until(due.into()).await;
            let sent = if is_behind { due } else { Instant::now() };
            send(&mut connection, Method::PUT, number).await?;
            latencies.push(sent.elapsed());
        }
    }
    Ok(latencies)
}
