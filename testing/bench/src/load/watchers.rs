//! Thousands of blocking queries, each on a connection of its own, and when each of them was answered.
//!
//! Answers are only measured, not understood: parsing ten thousand of them would cost the loader more than
//! sending them costs the server. Connections stay open until all have been answered, as those of a watcher
//! that asks again do; closing each would have the server close ten thousand while it still answers others.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Requests under way.
pub(crate) struct Watchers {
    tasks: JoinSet<Result<(Instant, TcpStream)>>,
}

impl Watchers {
    /// Opens `count` connections and sends `GET path` on each.
    pub(crate) async fn open(server: SocketAddr, path: &str, count: usize) -> Result<Self> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n");
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let mut stream =
                TcpStream::connect(server).await.with_context(|| format!("connect to {server}"))?;
            stream.write_all(request.as_bytes()).await.context("send a blocking query")?;
            tasks.spawn(answered(stream));
        }
        Ok(Watchers { tasks })
    }

    /// How many have been answered already; none should be before something changes.
    pub(crate) fn early(&mut self) -> usize {
        let mut early = 0;
        while self.tasks.try_join_next().is_some() {
            early += 1;
        }
        early
    }

    /// When each was answered, in no order.
    pub(crate) async fn answers(mut self) -> Result<Vec<Instant>> {
        let (mut answers, mut open) = (Vec::with_capacity(self.tasks.len()), Vec::new());
        while let Some(answer) = self.tasks.join_next().await {
            let (at, stream) = answer.context("a watcher panicked")??;
            answers.push(at);
            open.push(stream);
        }
        Ok(answers)
    }
}

/// Waits for a whole answer: a head with 200 and a length, and that many bytes.
async fn answered(mut stream: TcpStream) -> Result<(Instant, TcpStream)> {
    let mut answer = Vec::with_capacity(1024);
    loop {
        let read = stream.read_buf(&mut answer).await.context("read an answer")?;
        let now = Instant::now();
        ensure!(read > 0, "the server closed a blocking query");
        if is_complete(&answer)? {
            return Ok((now, stream));
        }
    }
}

fn is_complete(answer: &[u8]) -> Result<bool> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 200"), "a blocking query was refused: {head}");
    let body = &answer[end + 4..];
    match head.lines().find_map(|line| line.strip_prefix("content-length:")) {
        Some(length) => Ok(body.len() >= length.trim().parse::<usize>().context("a length")?),
        None => Ok(body.ends_with(b"0\r\n\r\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn an_answer_is_complete_with_its_body() {
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[").unwrap());
        assert!(is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]").unwrap());
        assert!(is_complete(b"HTTP/1.1 200 OK\r\n\r\n2\r\n[]\r\n0\r\n\r\n").unwrap());
        assert!(is_complete(b"HTTP/1.1 500 No\r\n\r\n").is_err());
    }
}
