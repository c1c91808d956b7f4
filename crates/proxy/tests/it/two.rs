//! HTTP/2 and gRPC.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::echo::{Server, serve};
use crate::harness::{Harness, Instance};

type Chunks = StreamBody<futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// An HTTP/2 server that sends back each frame as it comes, then trailers with what the request's head said.
async fn grpc_like() -> Server {
    serve(|stream| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            assert_eq!(request.version(), Version::HTTP_2);
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let te = request.headers().get("te").cloned();
            trailers.insert("x-te", te.unwrap_or(HeaderValue::from_static("none")));
            let frames = futures_util::stream::unfold(Some((request.into_body(), trailers)), |state| async {
                let (mut body, trailers) = state?;
                match body.frame().await {
                    Some(frame) => {
                        let data = frame.unwrap().into_data().unwrap_or_default();
                        Some((Ok(Frame::data(data)), Some((body, trailers))))
                    }
                    None => Some((Ok(Frame::trailers(trailers)), None)),
                }
            });
            let body: Chunks = StreamBody::new(Box::pin(frames));
            let mut response = Response::new(body);
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            Ok::<_, Infallible>(response)
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = connection.serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

type Outgoing = StreamBody<futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

async fn client(harness: &Harness) -> hyper::client::conn::http2::SendRequest<Outgoing> {
    let stream = TcpStream::connect(harness.http).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn streaming(path: &str) -> (mpsc::UnboundedSender<&'static str>, Request<Outgoing>) {
    let (say, said) = mpsc::unbounded_channel::<&'static str>();
    let frames = futures_util::stream::unfold(said, |mut said| async {
        let data = said.recv().await?;
        Some((Ok(Frame::data(Bytes::from_static(data.as_bytes()))), said))
    });
    let body: Outgoing = StreamBody::new(Box::pin(frames));
    let request = Request::post(format!("http://calls{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    (say, request.body(body).unwrap())
}

#[tokio::test]
async fn grpc_streams_both_ways_with_trailers() {
    let server = grpc_like().await;
    let harness = Harness::start().await;
    // Nothing says that it speaks HTTP/2, but a gRPC call can go nowhere else.
    harness.register("calls", Instance::at(server.address));
    let mut client = client(&harness).await;
    let (say, request) = streaming("/pkg.Service/Call");
    say.send("first").unwrap();
    let mut response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    // The second is sent only after the first came back: nothing is held back on the way.
    say.send("second").unwrap();
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "second");
    drop(say);
    let trailers = response.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-te"]),
        (&"0".parse().unwrap(), &"trailers".parse().unwrap())
    );
    harness.stop().await;
}

#[tokio::test]
async fn grpc_is_told_in_its_own_words() {
    let harness = Harness::start().await;
    let mut client = client(&harness).await;
    let (_say, request) = streaming("/pkg.Service/Call");
    let response = client.send_request(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["grpc-status"]),
        (200, &"12".parse().unwrap())
    );
    harness.stop().await;
}

#[tokio::test]
async fn http1_clients_reach_an_http2_service() {
    let server = serve(|stream| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            let text =
                format!("{:?} {} {:?}", request.version(), request.uri(), request.headers().get("host"));
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = connection.serve_connection(TokioIo::new(stream), service).await;
    })
    .await;
    let harness = Harness::start().await;
    harness.register("two", Instance::at(server.address).speaking("h2c"));
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    let (status, body) = crate::http::get(&mut stream, "two", "/a?b").await;
    assert_eq!((status, body.as_str()), (200, "HTTP/2.0 http://two/a?b None"));
    let connections = server.connections.load(std::sync::atomic::Ordering::Relaxed);
    for _ in 0..20 {
        crate::http::get(&mut stream, "two", "/").await;
    }
    assert_eq!(server.connections.load(std::sync::atomic::Ordering::Relaxed), connections, "one for all");
    harness.stop().await;
}

#[tokio::test]
async fn http2_clients_reach_an_http1_service_over_kept_connections() {
    let server = crate::http::named_mirror("").await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut client = crate::streams::client(&harness, 1 << 20).await;
    for number in 0..20 {
        let request =
            Request::get(format!("http://web/{number}?q")).header("cookie", "a=1").header("cookie", "b=2");
        let response = client.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        let seen = response.into_body().collect().await.unwrap().to_bytes();
        let seen = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        assert!(seen.contains(&format!("get /{number}?q http/1.1\r\n")), "{seen}");
        assert!(seen.contains("host: web\r\n") && seen.contains("via: 2 portolan-here\r\n"), "{seen}");
        assert!(seen.contains("cookie: a=1; b=2\r\n"), "one field, as HTTP/1.1 has it: {seen}");
    }
    assert_eq!(server.connections.load(std::sync::atomic::Ordering::Relaxed), 1, "one after the other");
    harness.stop().await;
}

/// Answers in chunks with a trailer, and says so again and again.
async fn in_chunks() -> Server {
    serve(|mut stream| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut buffer = [0; 4096];
        while let Ok(1..) = stream.read(&mut buffer).await {
            for part in [
                "HTTP/1.1 200 OK\r\nTransfer-Enc",
                "oding: chunked\r\n\r\n5\r\nhe",
                "llo\r\n0\r\nX-Sum: 7\r\n\r\n",
            ] {
                if stream.write_all(part.as_bytes()).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn chunks_become_frames_and_trailers_stay_trailers() {
    let server = in_chunks().await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut client = crate::streams::client(&harness, 1 << 20).await;
    for _ in 0..5 {
        let request = Request::get("http://web/").body(Empty::new()).unwrap();
        let whole = client.send_request(request).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["x-sum"], "7");
        assert_eq!(whole.to_bytes(), "hello");
    }
    assert_eq!(server.connections.load(std::sync::atomic::Ordering::Relaxed), 1);
    harness.stop().await;
}

/// An HTTP/2 server that sends everybody away after so many requests on a connection.
async fn restless(most: usize) -> Server {
    serve(move |stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut count = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            count += 1;
            let answer = Response::builder().header("content-length", 2).body(()).unwrap();
            if let Ok(mut body) = respond.send_response(answer, false) {
                let _ = body.send_data(Bytes::from_static(b"ok"), true);
            }
            if count == most {
                connection.graceful_shutdown();
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_service_that_sends_connections_away_answers_everybody() {
    let server = restless(3).await;
    let harness = Harness::start().await;
    harness.register("two", Instance::at(server.address).speaking("h2c"));
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    for _ in 0..50 {
        assert_eq!(crate::http::get(&mut stream, "two", "/").await, (200, "ok".into()));
    }
    assert!(server.connections.load(std::sync::atomic::Ordering::Relaxed) >= 16);
    harness.stop().await;
}
