//! What may be special about a route.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use portolan_proxy::{Config, HttpRoute};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::echo::{Server, read_all, serve};
use crate::harness::{Harness, Instance, config};
use crate::http::{get, named_mirror};

fn routed(routes: &[&str]) -> Config {
    let mut config = config();
    let read = |text: &&str| serde_json::from_str::<HttpRoute>(text).unwrap();
    config.http.routes = routes.iter().map(read).collect();
    config
}

/// Asks once, on a connection of its own; everything that is answered.
async fn ask(harness: &Harness, request: &str) -> String {
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    let (line, fields) = request.split_once('\n').unwrap_or((request, ""));
    let fields = fields.replace('\n', "\r\n");
    let whole = format!("{line} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(whole.as_bytes()).await.unwrap();
    let answer = timeout(Duration::from_secs(30), read_all(&mut stream)).await.expect("an answer");
    String::from_utf8(answer.unwrap()).unwrap().to_ascii_lowercase()
}

/// Answers every request with this, after so long.
async fn says(answer: &'static str, after: Duration) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let server = serve(move |mut stream| {
        let counter = counter.clone();
        async move {
            let mut buffer = [0; 4096];
            while let Ok(1..) = stream.read(&mut buffer).await {
                counter.fetch_add(1, Relaxed);
                tokio::time::sleep(after).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    })
    .await;
    (server, asked)
}

#[tokio::test]
async fn fields_are_set_added_and_removed() {
    let server = named_mirror("").await;
    let harness = Harness::with(routed(&[r#"{"path": "/", "service": "web",
        "request_headers": {"set": {"X-Team": "blue", "host": "inner"}, "add": {"X-More": "2"}, "remove": ["Cookie"]},
        "response_headers": {"set": {"Strict-Transport-Security": "max-age=1"}, "remove": ["content-type"]}}"#]))
    .await;
    harness.register("web", Instance::at(server.address));
    let answer = ask(&harness, "GET /a\nCookie: a=b\nX-Team: red\nX-More: 1\n").await;
    assert!(answer.starts_with("http/1.1 200 ok\r\n"), "{answer}");
    let (head, seen) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("strict-transport-security: max-age=1"), "{answer}");
    assert!(
        seen.contains("x-team: blue\r\n") && !seen.contains("red") && !seen.contains("cookie"),
        "{answer}"
    );
    assert!(seen.contains("x-more: 1\r\n") && seen.contains("x-more: 2\r\n"), "{answer}");
    assert!(
        seen.contains("host: inner\r\n") && seen.contains("x-forwarded-host: shop.example\r\n"),
        "{answer}"
    );
    harness.stop().await;
}

#[tokio::test]
async fn paths_are_rewritten_and_clients_sent_elsewhere() {
    let server = named_mirror("").await;
    let harness = Harness::with(routed(&[
        r#"{"path": "/api", "service": "web", "rewrite": "/v2/x"}"#,
        r#"{"path": "/old", "redirect": "https://{host}/new{path}", "redirect_status": 301}"#,
        r#"{"host": "moved.example", "redirect": "https://other.example{path}"}"#,
    ]))
    .await;
    harness.register("web", Instance::at(server.address));
    for (asked, seen) in
        [("/api/a?b", "/v2/x/a?b"), ("/api", "/v2/x"), ("/api/", "/v2/x/"), ("/api?q", "/v2/x?q")]
    {
        let answer = ask(&harness, &format!("GET {asked}")).await;
        assert!(answer.contains(&format!("get {seen} http/1.1\r\n")), "{asked}: {answer}");
    }
    let answer = ask(&harness, "GET /old/a?b=c").await;
    assert!(answer.starts_with("http/1.1 301 "), "{answer}");
    assert!(answer.contains("location: https://shop.example/new/old/a?b=c\r\n"), "{answer}");
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    let request = "GET //evil.example/%2e%2e HTTP/1.1\r\nHost: moved.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = String::from_utf8(read_all(&mut stream).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(answer.contains("location: https://other.example/\r\n"), "{answer}");
    harness.stop().await;
}

#[tokio::test]
async fn too_many_requests_wait_their_turn() {
    let server = named_mirror("").await;
    let harness = Harness::with(routed(&[
        r#"{"path": "/", "service": "web", "rate": {"requests": 3, "per": "1h", "by": "header:X-Key"}}"#,
    ]))
    .await;
    harness.register("web", Instance::at(server.address));
    for key in ["one", "two"] {
        for number in 0..5 {
            let answer = ask(&harness, &format!("GET /\nX-Key: {key}\n")).await;
            let status = if number < 3 { "http/1.1 200 " } else { "http/1.1 429 " };
            assert!(answer.starts_with(status), "{key} {number}: {answer}");
            assert_eq!(answer.contains("retry-after: 1200\r\n"), number >= 3, "{answer}");
        }
    }
    assert_eq!(harness.count("proxy_failures_total{reason=\"Limited\"}"), 4);
    harness.stop().await;
}

#[tokio::test]
async fn alike_requests_go_to_the_same_instance() {
    let names = ["a", "b", "c", "d"];
    let mut servers = Vec::new();
    let harness =
        Harness::with(routed(&[r#"{"path": "/", "service": "web", "affinity": "cookie:session"}"#])).await;
    for name in names {
        let server = named_mirror(name).await;
        harness.register("web", Instance::at(server.address));
        servers.push(server);
    }
    let mut used = HashSet::new();
    for session in 0..12 {
        let mut of_session = HashSet::new();
        for _ in 0..5 {
            let answer = ask(&harness, &format!("GET /\nCookie: x=y; session={session}\n")).await;
            let name = answer.split_once("\r\n\r\n").unwrap().1.chars().next().unwrap();
            of_session.insert(name);
            used.insert(name);
        }
        assert_eq!(of_session.len(), 1, "session {session}");
    }
    assert!(used.len() > 1, "not all of them at one");
    harness.stop().await;
}

#[tokio::test]
async fn each_stage_has_its_time() {
    let (slow, _) = says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Duration::from_secs(60)).await;
    let (pausing, _) = says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", Duration::ZERO).await;
    let harness = Harness::with(routed(&[
        r#"{"path": "/head", "service": "slow", "response_timeout": "100ms"}"#,
        r#"{"path": "/all", "service": "slow", "request_timeout": "100ms"}"#,
        r#"{"path": "/pause", "service": "pausing", "body_timeout": "100ms"}"#,
        r#"{"path": "/end", "service": "pausing", "request_timeout": "200ms"}"#,
    ]))
    .await;
    harness.register("slow", Instance::at(slow.address));
    harness.register("pausing", Instance::at(pausing.address));
    for path in ["/head", "/all"] {
        let answer = ask(&harness, &format!("GET {path}")).await;
        assert!(answer.starts_with("http/1.1 504 "), "{path}: {answer}");
    }
    for path in ["/pause", "/end"] {
        // Cut short, and so that nobody takes it for whole.
        let answer = ask(&harness, &format!("GET {path}")).await;
        assert!(
            answer.contains("content-length: 9\r\n") && answer.ends_with("\r\n\r\nok"),
            "{path}: {answer}"
        );
    }
    harness.stop().await;
}

#[tokio::test]
async fn an_answer_that_nobody_likes_is_asked_for_again_elsewhere() {
    let (busy, asked) = says("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", Duration::ZERO).await;
    let good = named_mirror("good ").await;
    let harness = Harness::with(routed(&[
        r#"{"path": "/again", "service": "web", "retry_statuses": [503]}"#,
        r#"{"path": "/once", "service": "web", "retry_statuses": [503], "attempts": 1}"#,
        r#"{"path": "/busy", "service": "busy", "retry_statuses": [503]}"#,
    ]))
    .await;
    harness.register("web", Instance::at(busy.address).weighing(1000));
    harness.register("web", Instance::at(good.address));
    harness.register("busy", Instance { id: "busy".into(), ..Instance::at(busy.address) });
    for _ in 0..5 {
        let answer = ask(&harness, "GET /again").await;
        assert!(answer.starts_with("http/1.1 200 ") && answer.contains("good get /again"), "{answer}");
    }
    assert!(asked.load(Relaxed) > 0, "it was asked first");
    let answer = ask(&harness, "GET /busy").await;
    assert!(answer.starts_with("http/1.1 503 ") && answer.ends_with("busy"), "better than none: {answer}");
    let before = asked.load(Relaxed);
    let answer = ask(&harness, "POST /busy\nContent-Length: 0\n").await;
    assert!(answer.starts_with("http/1.1 503 "), "{answer}");
    assert_eq!(asked.load(Relaxed), before + 1, "what adds up is asked once");
    harness.stop().await;
}

#[tokio::test]
async fn a_body_has_its_size() {
    let server = named_mirror("").await;
    let mut config = routed(&[r#"{"path": "/large", "service": "web", "max_body": "1KiB"}"#]);
    config.http.max_body = 16;
    let harness = Harness::with(config).await;
    harness.register("web", Instance::at(server.address));
    for (path, length, status) in
        [("/large", 1024, 200), ("/large", 1025, 413), ("/", 16, 200), ("/", 17, 413)]
    {
        let mut stream = TcpStream::connect(harness.http).await.unwrap();
        let body = "x".repeat(length);
        let request = format!("POST {path} HTTP/1.1\r\nHost: web\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        timeout(Duration::from_secs(30), stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer[9..]), status.to_string(), "{path} {length}");
    }
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    let chunk = "a\r\n0123456789\r\n";
    let request = format!("POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(Duration::from_secs(30), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413", "without a declared length it is counted");
    assert_eq!(harness.count("proxy_refused_requests_total{reason=\"BodyTooLong\"}"), 3);
    harness.stop().await;
}

#[tokio::test]
async fn one_that_answers_badly_is_left_alone() {
    let (bad, asked) = says("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", Duration::ZERO).await;
    let (good, other) = (named_mirror("g").await, named_mirror("o").await);
    let relay_config = relay::Config {
        balance: relay::Policy::RoundRobin,
        eject_for: Duration::from_secs(60),
        ..relay::Config::default()
    };
    let harness = Harness::on(relay_config, config()).await;
    for address in [bad.address, good.address, other.address] {
        harness.register("web", Instance::at(address));
    }
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    for _ in 0..60 {
        get(&mut stream, "web", "/").await;
    }
    assert_eq!(asked.load(Relaxed), 7, "a run of failures");
    assert_eq!(harness.count("relay_ejections_total"), 1);
    harness.stop().await;
}

#[tokio::test]
async fn failures_of_sent_requests_are_repeated_within_a_budget() {
    // Both hang up in the middle: each request may be asked of both, as long as the budget lasts.
    let asked = Arc::new(AtomicUsize::new(0));
    let hangs_up = || {
        let counter = asked.clone();
        serve(move |mut stream| {
            let counter = counter.clone();
            async move {
                let mut buffer = [0; 1024];
                if let Ok(1..) = stream.read(&mut buffer).await {
                    counter.fetch_add(1, Relaxed);
                }
            }
        })
    };
    let (first, second) = (hangs_up().await, hangs_up().await);
    let relay_config =
        relay::Config { threads: 1, retry_percent: 0, retry_reserve: 1, ..relay::Config::default() };
    let mut settings = config();
    settings.http.fast = false;
    let harness = Harness::on(relay_config, settings).await;
    harness.register("web", Instance::at(first.address));
    harness.register("web", Instance::at(second.address));
    let requests = 100;
    for _ in 0..requests {
        let mut stream = TcpStream::connect(harness.http).await.unwrap();
        assert_eq!(get(&mut stream, "web", "/").await.0, 502);
    }
    let repeated = asked.load(Relaxed) - requests;
    assert!((10..100).contains(&repeated), "{repeated} were repeated");
    assert!(harness.count("relay_retries_refused_total") > 0);
    harness.stop().await;
}

#[tokio::test]
async fn connecting_has_its_time_on_a_route() {
    // A queue that is full: the kernel answers no further SYN.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    let full = || {
        let wait = Duration::from_millis(300);
        match std::net::TcpStream::connect_timeout(&address, wait) {
            Ok(stream) => {
                held.push(stream);
                false
            }
            Err(_) => true,
        }
    };
    if !std::iter::repeat_with(full).take(5000).any(|full| full) {
        return println!("skipped: the queue of a listener never fills here");
    }
    let harness =
        Harness::with(routed(&[r#"{"path": "/", "service": "web", "connect_timeout": "200ms"}"#])).await;
    harness.register("web", Instance::at(address));
    let answer = ask(&harness, "GET /").await;
    assert!(answer.starts_with("http/1.1 504 ") && answer.contains("the route"), "{answer}");
    harness.stop().await;
}
