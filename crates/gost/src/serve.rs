//! The doors: `/sd` and `/ingress` behind the API's port, and a port of its own for HTTP and gRPC.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::registry::Registry;
use state::Drain;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::config::Config;
use crate::discovery::Discovery;
use crate::metrics::{Metrics, verb};
use crate::reply::{Reply, Token};
use crate::tls::{TlsError, acceptor};
use crate::{grpc, http as plain};

/// Most connections to the port of its own.
const MAX_CONNECTIONS: usize = 10_000;
/// A client that sends no head for this long is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Door {
    /// The token's file cannot be read.
    #[error("read the GOST token from {path}")]
    Token {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// An empty token would let everybody in.
    #[error("read the GOST token from {path}: it is empty, and an empty token would let everybody in")]
    EmptyToken {
        /// Which file.
        path: PathBuf,
    },
    /// Beyond loopback without a token.
    #[error(
        "listen for GOST on {listen}: that is beyond loopback and no token is set; set gost.token_file, or \
         gost.allow_anyone = true to let everybody in"
    )]
    Open {
        /// Where.
        listen: SocketAddr,
    },
    /// TLS cannot be spoken.
    #[error("listen for GOST with TLS")]
    Tls(#[from] TlsError),
}

/// Answers requests of both spellings. Clones share it.
#[derive(Clone)]
pub struct Handler {
    discovery: Arc<Discovery>,
    token: Option<Token>,
    metrics: Metrics,
    tls: Option<TlsAcceptor>,
}

impl Handler {
    /// Reads the token and the certificate, and refuses a door that is open to everybody by mistake.
    ///
    /// # Errors
    /// [`Door`].
    pub fn new(config: &Config, discovery: Discovery, registry: &mut Registry) -> Result<Handler, Door> {
        let token = config.token_file.as_ref().map(read_token).transpose()?;
        if let Some(listen) = config.listen
            && !listen.ip().is_loopback()
            && token.is_none()
            && !config.allow_anyone
        {
            return Err(Door::Open { listen });
        }
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let metrics = Metrics::register(registry);
        Ok(Handler { discovery: Arc::new(discovery), token, metrics, tls })
    }

    /// True when every caller has to show the configured token.
    pub fn asks_for_a_token(&self) -> bool {
        self.token.is_some()
    }

    /// True when a path on a shared port is for this handler.
    pub fn serves(path: &str) -> bool {
        plain::resource(path).is_some()
    }

    /// Answers one request from `caller`.
    pub async fn handle<B>(&self, request: Request<B>, caller: IpAddr) -> Response<BoxBody<Bytes, Infallible>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let verb = verb(request.method().as_str(), request.uri().path());
        if grpc::is_grpc(&request) {
            let response = grpc::handle(&self.discovery, self.token.as_ref(), request, caller).await;
            self.metrics.count("grpc", verb, !response.headers().contains_key("grpc-status"));
            return response;
        }
        let response = plain::handle(&self.discovery, self.token.as_ref(), request, caller).await;
        self.metrics.count("http", verb, response.status().is_success());
        response
    }
}

fn read_token(path: &PathBuf) -> Result<Token, Door> {
    let text = std::fs::read_to_string(path).map_err(|cause| Door::Token { path: path.clone(), cause })?;
    match text.trim() {
        "" => Err(Door::EmptyToken { path: path.clone() }),
        text => Ok(Token::new(text)),
    }
}

/// Serves the port of its own until it is time to leave; requests under way are finished.
pub async fn run(listener: TcpListener, handler: Handler, drain: Drain) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.started() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (handler, drain) = (handler.clone(), drain.clone());
                tokio::spawn(async move {
                    connection(stream, peer, handler, drain).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: wait for some to be closed rather than spin.
                tracing::warn!(%error, "accept a GOST connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, handler: Handler, drain: Drain) {
    // A small answer must not wait for an acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let result = match handler.tls.clone() {
        None => serve(stream, peer.ip(), handler, drain).await,
        Some(tls) => match tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, peer.ip(), handler, drain).await,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err("no TLS handshake in time".into()),
        },
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a GOST connection ended");
    }
}

async fn serve<S>(
    stream: S,
    caller: IpAddr,
    handler: Handler,
    drain: Drain,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move { Ok::<Response<Reply>, Infallible>(handler.handle(request, caller).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(64);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256).max_header_list_size(16 * 1024);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        () = drain.started() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}
