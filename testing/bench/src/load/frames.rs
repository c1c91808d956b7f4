//! WebSocket clients that speak in bytes made before: the loader is not what is measured.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::streams::Backends;
use super::{Client, Outcome, Span, closed_loop, runtime};

/// What one message of the bulk flow has.
const MESSAGE: usize = 64 * 1024;
/// A ping, and its answer.
const PING: u8 = 64;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A binary message of a client's, masked (RFC 6455 section 5.2).
fn message(length: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match length {
        0..=125 => frame.push(0x80 | length as u8),
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&KEY);
    frame.extend((0..length).map(|at| b'x' ^ KEY[at % 4]));
    frame
}

/// Opens one and leaves it in the hands of whoever speaks frames.
fn open(server: SocketAddr, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server).with_context(|| format!("connect to {server}"))?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .context("ask for a WebSocket")?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).context("wait for a WebSocket")?;
        head.push(byte[0]);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101 "), "no WebSocket: {}", String::from_utf8_lossy(&head));
    Ok(stream)
}

/// Writes messages into one connection for so long; bytes that the sink took meanwhile.
pub(crate) fn bulk(server: SocketAddr, path: &str, backends: &Backends, time: Duration) -> Result<u64> {
    let mut stream = open(server, path)?;
    let messages = message(MESSAGE).repeat(4);
    let before = backends.taken();
    let end = Instant::now() + time;
    while Instant::now() < end {
        stream.write_all(&messages).context("write to a bridge")?;
    }
    Ok(backends.taken() - before)
}

struct Ping {
    stream: tokio::net::TcpStream,
    message: Vec<u8>,
}

impl Client for Ping {
    async fn step(&mut self, _: u64) -> Result<()> {
        let mut answer = [0; 2 + PING as usize];
        self.stream.write_all(&self.message).await.context("send a ping")?;
        self.stream.read_exact(&mut answer).await.context("wait for a ping's answer")?;
        ensure!(answer[..2] == [0x82, PING], "an answer in other frames: {:?}", &answer[..2]);
        Ok(())
    }
}

/// Round trips of 64 bytes on so many connections; `at_start` when the first of them counts.
pub(crate) fn pings(
    server: SocketAddr,
    path: &str,
    connections: usize,
    span: Span,
    at_start: impl FnOnce() -> Result<()>,
) -> Result<Outcome> {
    let mut clients = Vec::new();
    runtime()?.block_on(async {
        for _ in 0..connections {
            let stream = open(server, path)?;
            stream.set_nonblocking(true).context("make a socket not block")?;
            let stream = tokio::net::TcpStream::from_std(stream).context("watch a socket")?;
            clients.push(Ping { stream, message: message(PING.into()) });
        }
        closed_loop(clients, span, at_start).await
    })
}

/// Waits until a bridge takes WebSockets and reaches its server.
pub(crate) fn is_bridged(server: SocketAddr, path: &str) -> bool {
    let ask = || -> Result<()> {
        let mut stream = open(server, path)?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).context("set a limit")?;
        stream.write_all(&message(PING.into())).context("send a ping")?;
        stream.read_exact(&mut [0; 2 + PING as usize]).context("wait for a ping's answer")
    };
    ask().is_ok()
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn messages_are_masked_and_as_long_as_they_say() {
        let ping = message(64);
        assert_eq!((&ping[..2], ping.len(), ping[6]), (&[0x82, 0x80 | 64][..], 2 + 4 + 64, b'x' ^ 0x37));
        let bulk = message(64 * 1024);
        assert_eq!((&bulk[1..10], bulk.len()), (&[0xff, 0, 0, 0, 0, 0, 1, 0, 0][..], 10 + 4 + 64 * 1024));
    }
}
