//! When a request is sent again, and when it is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::echo::{Server, nobody, serve};
use crate::harness::{Harness, Instance};
use crate::http::{get, named_mirror};

async fn post(stream: &mut TcpStream, body: &str) -> u16 {
    let request = format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let mut filled = 0;
    while !answer[..filled].windows(4).any(|end| end == b"\r\n\r\n") {
        filled += stream.read(&mut answer[filled..]).await.unwrap();
    }
    String::from_utf8_lossy(&answer[9..12]).parse().unwrap()
}

/// Reads a request and hangs up, every time; counts them.
async fn hangs_up() -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let server = serve(move |mut stream| {
        let counter = counter.clone();
        async move {
            let mut buffer = [0; 1024];
            if let Ok(1..) = stream.read(&mut buffer).await {
                counter.fetch_add(1, Relaxed);
            }
        }
    })
    .await;
    (server, asked)
}

#[tokio::test]
async fn a_body_goes_to_another_instance_when_nothing_was_sent() {
    let server = named_mirror("").await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    for _ in 0..3 {
        harness.register("web", Instance::at(nobody().await).weighing(10));
    }
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(post(&mut stream, "some data").await);
    }
    // Three attempts at most, so one request may meet three dead ones; what is dead is remembered.
    let refused = statuses.iter().filter(|status| **status != 200).count();
    assert!(refused <= 1, "{statuses:?}");
    harness.stop().await;
}

#[tokio::test]
async fn what_was_sent_is_not_sent_again_unless_it_may_be() {
    let (bad, asked) = hangs_up().await;
    let good = named_mirror("good ").await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(bad.address).weighing(1000));
    harness.register("web", Instance::at(good.address));
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    let (status, body) = get(&mut stream, "web", "/").await;
    assert!(status == 200 && body.starts_with("good "), "{body}");
    harness.stop().await;

    let before = asked.load(Relaxed);
    let harness = Harness::start().await;
    harness.register("web", Instance::at(bad.address));
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    assert_eq!(post(&mut stream, "some data").await, 502);
    assert_eq!(asked.load(Relaxed), before + 1, "sent once");
    harness.stop().await;
}

/// A server that closes each connection after one answer without saying so: the proxy keeps the connection,
/// finds it dead, and nobody notices.
#[tokio::test]
async fn a_kept_connection_that_died_is_not_noticed() {
    let server = serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    for _ in 0..200 {
        assert_eq!(get(&mut stream, "web", "/").await, (200, "ok".into()));
    }
    harness.stop().await;
}

/// A server whose worker dies of one request: it is sent once over a kept connection, where that might tell of the connection,
/// and after that as often as the budget and the attempts of a request allow, not over all connections that are kept.
#[tokio::test]
async fn a_request_that_kills_is_not_sent_over_every_kept_connection() {
    let fatal = Arc::new(AtomicUsize::new(0));
    let counter = fatal.clone();
    let server = serve(move |mut stream| {
        let counter = counter.clone();
        async move {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                if buffer[..length].starts_with(b"GET /fatal") {
                    counter.fetch_add(1, Relaxed);
                    return;
                }
                // Others arrive meanwhile, so that each has a connection of its own.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(TcpStream::connect(harness.http).await.unwrap());
    }
    let asked = streams.iter_mut().map(|stream| get(stream, "web", "/"));
    futures_util::future::join_all(asked).await;
    assert!(server.connections.load(Relaxed) >= 20, "kept: {}", server.connections.load(Relaxed));
    let (status, _) = get(&mut streams[0], "web", "/fatal").await;
    assert_eq!(status, 502);
    assert!(fatal.load(Relaxed) <= 6, "{} times", fatal.load(Relaxed));
    harness.stop().await;
}

#[tokio::test]
async fn connections_are_kept() {
    let server = named_mirror("").await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    for _ in 0..100 {
        assert_eq!(get(&mut stream, "web", "/").await.0, 200);
    }
    assert_eq!(server.connections.load(Relaxed), 1);
    harness.stop().await;
}
