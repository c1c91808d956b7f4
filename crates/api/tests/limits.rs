//! What is refused, cut off, or kept going: foreign pages, large and slow bodies, silent peers, crowds, a log
//! that stopped.

#![allow(clippy::expect_used, reason = "test code")]

mod common;

use std::time::Duration;

use common::Server;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portolan_api::{Config, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn quick() -> Config {
    let limits = Limits {
        head_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(200),
        write_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    Config { limits, hosts: vec!["registry.example.org".into()], ..Config::default() }
}

/// Polls until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(holds().await, "{what}");
}

/// Reads until the server closes the connection.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
    let _ = read.await.expect("the server closes");
    rest
}

#[tokio::test]
async fn web_pages_are_kept_out() {
    let server = Server::start_with(quick()).await;
    let ask = async |fields: &[(&str, &str)]| server.send("PUT", "/v1/kv/a", fields, b"x").await.status;
    assert_eq!(ask(&[("Host", "evil.example")]).await, 403);
    assert_eq!(ask(&[("Origin", "http://evil.example")]).await, 403);
    assert_eq!(ask(&[("Sec-Fetch-Site", "cross-site")]).await, 403);
    assert_eq!(server.get("/v1/kv/a").await.status, 404, "nothing was written");
    assert_eq!(ask(&[("Host", "registry.example.org")]).await, 200);
    assert_eq!(ask(&[("Host", "localhost:8500")]).await, 200);
    let refused = server.get("/metrics").await.body;
    assert!(refused.contains("portolan_api_refused_total{reason=\"foreign\"} 3\n"), "{refused}");
}

#[tokio::test]
async fn large_bodies_are_refused() {
    let server = Server::start().await;
    let declared = format!("PUT /v1/kv/a HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.address);
    let unread = server.raw(format!("{declared}Content-Length: 99999999999\r\n\r\n").as_bytes()).await;
    assert_eq!(unread.status, 413);
    assert!(unread.body.contains("99999999999 bytes too large, max size: 524288"), "{}", unread.body);
    // Who sends all of it before he reads finds the answer and no broken pipe.
    for _ in 0..20 {
        let whole = format!("{declared}Content-Length: 700000\r\n\r\n{}", "x".repeat(700_000));
        assert_eq!(server.raw(whole.as_bytes()).await.status, 413);
    }
    let chunk = format!("{:x}\r\n{}\r\n", 300_000, "x".repeat(300_000));
    let chunked = format!("{declared}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert_eq!(server.raw(chunked.as_bytes()).await.status, 413);
    let exact = vec![b'x'; 512 << 10];
    assert_eq!(server.send("PUT", "/v1/kv/a", &[], &exact).await.status, 200);
    assert_eq!(server.get("/v1/kv/a?raw").await.body.len(), exact.len());
}

#[tokio::test]
async fn the_slow_and_the_silent_are_cut_off() {
    let server = Server::start_with(quick()).await;
    let body = format!("PUT /v1/kv/a HTTP/1.1\r\nHost: {}\r\nContent-Length: 10\r\n\r\nabc", server.address);
    let late = server.raw(body.as_bytes()).await;
    assert_eq!(late.status, 408, "{late:?}");
    for sent in ["", "GET / HT", "PRI * HTTP/2.0\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        stream.write_all(sent.as_bytes()).await.expect("sends");
        closed(&mut stream).await;
    }
    until("they are gone", async || server.connections() == 0).await;
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let server = Server::start_with(quick()).await;
    let value = vec![b'x'; 512 << 10];
    for number in 0..32 {
        server.send("PUT", &format!("/v1/kv/big/{number}"), &[], &value).await;
    }
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let ask = format!("GET /v1/kv/big?recurse HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(ask.as_bytes()).await.expect("sends");
    until("it is gone", async || server.connections() == 0).await;
}

#[tokio::test]
async fn malformed_requests_get_400() {
    let server = Server::start().await;
    let host = format!("Host: {}\r\nConnection: close\r\n", server.address);
    for broken in [
        "GARBAGE\r\n\r\n".to_owned(),
        format!("GET /v1/kv/a HTTP/1.1\r\n{host}Broken Name: x\r\n\r\n"),
        format!("PUT /v1/kv/a HTTP/1.1\r\n{host}Content-Length: x\r\n\r\n"),
        "GET /v1/kv/a HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        format!("GET /v1/kv/a HTTP/1.1\r\n{host}{host}\r\n"),
        format!("GET /v1/kv/%ff HTTP/1.1\r\n{host}\r\n"),
        format!("GET /v1/kv/a?{} HTTP/1.1\r\n{host}\r\n", "x&".repeat(200)),
    ] {
        assert_eq!(server.raw(broken.as_bytes()).await.status, 400, "{broken}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(80_000));
    let status = server.raw(long.as_bytes()).await.status;
    assert!([414, 431].contains(&status), "{status}");
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn idle_connections_cost_no_service_and_have_a_limit() {
    let limits = Limits { max_connections: 500, ..Limits::default() };
    let server = Server::start_with(Config { limits, ..Config::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..499 {
        idle.push(TcpStream::connect(server.address).await.expect("connects"));
    }
    until("all are open", async || server.connections() == 499).await;
    assert_eq!(server.get("/livez").await.status, 200);
    until("that one is gone", async || server.connections() == 499).await;
    idle.push(TcpStream::connect(server.address).await.expect("connects"));
    until("the last place is taken", async || server.connections() == 500).await;
    let mut crowd = TcpStream::connect(server.address).await.expect("connects");
    assert!(closed(&mut crowd).await.is_empty(), "closed without an answer");
    drop(idle);
    until("there is room again", async || server.connections() == 0).await;
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_log_that_stopped_refuses_writes_and_keeps_reads() {
    let server = Server::start().await;
    server.put("/v1/kv/a", "b").await;
    server.store.close().await;
    let refused = server.put("/v1/kv/a", "c").await;
    assert_eq!(refused.status, 500);
    assert!(refused.body.starts_with("submit a command: the log has stopped: "), "{}", refused.body);
    assert_eq!(server.get("/v1/kv/a?raw").await.body, "b");
    assert_eq!(server.get("/v1/kv/a?consistent").await.status, 500);
    until("reads say that they may be old", async || {
        server.get("/v1/kv/a").await.field("x-consul-knownleader") == Some("false")
    })
    .await;
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with("[-] log: "), "{}", ready.body);
}

#[tokio::test]
async fn http2_is_spoken_by_prior_knowledge() {
    let server = Server::start().await;
    let stream = TcpStream::connect(server.address).await.expect("connects");
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("speaks");
    tokio::spawn(connection);
    let uri = format!("http://{}/v1/status/leader", server.address);
    let body = http_body_util::Empty::<bytes::Bytes>::new();
    let request = http::Request::get(&uri).body(body).expect("a request");
    let reply = client.send_request(request).await.expect("answers");
    assert_eq!(reply.status(), 200);
    let request = http::Request::get("http://evil.example/v1/status/leader")
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .expect("a request");
    assert_eq!(client.send_request(request).await.expect("answers").status(), 403);
}

#[tokio::test]
async fn the_unix_socket_is_for_programs_of_this_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("api.sock");
    let config = Config { socket: Some(path.clone()), ..Config::default() };
    let server = Server::start_with(config.clone()).await;
    let mut stream = tokio::net::UnixStream::connect(&path).await.expect("connects");
    let ask = "GET /v1/status/leader HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answers");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(portolan_api::reserve(&config).is_err(), "a socket that is answered on is not taken away");
    server.stop().await;
    let again = Server::start_with(config).await;
    assert!(tokio::net::UnixStream::connect(&path).await.is_ok(), "one that is not is replaced");
    again.stop().await;
}

#[tokio::test]
async fn every_endpoint_answers_an_empty_request_without_breaking() {
    let server = Server::start().await;
    for endpoint in portolan_api::endpoints() {
        let targets: Vec<String> = match endpoint.pattern.split_once('*') {
            Some((prefix, _)) => ["", "x", "%F0%9F%90%AC", "..%2f..%2fetc"]
                .iter()
                .map(|rest| format!("{prefix}{rest}"))
                .collect(),
            None => vec![endpoint.pattern.to_owned()],
        };
        for target in targets {
            let reply = server.send(endpoint.method, &target, &[], b"").await;
            // What Consul answers to an id of a prepared query that is none, where there is no authority, and of a node
            // that nobody knows.
            let of_consul =
                ["UUID must be 36 characters", "Connect must be enabled", "No node found with name"];
            let is_consuls = of_consul.iter().any(|words| reply.body.contains(words));
            // What is not here says so.
            let is_absent = reply.status == 501;
            let is_good = (200..500).contains(&reply.status) || is_consuls || is_absent;
            assert!(is_good, "{endpoint:?} {target}: {reply:?}");
            assert!(!reply.body.starts_with("no such endpoint"), "{endpoint:?}");
        }
    }
}
