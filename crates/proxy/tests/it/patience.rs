//! Slow and silent clients, limits, and leaving with HTTP open.

use std::time::Duration;

use portolan_proxy::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::echo::{echo, read_all, serve};
use crate::harness::{Harness, Instance, config, eventually};
use crate::http::{get, named_mirror};

fn hurried() -> Config {
    let mut config = config();
    config.http.head_timeout = Duration::from_millis(200);
    config.http.stall_timeout = Duration::from_millis(200);
    config.http.idle_timeout = Duration::from_millis(400);
    config
}

async fn end_of(stream: &mut TcpStream) -> String {
    let read = timeout(Duration::from_secs(10), read_all(stream)).await.expect("it is cut off");
    String::from_utf8(read.unwrap_or_default()).unwrap()
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off() {
    let harness = Harness::with(hurried()).await;
    let mut silent = TcpStream::connect(harness.http).await.unwrap();
    assert!(end_of(&mut silent).await.starts_with("HTTP/1.1 408 "));
    let trickling = TcpStream::connect(harness.http).await.unwrap();
    let (mut read, mut write) = trickling.into_split();
    let trickle = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nHost: web\r\n".iter().chain(std::iter::repeat(&b'X')) {
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = String::new();
    timeout(Duration::from_secs(10), read.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    trickle.abort();
    assert_eq!(harness.count("proxy_refused_requests_total{reason=\"SlowHead\"}"), 2);
    harness.stop().await;
}

#[tokio::test]
async fn a_body_that_stops_is_cut_off() {
    let server = named_mirror("").await;
    let harness = Harness::with(hurried()).await;
    harness.register("web", Instance::at(server.address));
    let mut client = TcpStream::connect(harness.http).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
    assert!(end_of(&mut client).await.starts_with("HTTP/1.1 408 "));
    harness.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        let part = vec![0; 100_000];
        while stream.write_all(&part).await.is_ok() {}
    })
    .await;
    let harness = Harness::with(hurried()).await;
    harness.register("web", Instance::at(server.address));
    let mut client = TcpStream::connect(harness.http).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await.unwrap();
    eventually("it is cut off", async || harness.count("proxy_slow_readers_total") == 1).await;
    eventually("nothing is left of it", async || harness.count("relay_open") == 0).await;
    harness.stop().await;
}

/// What is kept for it is all that may be kept: others are turned away for it, and so it goes.
#[tokio::test]
async fn a_client_that_does_not_read_goes_sooner_when_memory_is_short() {
    let server = serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        let part = vec![0; 100_000];
        while stream.write_all(&part).await.is_ok() {}
    })
    .await;
    for fast in [true, false] {
        let relay = relay::Config { threads: 2, max_buffered: 64 * 1024, ..relay::Config::default() };
        let mut config = config();
        config.http.fast = fast;
        // Looks come twice in the shortest of these times.
        config.http.head_timeout = Duration::from_secs(2);
        config.http.stall_timeout = Duration::from_secs(3600);
        let harness = Harness::on(relay, config).await;
        harness.register("web", Instance::at(server.address));
        let mut client = TcpStream::connect(harness.http).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await.unwrap();
        eventually("it is counted", async || harness.count("relay_buffered_bytes") == 64 * 1024).await;
        eventually("it is cut off", async || harness.count("proxy_slow_readers_total") == 1).await;
        eventually("nothing is left of it", async || harness.count("relay_buffered_bytes") == 0).await;
        harness.stop().await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_waiting_one_is_not() {
    let server = serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let _ = stream.read(&mut buffer).await;
    })
    .await;
    let harness = Harness::with(hurried()).await;
    harness.register("slow", Instance::at(server.address));
    let mut client = TcpStream::connect(harness.http).await.unwrap();
    assert_eq!(get(&mut client, "slow", "/").await, (200, "ok".into()), "an answer may take its time");
    assert!(end_of(&mut client).await.is_empty(), "then nothing is asked, and it ends");
    harness.stop().await;
}

#[tokio::test]
async fn an_answer_may_pause() {
    let server = serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let _ = stream.write_all(b"k").await;
        let _ = stream.read(&mut buffer).await;
    })
    .await;
    let harness = Harness::with(hurried()).await;
    harness.register("events", Instance::at(server.address));
    let mut client = TcpStream::connect(harness.http).await.unwrap();
    assert_eq!(get(&mut client, "events", "/").await, (200, "ok".into()));
    // It was not told to go away meanwhile.
    client.write_all(b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 404");
    harness.stop().await;
}

#[tokio::test]
async fn a_silent_endpoint_is_given_up() {
    let server = serve(|mut stream| async move {
        let _ = read_all(&mut stream).await;
    })
    .await;
    let mut config = config();
    config.http.response_timeout = Duration::from_millis(100);
    let harness = Harness::with(config).await;
    harness.register("web", Instance::at(server.address));
    let mut client = TcpStream::connect(harness.http).await.unwrap();
    let (status, body) = get(&mut client, "web", "/").await;
    assert_eq!(status, 504);
    assert!(body.contains(&server.address.to_string()), "{body}");
    harness.stop().await;
}

#[tokio::test]
async fn connections_are_limited() {
    let server = echo("hi").await;
    let mut config = config();
    config.max_connections = 3;
    let harness = Harness::with(config).await;
    harness.register("web", Instance::at(server.address));
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = TcpStream::connect(harness.named).await.unwrap();
        client.write_all(b"web\n").await.unwrap();
        assert_eq!(client.read_u16().await.unwrap(), u16::from_be_bytes(*b"hi"));
        held.push(client);
    }
    let mut fourth = TcpStream::connect(harness.http).await.unwrap();
    assert!(end_of(&mut fourth).await.is_empty());
    assert_eq!(harness.count("relay_refused_connections_total{limit=\"Total\"}"), 1);
    held.pop();
    eventually("there is room again", async || {
        let mut client = TcpStream::connect(harness.named).await.unwrap();
        client.write_all(b"web\n").await.is_ok() && client.read_u16().await.is_ok()
    })
    .await;
    harness.stop().await;
}

#[tokio::test]
async fn leaving_answers_what_was_asked_and_closes() {
    let server = serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        while let Ok(1..) = stream.read(&mut buffer).await {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut idle = TcpStream::connect(harness.http).await.unwrap();
    assert_eq!(get(&mut idle, "web", "/").await.0, 200);
    let mut busy = TcpStream::connect(harness.http).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await.unwrap();
    eventually("it is asked", async || server.connections.load(std::sync::atomic::Ordering::Relaxed) >= 1)
        .await;
    eventually("both are open", async || harness.count("relay_open") == 2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    harness.leave();
    let answer = end_of(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    assert!(end_of(&mut idle).await.is_empty());
    timeout(Duration::from_secs(4), harness.stop()).await.expect("nothing is waited for");
}

/// Speaks first, in two parts with a pause, then repeats what it hears; ends when it hears a close frame.
async fn chatter() -> crate::echo::Server {
    serve(|mut stream| async move {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let _ = stream.write_all(head).await;
        // The first half of a message of 200 bytes, and the rest when the client has said something.
        let message = [&[0x82, 126, 0, 200][..], &[b'm'; 200]].concat();
        let _ = stream.write_all(&message[..100]).await;
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(&message[100..]).await;
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            if buffer[0] == 0x88 {
                let code = [buffer[6] ^ buffer[2], buffer[7] ^ buffer[3]];
                assert_eq!((count, code), (8, [0x03, 0xe9]), "what the client answered");
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn leaving_says_farewell_to_websockets_between_two_frames() {
    let server = chatter().await;
    let harness = Harness::start().await;
    harness.register("chat", Instance::at(server.address));
    let mut client = TcpStream::connect(harness.http).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    let mut message = vec![0; 204];
    client.read_exact(&mut message[..100]).await.unwrap();
    harness.leave();
    let address = harness.http;
    eventually("nobody is let in", async || TcpStream::connect(address).await.is_err()).await;
    client.write_all(&[0x82, 0x80, 0, 0, 0, 0]).await.unwrap();
    timeout(Duration::from_secs(30), client.read_exact(&mut message[100..])).await.unwrap().unwrap();
    let mut farewell = [0; 4];
    timeout(Duration::from_secs(30), client.read_exact(&mut farewell)).await.unwrap().unwrap();
    assert_eq!(farewell, [0x88, 2, 0x03, 0xe9], "after the whole message");
    client.write_all(&[0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]).await.unwrap();
    assert!(end_of(&mut client).await.is_empty(), "then the server ends it");
    harness.stop().await;
}

#[tokio::test]
async fn requests_are_written_down() {
    let server = named_mirror("").await;
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let mut config = config();
    config.http.access_log = Some(path.clone());
    let harness = Harness::with(config.clone()).await;
    harness.register("web", Instance::at(server.address));
    let mut client = TcpStream::connect(harness.http).await.unwrap();
    let (_, body) = get(&mut client, "web", "/a?b=c").await;
    assert_eq!(get(&mut client, "nobody", "/").await.0, 404);
    let lines = |path: &std::path::Path| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    eventually("both are there", async || lines(&path).len() == 2).await;
    let first = &lines(&path)[0];
    assert_eq!(
        (&first["method"], &first["host"], &first["path"], &first["service"], &first["status"]),
        (&"GET".into(), &"web".into(), &"/a?b=c".into(), &"web".into(), &200.into())
    );
    assert_eq!((&first["bytes"], &first["whole"]), (&body.len().into(), &true.into()));
    assert_eq!(lines(&path)[1]["status"], 404);
    std::fs::rename(&path, &moved).unwrap();
    config.http.max_head_fields += 1;
    harness.config.publish(config);
    eventually("the file is made anew", async || {
        get(&mut client, "web", "/again").await;
        lines(&path).iter().any(|line| line["path"] == "/again")
    })
    .await;
    harness.stop().await;
}

#[tokio::test]
async fn leaving_cuts_off_what_does_not_end() {
    let server = echo("hi").await;
    let mut config = config();
    config.drain = Duration::from_millis(200);
    let harness = Harness::with(config).await;
    harness.register("web", Instance::at(server.address));
    let mut client = TcpStream::connect(harness.named).await.unwrap();
    client.write_all(b"web\n").await.unwrap();
    assert_eq!(client.read_u16().await.unwrap(), u16::from_be_bytes(*b"hi"));
    timeout(Duration::from_secs(10), harness.stop()).await.expect("the time to finish is bounded");
    let _ = end_of(&mut client).await;
}
