//! HTTP/2 and gRPC.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Full, StreamBody};
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
