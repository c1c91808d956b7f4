//! One question over HTTP, without a client library: for what is looked at and not measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The JSON of an answer with status 200.
pub(crate) fn json(
    server: SocketAddr,
    limit: Duration,
    method: &str,
    path: &str,
    body: &str,
) -> Option<serde_json::Value> {
    let (status, body) = exchange(server, limit, method, path, body)?;
    (status == 200).then(|| serde_json::from_str(&body).ok())?
}

/// The status of an answer.
pub(crate) fn status(
    server: SocketAddr,
    limit: Duration,
    method: &str,
    path: &str,
    body: &str,
) -> Option<u16> {
    exchange(server, limit, method, path, body).map(|(status, _)| status)
}

fn exchange(
    server: SocketAddr,
    limit: Duration,
    method: &str,
    path: &str,
    body: &str,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&server, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    let length = body.len();
    // HTTP/1.0: the answer ends with the connection and comes in one piece.
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {server}\r\nContent-Length: {length}\r\n\r\n{body}")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
