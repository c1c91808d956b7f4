//! Loads a node's API and says what it took:
//!
//! - `load ADDRESS register CLIENTS SECONDS`: registrations of instances that do not exist yet
//! - `load ADDRESS get CLIENTS SECONDS TARGET`: one read, over and over
//! - `load ADDRESS watch WATCHERS TARGET`: blocking queries, then one registration of service `woken`; the
//!   time from that request until the last watcher has its answer

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [address, "register", clients, seconds] => {
            rate(address.parse()?, clients.parse()?, seconds.parse()?, "").await
        }
        [address, "get", clients, seconds, target] => {
            rate(address.parse()?, clients.parse()?, seconds.parse()?, target).await
        }
        [address, "watch", watchers, target] => watch(address.parse()?, watchers.parse()?, target).await,
        _ => Err("usage: load ADDRESS register|get|watch …".into()),
    }
}

/// A kept connection.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Connection, Failed> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::with_capacity(4096) })
    }

    async fn send(&mut self, method: &str, target: &str, body: &str) -> Result<(), Failed> {
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        Ok(self.stream.write_all(request.as_bytes()).await?)
    }

    /// Reads one answer; returns its head and the length of its body.
    async fn receive(&mut self) -> Result<(String, usize), Failed> {
        self.buffer.clear();
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        let length: usize = field(&head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        while self.buffer.len() < end + length {
            self.more().await?;
        }
        if !head.starts_with("http/1.1 2") {
            return Err(String::from_utf8_lossy(&self.buffer).into());
        }
        Ok((head, length))
    }

    async fn more(&mut self) -> Result<(), Failed> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the server closed".into()),
            _ => Ok(()),
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

async fn rate(address: SocketAddr, clients: u64, seconds: u64, target: &str) -> Result<(), Failed> {
    let done = Arc::new(AtomicU64::new(0));
    let run = std::process::id();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let (done, target) = (done.clone(), target.to_owned());
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut slowest = Duration::ZERO;
            for number in 0u64.. {
                let started = Instant::now();
                if started >= end {
                    break;
                }
                if target.is_empty() {
                    let service = number % 100;
                    let body = format!(
                        r#"{{"Name":"service-{service}","ID":"i-{run}-{client}-{number}","Port":8080,"Tags":["v1"],"Address":"10.0.0.1"}}"#
                    );
                    connection.send("PUT", "/v1/agent/service/register", &body).await?;
                } else {
                    connection.send("GET", &target, "").await?;
                }
                connection.receive().await?;
                slowest = slowest.max(started.elapsed());
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failed>(slowest)
        });
    }
    let mut slowest = Duration::ZERO;
    while let Some(ended) = tasks.join_next().await {
        slowest = slowest.max(ended??);
    }
    let rate = done.load(Ordering::Relaxed) / seconds;
    println!("{rate} requests/s with {clients} clients, slowest {slowest:?}");
    Ok(())
}

async fn watch(address: SocketAddr, watchers: usize, target: &str) -> Result<(), Failed> {
    let mut first = Connection::open(address).await?;
    first.send("GET", target, "").await?;
    let (head, _) = first.receive().await?;
    let index = field(&head, "x-consul-index").ok_or("no index")?.to_owned();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..watchers {
        let mut connection = Connection::open(address).await?;
        let mark = if target.contains('?') { '&' } else { '?' };
        connection.send("GET", &format!("{target}{mark}index={index}&wait=5m"), "").await?;
        tasks.spawn(async move {
            connection.receive().await?;
            Ok::<_, Failed>((Instant::now(), connection))
        });
    }
    println!("{watchers} watchers wait");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let body = format!(r#"{{"Name":"woken","ID":"w-{}","Port":80}}"#, std::process::id());
    let started = Instant::now();
    first.send("PUT", "/v1/agent/service/register", &body).await?;
    let mut last = started;
    let mut kept = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        let (at, connection) = ended??;
        last = last.max(at);
        kept.push(connection);
    }
    println!("{watchers} watchers answered within {:?}", last - started);
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}
