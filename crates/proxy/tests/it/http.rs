//! HTTP with real clients.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::echo::{Server, read_all, serve};
use crate::harness::{Harness, Instance};
use tokio::net::TcpStream;

/// Sends a request on a kept connection; returns status and body.
pub(crate) async fn get(stream: &mut TcpStream, host: &str, path: &str) -> (u16, String) {
    use tokio::io::AsyncReadExt;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
    let mut body = vec![0; head.lines().find_map(length).unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
}

/// Answers every request on a connection with its own head and body.
pub(crate) async fn mirror() -> Server {
    named_mirror("").await
}

/// The same, and says its name first.
pub(crate) async fn named_mirror(name: &'static str) -> Server {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
    serve(move |stream| async move {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if read.read_line(&mut head).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            if read.read_exact(&mut body).await.is_err() {
                return;
            }
            let all = format!("{name}{head}{}", String::from_utf8_lossy(&body));
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{all}", all.len());
            if write.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

pub(crate) async fn curl(arguments: &[&str]) -> Option<String> {
    let child = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--noproxy", "*"])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .await
        .ok()?;
    Some(String::from_utf8(child.stdout).unwrap())
}

#[tokio::test]
async fn curl_reaches_a_service_by_host() {
    let server = mirror().await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let url = format!("http://{}/a/b?c=d", harness.http);
    for host in ["web", "WEB", "web:8081", "web.svc.internal", "web.service.consul"] {
        let header = format!("Host: {host}");
        let Some(body) = curl(&["-H", &header, &url]).await else {
            println!("skipped: there is no curl");
            return;
        };
        assert!(body.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{host}: {body}");
        assert!(body.contains(&format!("host: {host}\r\n")), "{host}: {body}");
        assert!(body.contains("x-forwarded-for: 127.0.0.1\r\n"), "{body}");
        assert!(body.contains("via: 1.1 portolan-here\r\n"), "{body}");
    }
    let body = curl(&["-H", "Host: web", "-d", "some data", &url]).await.unwrap();
    assert!(body.starts_with("POST /a/b?c=d") && body.ends_with("\r\n\r\nsome data"), "{body}");
    let body = curl(&["--http2-prior-knowledge", "-H", "Host: web", "-d", "more", &url]).await.unwrap();
    assert!(body.starts_with("POST /a/b?c=d HTTP/1.1") && body.ends_with("\r\n\r\nmore"), "{body}");
    let head = curl(&["-I", "-H", "Host: web", &url]).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    // Large enough for curl to ask first (`Expect: 100-continue`).
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    std::fs::write(&file, "x".repeat(3_000_000)).unwrap();
    let data = format!("@{}", file.display());
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let body = curl(&[protocol, "-H", "Host: web", "--data-binary", &data, &url]).await.unwrap();
        assert!(body.ends_with(&"x".repeat(3_000_000)) && !body.contains("expect:"), "{protocol}");
    }
    let code = curl(&["-w", "%{http_code}", "-H", "Host: nobody.svc.internal", &url]).await.unwrap();
    assert!(code.contains("no service named \"nobody\"") && code.ends_with("404"), "{code}");
    harness.stop().await;
}

#[tokio::test]
async fn two_lengths_are_refused() {
    let server = mirror().await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut client = TcpStream::connect(harness.http).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(read_all(&mut client).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    harness.stop().await;
}
