//! Requests that are wrong, or that two servers could read in two ways: refused, and never seen by the
//! service. The service here records what reaches it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::echo::{Server, serve};
use crate::harness::{Harness, Instance};

/// Records all bytes, and answers every head that ends with 200 and no body.
async fn recorder() -> (Server, Arc<Mutex<Vec<u8>>>) {
    let record = Arc::new(Mutex::new(Vec::new()));
    let shared = record.clone();
    let server = serve(move |mut stream| {
        let record = shared.clone();
        async move {
            let mut buffer = [0; 4096];
            let mut seen = Vec::new();
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                record.lock().unwrap().extend_from_slice(&buffer[..count]);
                seen.extend_from_slice(&buffer[..count]);
                let complete = seen.ends_with(b"\r\n\r\n") || seen.ends_with(b"body");
                if complete
                    && stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err()
                {
                    return;
                }
            }
        }
    })
    .await;
    (server, record)
}

/// Sends bytes and reads until the proxy closes.
async fn exchange(harness: &Harness, bytes: &[u8]) -> String {
    let mut client = TcpStream::connect(harness.http).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), client.read_to_end(&mut answer)).await;
    read.expect("the proxy closes").unwrap();
    String::from_utf8(answer).unwrap()
}

fn request(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: web\r\n{fields}\r\n").into_bytes()
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: web\r\n{fields}\r\n{body}").into_bytes()
}

/// Why, the bytes, the status, and a word of the reason.
type Case = (&'static str, Vec<u8>, u16, &'static str);

/// What is refused whole.
fn corpus() -> Vec<Case> {
    [framing(), fields(), request_lines(), limits_and_hosts()].concat()
}

/// Where a message ends, and whose it is.
fn framing() -> Vec<Case> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        // What hyper would let through.
        ("length and coding", post(&format!("Content-Length: 4\r\n{chunked}"), "0\r\n\r\n"), 400, "both"),
        ("coding and length", post(&format!("{chunked}Content-Length: 4\r\n"), "0\r\n\r\n"), 400, "both"),
        ("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501, "coding"),
        ("two hosts", request("Host: web\r\n"), 400, "more than one Host"),
        ("two different hosts", request("Host: other\r\n"), 400, "more than one Host"),
        ("no host", b"GET / HTTP/1.1\r\n\r\n".into(), 400, "missing"),
        (
            "absolute form, other host",
            b"GET http://other/ HTTP/1.1\r\nHost: web\r\n\r\n".into(),
            400,
            "another host",
        ),
        ("bare line feeds", b"GET / HTTP/1.1\nHost: web\n\n".into(), 400, "bare line feed"),
        ("one bare line feed", b"GET / HTTP/1.1\r\nHost: web\nX: y\r\n\r\n".into(), 400, "bare line feed"),
        ("bare end", b"GET / HTTP/1.1\r\nHost: web\r\n\n".into(), 400, "bare line feed"),
        // What hyper refuses too; the framer comes first and says why.
        ("two lengths", post("Content-Length: 4\r\nContent-Length: 5\r\n", "body"), 400, "Content-Length"),
        ("equal lengths", post("Content-Length: 4\r\nContent-Length: 4\r\n", "body"), 400, "Content-Length"),
        ("list of lengths", post("Content-Length: 4, 4\r\n", "body"), 400, "Content-Length"),
        ("signed length", post("Content-Length: +4\r\n", "body"), 400, "Content-Length"),
        ("negative length", post("Content-Length: -4\r\n", "body"), 400, "Content-Length"),
        ("hexadecimal length", post("Content-Length: 0x4\r\n", "body"), 400, "Content-Length"),
        ("empty length", post("Content-Length:\r\n", "body"), 400, "Content-Length"),
        ("length of blanks", post("Content-Length: 1 0\r\n", "body"), 400, "Content-Length"),
        ("huge length", post("Content-Length: 99999999999999999999\r\n", ""), 400, "Content-Length"),
        ("unknown coding", post("Transfer-Encoding: cow\r\n", ""), 501, "coding"),
        ("chunked, gzip", post("Transfer-Encoding: chunked, gzip\r\n", ""), 501, "coding"),
        ("identity", post("Transfer-Encoding: identity\r\n", ""), 501, "coding"),
        ("hidden coding", post("Transfer-Encoding: xchunked\r\n", ""), 501, "coding"),
        ("coding twice", post(&chunked.repeat(2), "0\r\n\r\n"), 400, "repeated"),
        ("coding with a tab inside", post("Transfer-Encoding: chun\tked\r\n", ""), 501, "coding"),
        (
            "coding in HTTP/1.0",
            b"POST / HTTP/1.0\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
            "HTTP/1.0",
        ),
    ]
}

/// Header fields that are none.
fn fields() -> Vec<Case> {
    vec![
        ("blank before the colon", post("Content-Length : 4\r\n", "body"), 400, "header name"),
        ("blank in a name", request("X Y: z\r\n"), 400, "header name"),
        ("no colon", request("nothing\r\n"), 400, "header name"),
        ("empty name", request(": x\r\n"), 400, "header name"),
        ("odd name", request("X(y): z\r\n"), 400, "header name"),
        ("folded field", request("X: y\r\n z\r\n"), 400, "folded"),
        ("folded first field", b"GET / HTTP/1.1\r\n Host: web\r\n\r\n".into(), 400, "folded"),
        ("NUL in a value", request("X: a\0b\r\n"), 400, "control"),
        ("bare CR in a value", request("X: a\rb\r\n"), 400, "control"),
        ("bare CR hides a field", request("X: a\rContent-Length: 4\r\n"), 400, "control"),
    ]
}

/// First lines that are none.
fn request_lines() -> Vec<Case> {
    vec![
        ("no version", b"GET /\r\nHost: web\r\n\r\n".into(), 400, "request line"),
        ("two blanks", b"GET  / HTTP/1.1\r\nHost: web\r\n\r\n".into(), 400, "request line"),
        ("tabs", b"GET\t/\tHTTP/1.1\r\nHost: web\r\n\r\n".into(), 400, "request line"),
        ("blank in the target", b"GET /a b HTTP/1.1\r\nHost: web\r\n\r\n".into(), 400, "request line"),
        ("no method", b" / HTTP/1.1\r\nHost: web\r\n\r\n".into(), 400, "request line"),
        ("bytes in the target", b"GET /\xff HTTP/1.1\r\nHost: web\r\n\r\n".into(), 400, "target"),
        ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: web\r\n\r\n".into(), 505, "spoken"),
        ("HTTP/2.0 in words", b"GET / HTTP/2.0\r\nHost: web\r\n\r\n".into(), 505, "spoken"),
        ("version in small letters", b"GET / http/1.1\r\nHost: web\r\n\r\n".into(), 400, "request line"),
        (
            "TLS where HTTP is spoken",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".into(),
            400,
            "request line",
        ),
        ("empty lines", b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: web\r\n\r\n".into(), 400, "empty line"),
    ]
}

/// Too much of something, or a host that is none.
fn limits_and_hosts() -> Vec<Case> {
    let large = format!("X: {}\r\n", "x".repeat(40_000));
    let many = "X: y\r\n".repeat(101);
    let long = format!("GET /{} HTTP/1.1\r\nHost: web\r\n\r\n", "x".repeat(20_000));
    vec![
        ("large field", request(&large), 431, "too long"),
        ("many fields", request(&many), 431, "too many"),
        ("long target", long.into_bytes(), 414, "too long"),
        ("no name in Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), 400, "host"),
        ("path in Host", b"GET / HTTP/1.1\r\nHost: web/x\r\n\r\n".into(), 400, "host"),
        ("user in Host", b"GET / HTTP/1.1\r\nHost: a@web\r\n\r\n".into(), 400, "host"),
        ("odd port", b"GET / HTTP/1.1\r\nHost: web:http\r\n\r\n".into(), 400, "host"),
        ("CONNECT", b"CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n".into(), 501, "CONNECT"),
        ("expectation", request("Expect: the-unexpected\r\n"), 417, "expectation"),
    ]
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused() {
    let (server, record) = recorder().await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    for (what, bytes, status, reason) in corpus() {
        let answer = exchange(&harness, &bytes).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        assert_eq!(answer.matches("\r\ndate: ").count(), 1, "{what}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{what}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains(reason), "{what}: {body}");
        let seen = String::from_utf8_lossy(&record.lock().unwrap()).into_owned();
        assert!(seen.is_empty(), "{what} reached the service: {seen}");
    }
    let refused = harness.count("proxy_refused_requests_total{reason=\"BareLineFeed\"}");
    assert_eq!(refused, 3, "each is counted");
    harness.stop().await;
}

/// Bodies that go wrong after the head has passed. The service may have seen the head; nothing of what comes
/// after the fault.
#[tokio::test]
async fn a_body_that_goes_wrong_is_refused() {
    let (server, record) = recorder().await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n";
    for chunk in [
        "fffffffffffffffff\r\n",
        "0x4\r\nbody\r\n0\r\n\r\n",
        "-4\r\nbody\r\n0\r\n\r\n",
        " 4\r\nbody\r\n0\r\n\r\n",
        "4 \r\nbody\r\n0\r\n\r\n",
        "\r\n",
        ";x\r\n",
        "4\nbody\r\n0\r\n\r\n",
        "4\r\nbody\n0\r\n\r\n",
        "4\r\nbodyX\r\n0\r\n\r\n",
        "4;a\0\r\nbody\r\n0\r\n\r\n",
        "4;\ra\r\nbody\r\n0\r\n\r\n",
        "4\r\nbody\r\n0\r\nContent-Length: 5\r\n\r\n",
        "4\r\nbody\r\n0\r\nHost: other\r\n\r\n",
        "4\r\nbody\r\n0\r\nX : y\r\n\r\n",
        "4\r\nbody\r\n0\r\n\n",
    ] {
        let bytes = post("Transfer-Encoding: chunked\r\n", &format!("{chunk}{smuggled}"));
        let answer = exchange(&harness, &bytes).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunk:?}: {answer}");
        assert_eq!(answer.matches("\r\ndate: ").count(), 1, "{chunk:?}: {answer}");
        let seen = String::from_utf8_lossy(&record.lock().unwrap()).into_owned();
        assert!(!seen.contains("smuggled"), "{chunk:?}: {seen}");
    }
    harness.stop().await;
}

/// A refused request in a pipeline: those before it are answered, then it is, and nothing after it is read.
#[tokio::test]
async fn a_refusal_takes_its_turn() {
    let (server, record) = recorder().await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut pipeline = request("X: first\r\n");
    pipeline.extend(post("Content-Length: 4\r\n", "body"));
    pipeline.extend(request("Host: other\r\n"));
    pipeline.extend(request("X: last\r\n"));
    let answer = exchange(&harness, &pipeline).await;
    let statuses: Vec<&str> =
        answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "400"], "{answer}");
    let seen = String::from_utf8_lossy(&record.lock().unwrap()).into_owned();
    assert!(seen.contains("x: first") && seen.contains("body") && !seen.contains("last"), "{seen}");
    harness.stop().await;
}

/// Fine requests that a strict reader might trip over.
#[tokio::test]
async fn what_is_right_passes() {
    let (server, record) = recorder().await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let close = "Connection: close\r\n";
    let target = "http://web/x";
    for bytes in [
        request(close),
        b"GET / HTTP/1.0\r\nHost: web\r\n\r\n".to_vec(),
        format!("\r\nGET / HTTP/1.1\r\nHost: web\r\n{close}\r\n").into_bytes(),
        format!("GET {target} HTTP/1.1\r\nHost: web\r\n{close}\r\n").into_bytes(),
        format!("GET {target} HTTP/1.1\r\nHost: web:80\r\n{close}\r\n").into_bytes(),
        format!("GET /?u={target} HTTP/1.1\r\nHost: web\r\n{close}\r\n").into_bytes(),
        format!("OPTIONS * HTTP/1.1\r\nHost: web\r\n{close}\r\n").into_bytes(),
        request(&format!("X:no-blank\r\nY:\r\nZ: \t tabs\t\r\n{close}")),
        request(&format!("Caf: caf\u{e9}\r\n{close}")),
        post(&format!("Content-Length: 0004\r\n{close}"), "body"),
        post(
            &format!("Transfer-Encoding: Chunked\r\n{close}"),
            "4;a=\"b\"\r\nbody\r\n0\r\nX-Trailer: y\r\n\r\n",
        ),
    ] {
        let answer = exchange(&harness, &bytes).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.0 200 "),
            "{}: {answer}",
            bytes.escape_ascii()
        );
    }
    assert!(!record.lock().unwrap().is_empty());
    harness.stop().await;
}

/// However a request is cut into packets, it is read alike.
#[tokio::test]
async fn packets_do_not_matter() {
    let (server, record) = recorder().await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let bytes =
        post("Transfer-Encoding: chunked\r\nConnection: close\r\n", "3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n");
    for step in [1, 2, 3, 7] {
        record.lock().unwrap().clear();
        let mut client = TcpStream::connect(harness.http).await.unwrap();
        client.set_nodelay(true).unwrap();
        for part in bytes.chunks(step) {
            client.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{step}: {answer}");
    }
    harness.stop().await;
}
