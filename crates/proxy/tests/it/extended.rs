//! WebSockets over HTTP/2 (RFC 8441), toward servers that speak HTTP/1.1.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use relay::http::websocket::accept_key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::echo::{Server, serve};
use crate::harness::{Harness, Instance, eventually};

/// Reads a request; its lines in lower case, and the key that it brings as it stands.
async fn head(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap_or_default();
    (head.to_ascii_lowercase(), key.to_owned())
}

/// Opens WebSockets and repeats what it hears, after a greeting in the packet of its answer. `proof` turns the right proof
/// into what is sent.
async fn mirror(proof: fn(String) -> String) -> Server {
    serve(move |mut stream| async move {
        let (head, key) = head(&mut stream).await;
        assert!(
            head.starts_with("get /chat?room=1 http/1.1\r\n") && head.contains("\r\nupgrade: websocket\r\n")
        );
        assert!(
            head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nhost: chat\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nsec-websocket-protocol: talk\r\n"), "{head}");
        let answer = format!(
            "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: talk\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\nhello",
            proof(accept_key(&key))
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..count]).await.unwrap();
        }
    })
    .await
}

/// Answers everything with a page.
async fn page() -> Server {
    serve(|mut stream| async move {
        let _ = head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await
}

async fn client(harness: &Harness) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(harness.http).await.unwrap();
    let (mut sender, connection) =
        Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // A request before: with its answer the server's settings have come, and with them the leave for what follows.
    let before = Request::get("http://nobody/").body(Empty::new()).unwrap();
    assert_eq!(sender.send_request(before).await.unwrap().status(), 404);
    sender
}

async fn open(sender: &mut SendRequest<Empty<Bytes>>, protocol: &'static str) -> Response<Incoming> {
    let request = Request::builder().method(Method::CONNECT).uri("http://chat/chat?room=1");
    let request = request.header("sec-websocket-version", "13").header("sec-websocket-protocol", "talk");
    let request = request.extension(Protocol::from_static(protocol)).body(Empty::new()).unwrap();
    sender.send_request(request).await.unwrap()
}

#[tokio::test]
async fn several_share_a_connection_with_requests() {
    let server = mirror(|proof| proof).await;
    let harness = Harness::start().await;
    harness.register("chat", Instance::at(server.address));
    let mut sender = client(&harness).await;
    let mut open_ones = Vec::new();
    for _ in 0..3 {
        let response = open(&mut sender, "websocket").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["sec-websocket-protocol"], "talk");
        for name in ["upgrade", "connection", "sec-websocket-accept"] {
            assert!(!response.headers().contains_key(name), "{name}");
        }
        open_ones.push(TokioIo::new(hyper::upgrade::on(response).await.unwrap()));
    }
    for (number, stream) in open_ones.iter_mut().enumerate() {
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        let said = format!("this is number {number}");
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut heard = vec![0; said.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said.as_bytes());
    }
    assert_eq!(harness.count("proxy_upgrades_total"), 3);
    let between = Request::get("http://nobody/").body(Empty::new()).unwrap();
    assert_eq!(sender.send_request(between).await.unwrap().status(), 404);
    assert!(harness.count("relay_open") > 0);
    drop(open_ones);
    drop(sender);
    eventually("nothing is held", async || harness.count("relay_open") == 0).await;
    harness.stop().await;
}

#[tokio::test]
async fn a_server_that_opens_none_is_not_taken_for_one() {
    let harness = Harness::start().await;
    let liar = mirror(|_| "bGlhcg==".to_owned()).await;
    harness.register("chat", Instance::at(liar.address));
    let mut sender = client(&harness).await;
    assert_eq!(open(&mut sender, "websocket").await.status(), 502);
    let page = page().await;
    harness.register("chat", Instance::at(page.address));
    eventually("the page is asked", async || {
        let status = open(&mut sender, "websocket").await.status();
        assert_eq!(status, 502, "its 200 would be a WebSocket to the client");
        page.connections.load(std::sync::atomic::Ordering::Relaxed) > 0
    })
    .await;
    assert_eq!(open(&mut sender, "connect-udp").await.status(), 501);
    harness.stop().await;
}
