//! Requests in a proxy's form (`GET http://web/ HTTP/1.1`), and everything over HTTP/2, CONNECT included.

use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use relay::Stream;
use relay::http::{Body, LocalExecutor, Outgoing};
use route::{Caller, Permit};

use super::accept::{Client, Scheme};
use super::connect::is_foreign;
use super::reach::{Refusal, reach};
use super::rewind::Rewind;
use super::target::{self, Target};
use super::{head, pump};

/// Streams of one HTTP/2 connection at a time.
const MOST_STREAMS: u32 = 256;
/// Flow-control windows; the protocol's 64 KiB throttle.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// Serves a client that began with a request in a proxy's form.
pub(super) async fn over_http1(client: Client, stream: Stream, first: Bytes) {
    let (drain, patience) = (client.face.drain.clone(), client.face.config.handshake_timeout);
    let client = Rc::new(client);
    let service = service_fn(|request| {
        let client = client.clone();
        async move { Ok::<_, Infallible>(answer(&client, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(head::LONGEST.max(8192))
        .serve_connection(TokioIo::new(Rewind { first, stream }), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = drain.started() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Serves a client that speaks HTTP/2.
pub(super) async fn over_http2(client: Client, stream: Stream, first: Bytes) {
    let drain = client.face.drain.clone();
    let client = Rc::new(client);
    let service = service_fn(|request| {
        let client = client.clone();
        async move { Ok::<_, Infallible>(answer(&client, request).await) }
    });
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(head::LONGEST as u32)
        .keep_alive_interval(std::time::Duration::from_secs(30))
        .serve_connection(TokioIo::new(Rewind { first, stream }), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = drain.started() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(client: &Rc<Client>, request: Request<Incoming>) -> Response<Body> {
    if is_foreign(client, request.headers()) {
        client.face.metrics.refused("origin");
        return text(StatusCode::FORBIDDEN, "pages of that origin may not ask here");
    }
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let asked = authority.and_then(|authority| target::read(authority, &client.face.config.domains));
    let Some(asked) = asked.filter(|_| request.uri().scheme_str().is_none_or(|scheme| scheme == "http"))
    else {
        client.face.metrics.refused("malformed");
        return text(StatusCode::BAD_REQUEST, "ask for http://SERVICE/ or CONNECT to a service");
    };
    let principal = match client.proxied(request.headers()).await {
        Ok(principal) => principal,
        Err(refusal) => return refused(client, &refusal),
    };
    let answered = match *request.method() == Method::CONNECT {
        true => tunnel(client, &principal, &asked, request).await,
        false => forward(client, &principal, &asked, request).await,
    };
    answered.unwrap_or_else(|refusal| refused(client, &client.asks(refusal, &principal)))
}

async fn tunnel(
    client: &Rc<Client>,
    principal: &route::Principal,
    asked: &Target,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let reached = reach(client, principal, Scheme::Http, asked).await?;
    client.face.metrics.opened("connect");
    let client = client.clone();
    tokio::task::spawn_local(async move {
        let busy = client.local.busy();
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => {
                let down = Stream::Other(Box::new(TokioIo::new(upgraded)));
                tokio::select! {
                    () = pump::run(&client, down, reached, Bytes::new()) => {}
                    () = client.face.cut.started() => {}
                }
            }
            Err(cause) => tracing::debug!(client = %client.peer, %cause, "a tunnel over HTTP/2 did not open"),
        }
        drop(busy);
    });
    Ok(Response::new(Body::empty()))
}

async fn forward(
    client: &Rc<Client>,
    principal: &route::Principal,
    asked: &Target,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let Target::Service(name) = asked else {
        // An address needs no proxy of ours for HTTP: who may reach it uses CONNECT.
        return Err(Refusal::Forbidden);
    };
    let caller = Caller::by(principal, Scheme::Http.word()).from_address(client.peer.ip().to_canonical());
    let permitted = client.local.with_routes(|routes| match routes.permit(caller, name) {
        // Whoever may not reach a name is not told whether there is one.
        Err(route::Denial::UnknownService { .. }) => match routes.permit_to(caller, name) {
            Ok(_) => Err(Refusal::Unknown),
            Err(_) => Err(Refusal::Forbidden),
        },
        Err(route::Denial::Forbidden { .. }) => Err(Refusal::Forbidden),
        Err(_) => Err(Refusal::Unreachable(std::io::ErrorKind::NotFound)),
        Ok(permitted) => Ok(permitted),
    });
    let (backend, permit) = permitted?;
    let timeout = client.face.config.idle();
    let outgoing = Outgoing { timeout, ..Outgoing::new(outgoing(request)) };
    let sent = tokio::select! {
        biased;
        () = forbidden(client, &permit) => return Err(Refusal::Forbidden),
        sent = relay::http::send(&client.local, &backend, &permit, outgoing) => sent,
    };
    match sent {
        Ok(answer) => {
            client.face.metrics.opened("http");
            let mut response = answer.response;
            strip(response.headers_mut());
            Ok(response)
        }
        Err(error) => {
            tracing::info!(client = %client.peer, %error, "a request through the gateway failed");
            Err(Refusal::Unreachable(std::io::ErrorKind::NotFound))
        }
    }
}

async fn forbidden(client: &Client, permit: &Permit) {
    client.local.forbidden(permit).await;
}

/// The request as a server gets it: its path, and its host as a field.
fn outgoing(request: Request<Incoming>) -> Request<Body> {
    let (parts, body) = request.into_parts();
    let uri = parts.uri.into_parts();
    let mut outgoing = Request::new(Body::incoming(body));
    *outgoing.method_mut() = parts.method;
    *outgoing.headers_mut() = parts.headers;
    strip(outgoing.headers_mut());
    if let Some(host) = uri.authority.and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        outgoing.headers_mut().insert(HOST, host);
    }
    *outgoing.uri_mut() = uri.path_and_query.map(Uri::from).unwrap_or_else(|| Uri::from_static("/"));
    outgoing
}

/// Takes off what concerns one connection (RFC 9110, section 7.6.1).
fn strip(headers: &mut HeaderMap) {
    const OWN: [&str; 7] = [
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "proxy-authenticate",
        "http2-settings",
        "transfer-encoding",
        "trailer",
    ];
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| name != http::header::CONTENT_LENGTH)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, UPGRADE, TE] {
        headers.remove(name);
    }
    for name in OWN {
        headers.remove(name);
    }
}

fn refused(client: &Client, refusal: &Refusal) -> Response<Body> {
    refusal.note(client);
    let mut response = text(refusal.status(), &refusal.to_string());
    if matches!(refusal, Refusal::Unproven) {
        let value = HeaderValue::from_static("Basic realm=\"portolan\"");
        response.headers_mut().insert(PROXY_AUTHENTICATE, value);
    }
    response
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
}
