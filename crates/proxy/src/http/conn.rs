//! One client connection that speaks HTTP.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use relay::Stream;
use relay::http::Body;
use relay::pump::{self, Prefix};
use route::Principal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fast::{self, End, rounds};
use super::forward::{Client, Speaks, respond};
use super::framer::{Framer, HeadLimits};
use super::guard::{Guard, State};
use super::refusal::Refusal;
use super::two::{self, SEND_BUFFER};
use super::watch::{Step, Watch, time_limits};
use crate::config::Http;
use crate::public::Door;
use crate::serve::{Context, Live};
use crate::tls::sites::Site;

/// After a refusal: how much of what the client still sends is read, so that it can read the answer.
const LINGER_BYTES: usize = 256 * 1024;
/// Longest farewell to a client that takes nothing.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// Where a connection comes from.
pub(crate) struct Arrival {
    pub(crate) peer: SocketAddr,
    pub(crate) principal: Principal,
    /// The site that it was secured for; absent without TLS.
    pub(crate) site: Option<Arc<Site>>,
    /// By which kind of listener.
    pub(crate) door: Door,
}

/// Serves one connection to its end.
pub(crate) async fn serve(context: Context, stream: Stream, arrival: Arrival) {
    let Arrival { peer, principal, site, door } = arrival;
    let live = context.face.live.load_full();
    let config = &live.config.http;
    let state = Rc::new(State::default());
    let client = Rc::new(Client {
        peer: peer.ip(),
        peer_value: address_value(peer),
        principal,
        site,
        door,
        state: state.clone(),
        upgrade: RefCell::default(),
        denied: RefCell::default(),
        context,
    });
    let limits = HeadLimits { bytes: config.max_head_bytes, fields: config.max_head_fields };
    let mut stream = stream;
    let first = match plainly(&client, &mut stream, limits, &live).await {
        (End::Unusual, first) => first,
        (End::Closed, _) => return close(stream, false).await,
        (End::Cut, _) => return,
    };
    let context = &client.context;
    let mut guard = Guard::new(&context.local, stream, Framer::new(limits), state.clone(), first);
    let head = config.head_timeout;
    let http2 = match tokio::time::timeout(head, guard.opens_http2()).await {
        Ok(Ok(http2)) => http2,
        Ok(Err(_)) => return,
        Err(_) => {
            state.refuse_head(Refusal::SlowHead);
            false
        }
    };
    match http2 {
        true => two::serve(client, guard, config).await,
        false => over_http1(client, guard, config).await,
    }
}

/// Serves plain requests until one comes that is not; how it ended, and what was read of that one.
async fn plainly(
    client: &Rc<Client>,
    stream: &mut Stream,
    limits: HeadLimits,
    live: &Live,
) -> (End, Vec<u8>) {
    let config = &live.config.http;
    // What a trusted peer says is extended and not replaced: hyper's way knows how.
    if !config.fast || client.door == Door::Plain || config.trusted.contains(&client.peer) {
        return (End::Unusual, Vec::new());
    }
    client.state.set_in_head(true);
    let patience = time_limits(config);
    let visited = rounds::visit(&client.context, &client.state, patience, live.response_timeout());
    fast::serve(client, stream, visited, limits).await
}

fn address_value(peer: SocketAddr) -> HeaderValue {
    let address = peer.ip().to_canonical().to_string();
    HeaderValue::from_str(&address).unwrap_or(HeaderValue::from_static("unknown"))
}

async fn over_http1(client: Rc<Client>, guard: Guard, config: &Http) {
    // Boxed: to get the socket back for an upgrade, hyper wants to move the future.
    let service = service_fn(|request: Request<Incoming>| {
        let client = client.clone();
        Box::pin(
            async move { Ok::<_, Infallible>(respond(&client, request.map(Body::incoming), None).await) },
        )
    });
    let mut connection = http1::Builder::new()
        .max_header_size(config.max_head_bytes + 1)
        .max_buf_size(config.max_head_bytes + SEND_BUFFER)
        .max_headers(config.max_head_fields)
        .serve_connection(guard, service);
    let ended = {
        let mut connection = Pin::new(&mut connection);
        let mut watch = Watch::new(&client, config);
        loop {
            let step = tokio::select! {
                biased;
                ended = poll_fn(|cx| connection.as_mut().poll_without_shutdown(cx)) => break ended,
                step = watch.next() => step,
            };
            match step {
                Step::Look => {}
                Step::GoAway => connection.as_mut().graceful_shutdown(),
                Step::Close | Step::Calm => return,
            }
        }
    };
    let parts = connection.into_parts();
    let (stream, unread) = parts.io.into_parts();
    if ended.is_err() && !client.state.is_refused() {
        return;
    }
    match client.upgrade.take() {
        // Bytes behind the request were taken for another one, and are lost: there is nothing to relay.
        Some(_) if client.state.is_refused() => close(stream, true).await,
        Some((upgraded, permit, speaks)) => {
            client.context.face.metrics.upgrades.inc();
            let upstream = [&parts.read_buf[..], &unread].concat();
            let prefix = Prefix { upstream: upstream.into(), downstream: upgraded.early };
            tunnel(&client, permit, (stream, upgraded.stream), prefix, speaks).await;
            drop(upgraded.flight);
        }
        None => close(stream, client.state.is_refused()).await,
    }
}

/// Relays a connection that left HTTP behind.
pub(super) async fn tunnel(
    client: &Rc<Client>,
    permit: route::Permit,
    (down, up): (Stream, Stream),
    prefix: Prefix,
    speaks: Speaks,
) {
    let Context { face, local, .. } = &client.context;
    let idle = face.live.load().tcp_idle();
    let relayed = async {
        match speaks {
            Speaks::WebSocket => {
                pump::run_websocket(local, permit, down, up, prefix, idle, face.drain.clone()).await
            }
            Speaks::Whatever => pump::run(local, permit, down, up, prefix, idle).await,
        }
    };
    tokio::select! {
        outcome = relayed => face.note(&outcome),
        () = face.deadline() => {}
    }
}

/// Closes in good order. A client that was refused in the middle of sending would be answered with a reset
/// that takes the answer from it: so what it sends is read for a moment.
async fn close(mut stream: Stream, refused: bool) {
    // Under TLS even that waits for a client who takes nothing.
    let shut = tokio::time::timeout(LINGER, stream.shutdown()).await;
    if !refused || !matches!(shut, Ok(Ok(()))) {
        return;
    }
    let drain = async {
        let mut buffer = vec![0; 4096];
        let mut left = LINGER_BYTES;
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
    };
    // Over when the client closes, or sends more, or takes longer, than the answer is worth.
    let _ = tokio::time::timeout(LINGER, drain).await;
}
