//! One connection: HTTP/1.1, or HTTP/2 by prior knowledge, told apart by the first bytes.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::Api;
use crate::http::Peer;
use crate::serve::dispatch::dispatch;
use crate::serve::patience::Patience;

/// What a client of HTTP/2 sends first (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest request head.
const MAX_HEAD: usize = 64 << 10;
/// Most header fields in HTTP/1.1.
const MAX_FIELDS: usize = 100;
/// Streams of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 1024;
/// An HTTP/2 peer that answers no ping for this long is gone.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// A connected socket of any kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Serves one connection to its end.
pub(crate) async fn serve(api: &Arc<Api>, mut stream: Box<dyn Stream>, peer: Peer) {
    let limits = &api.config.limits;
    let (mut first, mut length) = ([0; 24], 0);
    let known = tokio::time::timeout(limits.head_timeout, protocol(&mut stream, &mut first, &mut length));
    let known = tokio::select! {
        known = known => known,
        () = api.drain.started() => return,
    };
    let Ok(Ok(is_http2)) = known else { return };
    let stream = Patience::new(stream, first, length, limits.write_timeout);
    let ended = if is_http2 { http2(api, stream, peer).await } else { http1(api, stream, peer).await };
    if let Err(error) = ended {
        tracing::debug!(%error, ?peer, "an HTTP connection ended early");
    }
}

/// Reads until it is clear which protocol is spoken: true for HTTP/2.
async fn protocol(
    stream: &mut Box<dyn Stream>,
    first: &mut [u8; 24],
    length: &mut usize,
) -> io::Result<bool> {
    while *length < PREFACE.len() {
        match stream.read(&mut first[*length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => *length += more,
        }
        if first[..*length] != PREFACE[..*length] {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn http1(api: &Arc<Api>, stream: Patience, peer: Peer) -> hyper::Result<()> {
    let service = service_fn(|request| async { Ok::<_, Infallible>(dispatch(api, request, peer).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(api.config.limits.head_timeout)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = api.drain.started() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn http2(api: &Arc<Api>, stream: Patience, peer: Peer) -> hyper::Result<()> {
    let shared = api.clone();
    let service = service_fn(move |request| {
        let api = shared.clone();
        async move { Ok::<_, Infallible>(dispatch(&api, request, peer).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = api.drain.started() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}
