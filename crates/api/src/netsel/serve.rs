//! Connections of the NetSel port.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lease::Leases;
use state::Drain;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::registrar::Registrar;
use super::wire::{Answer, MAX_REQUEST, Request, is_complete, parse};
use super::{Config, Metrics};

/// A request without its padding and without a line end is taken as whole when nothing follows it for this
/// long: the seed's server took whatever one read gave it.
const SETTLE: Duration = Duration::from_millis(250);
/// Longest that a client is given to take its answer and close.
const LINGER: Duration = Duration::from_secs(1);

/// Serves the port until it is time to leave; requests under way are finished.
pub async fn run(
    config: Config,
    listener: TcpListener,
    store: Store,
    leases: Arc<Leases>,
    metrics: Metrics,
    drain: Drain,
) {
    let places = Arc::new(Semaphore::new(config.max_connections.max(1)));
    let read_timeout = config.read_timeout;
    let registrar = Arc::new(Registrar::new(config, store, leases));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = drain.started() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(place) = places.clone().try_acquire_owned() else {
                    metrics.count("connection", "refused");
                    continue;
                };
                let (registrar, metrics) = (registrar.clone(), metrics.clone());
                connections.spawn(async move {
                    connection(stream, peer, &registrar, &metrics, read_timeout).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: wait for some to be closed rather than spin.
                tracing::warn!(%error, "accept a NetSel connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn connection(
    mut stream: TcpStream,
    peer: SocketAddr,
    registrar: &Registrar,
    metrics: &Metrics,
    read_timeout: Duration,
) {
    let Ok(Ok(bytes)) = timeout(read_timeout, read_request(&mut stream)).await else {
        metrics.count("connection", "silent");
        return;
    };
    let answer = answer(&bytes, peer.ip(), registrar, metrics).await.encode();
    // Whoever leaves without reading its answer has its registration all the same.
    if let Err(error) = timeout(LINGER, finish(&mut stream, &answer)).await {
        tracing::debug!(%peer, %error, "a NetSel client does not close");
    }
}

/// Reads until the request is whole: by its padding, a line end, its length, the client's end of writing, or
/// a pause.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(MAX_REQUEST + 1);
    while !is_complete(&bytes) {
        let mut next = [0; MAX_REQUEST + 1];
        let read = stream.read(&mut next);
        let count = match bytes.is_empty() {
            true => read.await?,
            false => match timeout(SETTLE, read).await {
                Ok(count) => count?,
                Err(_) => break,
            },
        };
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&next[..count]);
    }
    Ok(bytes)
}

/// Sends the answer and waits until the client closes. Closing first, with its padding unread, would reset
/// the connection, and the answer might be lost on the way.
async fn finish(stream: &mut TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

async fn answer(bytes: &[u8], source: IpAddr, registrar: &Registrar, metrics: &Metrics) -> Answer {
    let request = match parse(bytes) {
        Ok(request) => request,
        Err(malformed) => {
            metrics.count("malformed", "failed");
            return Answer::Failed { reason: malformed.to_string() };
        }
    };
    let (kind, answer) = match &request {
        Request::Register(name) => ("register", register(name, source, registrar).await),
        Request::Heartbeat(name) => ("heartbeat", renew(name, source, registrar)),
        Request::Lookup(name) => ("lookup", look_up(name, registrar)),
    };
    let is_good = matches!(answer, Answer::Registered { .. } | Answer::Renewed | Answer::Found { .. });
    metrics.count(kind, if is_good { "ok" } else { "failed" });
    answer
}

async fn register(name: &str, source: IpAddr, registrar: &Registrar) -> Answer {
    match registrar.register(name, source).await {
        Ok((ip, port)) => {
            tracing::info!(name, %source, port, "registered by NetSel's protocol");
            Answer::Registered { ip, port }
        }
        Err(reason) => {
            tracing::info!(name, %source, %reason, "a NetSel registration was refused");
            Answer::Failed { reason: reason.to_string() }
        }
    }
}

fn renew(name: &str, source: IpAddr, registrar: &Registrar) -> Answer {
    match registrar.renew(name, source, Instant::now()) {
        Ok(()) => Answer::Renewed,
        Err(reason) => {
            tracing::info!(name, %source, %reason, "a NetSel heartbeat was refused");
            Answer::NotRenewed
        }
    }
}

fn look_up(name: &str, registrar: &Registrar) -> Answer {
    match registrar.look_up(name, Instant::now()) {
        Some((ip, port, unrenewed)) => Answer::Found { ip, port, unrenewed_ms: unrenewed.as_millis() },
        None => Answer::NotFound,
    }
}
