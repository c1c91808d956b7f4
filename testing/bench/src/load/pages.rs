//! Small pages over kept connections of HTTP/1.1, and a server that has nothing else. Neither parses more than it must: both
//! are on the loaders' processor.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Client, Outcome, Span, closed_loop, runtime};

const PAGE: &str = "hello, world";
/// Longest request or answer here.
const MOST: usize = 4096;
const END: &[u8] = b"\r\n\r\n";

/// A server of that page, for as long as this process lives.
pub(crate) fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for requests")?;
    let address = listener.local_addr().context("ask for an address")?;
    listener.set_nonblocking(true).context("listen for requests")?;
    let runtime = runtime()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
    });
    Ok(address)
}

/// Requests have no bodies here and do not come two at a time.
async fn answer(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let page = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{PAGE}", PAGE.len());
    let (mut bytes, mut length) = ([0; MOST], 0);
    while let Ok(more @ 1..) = stream.read(&mut bytes[length..]).await {
        length += more;
        if bytes[..length].ends_with(END) {
            length = 0;
            if stream.write_all(page.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

struct Reader {
    stream: TcpStream,
    request: String,
}

impl Reader {
    async fn new(proxy: SocketAddr, host: &str) -> Result<Reader> {
        let stream = TcpStream::connect(proxy).await.context("connect to a proxy")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        Ok(Reader { stream, request: format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n") })
    }
}

impl Client for Reader {
    async fn step(&mut self, _: u64) -> Result<()> {
        self.stream.write_all(self.request.as_bytes()).await.context("send a request")?;
        let (mut bytes, mut length) = ([0; MOST], 0);
        while !bytes[..length].ends_with(PAGE.as_bytes()) {
            let more = self.stream.read(&mut bytes[length..]).await.context("wait for an answer")?;
            ensure!(more > 0, "instead of a page came: {}", String::from_utf8_lossy(&bytes[..length]));
            length += more;
        }
        ensure!(bytes.starts_with(b"HTTP/1.1 200"), "a request was refused");
        Ok(())
    }
}

/// One request; an error says what came instead of the page.
pub(crate) fn once(proxy: SocketAddr, host: &str) -> Result<()> {
    runtime()?.block_on(async {
        let mut reader = Reader::new(proxy, host).await?;
        let patience = std::time::Duration::from_secs(2);
        tokio::time::timeout(patience, reader.step(0)).await.context("no page came")?
    })
}

/// Requests for the page of `host`, on so many connections; `at_start` when the first of them counts.
pub(crate) fn requests(
    proxy: SocketAddr,
    host: &str,
    connections: usize,
    span: Span,
    at_start: impl FnOnce() -> Result<()>,
) -> Result<Outcome> {
    runtime()?.block_on(async {
        let mut readers = Vec::new();
        for _ in 0..connections {
            readers.push(Reader::new(proxy, host).await?);
        }
        closed_loop(readers, span, at_start).await
    })
}
