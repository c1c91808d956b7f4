//! A gRPC health server that knows `web` (serving) and `db` (not serving), written on hyper alone.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::stream::Iter;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Starts it, with TLS or without.
pub(crate) async fn serve(tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let server = http2::Builder::new(TokioExecutor::new());
                match tls {
                    None => drop(server.serve_connection(TokioIo::new(stream), service_fn(check)).await),
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        drop(server.serve_connection(TokioIo::new(stream), service_fn(check)).await);
                    }
                }
            });
        }
    });
    address
}

type Frames = Vec<Result<Frame<Bytes>, Infallible>>;
type Body = StreamBody<Iter<<Frames as IntoIterator>::IntoIter>>;

async fn check(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    let body = request.into_body().collect().await?.to_bytes();
    let name = body.get(7..).unwrap_or_default();
    let (message, code): (&[u8], &str) = match name {
        b"" | b"web" => (&[0, 0, 0, 0, 2, 8, 1], "0"),
        b"db" => (&[0, 0, 0, 0, 2, 8, 2], "0"),
        _ => (&[], "5"),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    let frames: Frames =
        vec![Ok(Frame::data(Bytes::copy_from_slice(message))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}
