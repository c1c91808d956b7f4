//! HTTP/1.1 as plain as it gets, with a limit on time, so that nothing of ours stands between a test and a daemon.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, as it came.
    pub head: String,
    /// Its body.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The request never left: it was certainly not carried out.
    #[error("connect to {0}")]
    NotSent(SocketAddr, #[source] io::Error),
    /// It left, and nobody knows what became of it.
    #[error("ask {0}")]
    Unknown(SocketAddr, #[source] io::Error),
}

impl Answer {
    /// The first header of this name (in any case), trimmed.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Its body.
    pub body: &'a str,
    /// Another `Host` than the server's address.
    pub host: Option<&'a str>,
    /// Who asks, as Consul's clients say it.
    pub token: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// By this method, without a body or anything else.
    pub fn new(method: &'a str, path: &'a str) -> Request<'a> {
        Request { method, path, body: "", host: None, token: None }
    }

    fn text(&self, server: SocketAddr) -> String {
        let Request { method, path, body, .. } = self;
        let host = self.host.map_or_else(|| server.to_string(), str::to_owned);
        let token = self.token.map_or(String::new(), |token| format!("X-Consul-Token: {token}\r\n"));
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{token}Content-Length: {length}\r\n\r\n{body}"
        )
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// Nobody listens, or the answer does not come within `limit`.
pub fn ask(server: SocketAddr, limit: Duration, request: &Request<'_>) -> Result<Answer, NoAnswer> {
    let deadline = Instant::now() + limit;
    let stream =
        TcpStream::connect_timeout(&server, limit).map_err(|cause| NoAnswer::NotSent(server, cause))?;
    let text = request.text(server);
    exchange(stream, deadline, text.as_bytes()).map_err(|cause| NoAnswer::Unknown(server, cause))
}

fn exchange(mut stream: TcpStream, deadline: Instant, request: &[u8]) -> io::Result<Answer> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_write_timeout(Some(left()))?;
    stream.write_all(request)?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16_384]);
    loop {
        stream.set_read_timeout(Some(left()))?;
        match stream.read(&mut chunk)? {
            0 => break,
            length => bytes.extend_from_slice(&chunk[..length]),
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no whole HTTP answer"))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
    if let Some(length) = answer.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        (body.len() >= length).then_some(())?;
    } else if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    {
        answer.body = join_chunks(body)?;
    }
    Some(answer)
}

fn join_chunks(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..size)?);
        body = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_answer_is_whole_or_none() {
        let answer = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi").unwrap();
        assert_eq!((answer.status, &*answer.body, answer.header("x-a")), (200, "hi", Some("b")));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi"), None);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body, "hi!");
        assert_eq!(parse(&chunked[..60]), None);
    }
}
