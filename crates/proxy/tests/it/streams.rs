//! Streams of one HTTP/2 connection: what clients give up, and what they do not take.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::echo::{Server, read_all, serve};
use crate::harness::{Harness, Instance, config, eventually};

pub(crate) async fn client(harness: &Harness, window: u32) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(harness.http).await.unwrap();
    let mut builder = Builder::new(TokioExecutor::new());
    let builder = builder.initial_stream_window_size(window).initial_connection_window_size(1 << 20);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn ask() -> Request<Empty<Bytes>> {
    Request::get("http://web/").body(Empty::new()).unwrap()
}

async fn silent() -> Server {
    serve(|mut stream| async move {
        let _ = read_all(&mut stream).await;
    })
    .await
}

async fn large() -> Server {
    serve(|mut stream| async move {
        let mut buffer = [0; 4096];
        while let Ok(1..) = stream.read(&mut buffer).await {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
            if stream.write_all(head.as_bytes()).await.is_err()
                || stream.write_all(&vec![b'x'; 1_000_000]).await.is_err()
            {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn who_gives_up_too_much_is_closed() {
    let server = silent().await;
    let mut config = config();
    config.http.max_resets = 50;
    let harness = Harness::with(config).await;
    harness.register("web", Instance::at(server.address));
    let mut calm = client(&harness, 1 << 20).await;
    for _ in 0..10 {
        let given_up = tokio::time::timeout(Duration::from_millis(50), calm.send_request(ask())).await;
        assert!(given_up.is_err());
    }
    let mut hasty = client(&harness, 1 << 20).await;
    eventually("it is closed", async || {
        for _ in 0..20 {
            let given_up = tokio::time::timeout(Duration::from_millis(2), hasty.send_request(ask())).await;
            drop(given_up);
        }
        hasty.is_closed()
    })
    .await;
    assert_eq!(harness.count("proxy_hasty_clients_total"), 1);
    assert!(!calm.is_closed(), "whoever gives up now and then goes on");
    harness.stop().await;
}

#[tokio::test]
async fn who_does_not_take_an_answer_is_closed() {
    let server = large().await;
    let mut config = config();
    config.http.stall_timeout = Duration::from_millis(400);
    let harness = Harness::with(config).await;
    harness.register("web", Instance::at(server.address));
    let mut greedy = client(&harness, 1 << 20).await;
    let mut shut = client(&harness, 1).await;
    let kept = shut.send_request(ask()).await.unwrap();
    eventually("it is closed", async || shut.is_closed()).await;
    drop(kept);
    assert_eq!(harness.count("proxy_slow_readers_total"), 1);
    let whole = greedy.send_request(ask()).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(whole.to_bytes().len(), 1_000_000);
    eventually("nothing is kept any more", async || harness.count("relay_buffered_bytes") == 0).await;
    harness.stop().await;
}
