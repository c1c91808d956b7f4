//! TCP connections through a relay, and what stands behind it: a sink, an echo, a server that says one byte.
//!
//! Both ends are in this process, on the loaders' processor, and the same for every contestant.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Client, Outcome, Span, closed_loop, runtime};

/// What one write of the bulk flow has.
const BLOCK: usize = 256 * 1024;
/// A ping, and its answer.
const PING: usize = 64;

/// The servers behind the relays, for as long as this process lives.
pub(crate) struct Backends {
    /// Takes everything and says nothing.
    pub(crate) sink: SocketAddr,
    /// Says what it hears.
    pub(crate) echo: SocketAddr,
    /// Takes one byte, says one byte and ends the connection.
    pub(crate) once: SocketAddr,
    taken: Arc<AtomicU64>,
}

impl Backends {
    pub(crate) fn start() -> Result<Backends> {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for relayed connections");
        let (sink, echo, once) = (listen()?, listen()?, listen()?);
        let taken = Arc::new(AtomicU64::new(0));
        let backends = Backends {
            sink: sink.local_addr().context("ask for an address")?,
            echo: echo.local_addr().context("ask for an address")?,
            once: once.local_addr().context("ask for an address")?,
            taken: taken.clone(),
        };
        std::thread::spawn(move || {
            for stream in sink.incoming().flatten() {
                let taken = taken.clone();
                std::thread::spawn(move || swallow(&stream, &taken));
            }
        });
        let runtime = runtime()?;
        std::thread::spawn(move || runtime.block_on(answer(echo, once)));
        Ok(backends)
    }

    /// Bytes that the sink has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }
}

/// Takes bytes without copying them anywhere: the loader is not what is measured.
fn swallow(stream: &TcpStream, taken: &AtomicU64) {
    let mut nowhere = [0; BLOCK];
    while let Ok((_, length @ 1..)) = rustix::net::recv(stream, &mut nowhere, RecvFlags::TRUNC) {
        taken.fetch_add(length as u64, Relaxed);
    }
}

async fn answer(echo: TcpListener, once: TcpListener) {
    let adopt = |listener: TcpListener| {
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    let (Ok(echo), Ok(once)) = (adopt(echo), adopt(once)) else { return };
    let echoes = async {
        while let Ok((mut stream, _)) = echo.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let mut bytes = [0; 4 * PING];
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    if stream.write_all(&bytes[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    };
    tokio::join!(echoes, say_one_byte(once));
}

async fn say_one_byte(listener: tokio::net::TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut byte = [0];
            if stream.read_exact(&mut byte).await.is_ok() {
                // Whoever is gone already does not miss it.
                let _ = stream.write_all(&byte).await;
            }
        });
    }
}

/// So many more servers that say one byte, for as long as this process lives.
pub(crate) fn answer_once(count: usize) -> Result<Vec<SocketAddr>> {
    let (runtime, mut addresses, mut listeners) = (runtime()?, Vec::new(), Vec::new());
    runtime.block_on(async {
        for _ in 0..count {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.context("listen for relayed connections")?;
            addresses.push(listener.local_addr().context("ask for an address")?);
            listeners.push(listener);
        }
        anyhow::Ok(())
    })?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let servers: Vec<_> =
                listeners.into_iter().map(|listener| tokio::spawn(say_one_byte(listener))).collect();
            for server in servers {
                drop(server.await);
            }
        });
    });
    Ok(addresses)
}

/// Writes into one connection for so long; bytes that the sink took meanwhile.
pub(crate) fn bulk(relay: SocketAddr, backends: &Backends, time: Duration) -> Result<u64> {
    let mut stream = TcpStream::connect(relay).with_context(|| format!("connect to {relay}"))?;
    let block = vec![b'x'; BLOCK];
    let before = backends.taken();
    let end = Instant::now() + time;
    while Instant::now() < end {
        stream.write_all(&block).context("write to a relay")?;
    }
    Ok(backends.taken() - before)
}

struct Ping(tokio::net::TcpStream);

impl Client for Ping {
    async fn step(&mut self, _: u64) -> Result<()> {
        let mut answer = [0; PING];
        self.0.write_all(&[7; PING]).await.context("send a ping")?;
        self.0.read_exact(&mut answer).await.context("wait for a ping's answer")?;
        Ok(())
    }
}

/// Round trips of 64 bytes on so many connections; `at_start` when the first of them counts.
pub(crate) fn pings(
    relay: SocketAddr,
    connections: usize,
    span: Span,
    at_start: impl FnOnce() -> Result<()>,
) -> Result<Outcome> {
    runtime()?.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..connections {
            let stream = tokio::net::TcpStream::connect(relay).await.context("connect to a relay")?;
            stream.set_nodelay(true).context("set TCP_NODELAY")?;
            clients.push(Ping(stream));
        }
        closed_loop(clients, span, at_start).await
    })
}

struct Caller(SocketAddr);

impl Client for Caller {
    async fn step(&mut self, _: u64) -> Result<()> {
        let mut stream = tokio::net::TcpStream::connect(self.0).await.context("connect to a relay")?;
        stream.write_all(&[7]).await.context("send a byte")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.context("wait for a byte")?;
        anyhow::ensure!(answer == [7], "a connection ended without its byte");
        Ok(())
    }
}

/// New connections, one byte each way, by so many clients.
pub(crate) fn connects(
    relay: SocketAddr,
    clients: usize,
    span: Span,
    at_start: impl FnOnce() -> Result<()>,
) -> Result<Outcome> {
    let clients = (0..clients).map(|_| Caller(relay)).collect();
    runtime()?.block_on(closed_loop(clients, span, at_start))
}

/// Connections that have said one ping and then nothing.
pub(crate) fn idle(relay: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(relay).context("connect to a relay")?;
        let mut answer = [0; PING];
        stream.write_all(&answer).context("send a ping")?;
        stream.read_exact(&mut answer).context("wait for a ping's answer")?;
        held.push(stream);
    }
    Ok(held)
}
