//! One client connection that speaks HTTP.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use relay::Stream;
use relay::http::LocalExecutor;
use relay::pump::{self, Prefix};
use route::Principal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use super::fast::{self, End, rounds};
use super::forward::{Client, Speaks, respond};
use super::framer::{Framer, HeadLimits};
use super::guard::{Guard, State};
use super::patience::{self, Patience, Verdict};
use super::refusal::Refusal;
use crate::config::Http;
use crate::public::Door;
use crate::serve::{Context, Live};
use crate::tls::sites::Site;

/// Flow-control windows toward HTTP/2 clients; the protocol's 64 KiB throttle.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// What is kept of an answer for which the client has no room.
const SEND_BUFFER: usize = 64 * 1024;
/// How often an HTTP/2 client is asked whether it lives, and how long it may think.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);
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
        true => over_http2(client, guard, config).await,
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
    let visited = rounds::visit(&client.context.face, &client.state, patience, live.response_timeout());
    fast::serve(client, stream, visited, limits).await
}

fn time_limits(config: &Http) -> patience::Limits {
    patience::Limits {
        head: config.head_timeout,
        stall: config.stall_timeout,
        idle: config.idle_timeout,
        rate: config.min_rate,
    }
}

fn address_value(peer: SocketAddr) -> HeaderValue {
    let address = peer.ip().to_canonical().to_string();
    HeaderValue::from_str(&address).unwrap_or(HeaderValue::from_static("unknown"))
}

async fn over_http1(client: Rc<Client>, guard: Guard, config: &Http) {
    // Boxed: to get the socket back for an upgrade, hyper wants to move the future.
    let service = service_fn(|request| Box::pin(respond(client.clone(), request)));
    let mut connection = http1::Builder::new()
        .max_header_size(config.max_head_bytes + 1)
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
                Step::Close => return,
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

async fn over_http2(client: Rc<Client>, guard: Guard, config: &Http) {
    // Boxed: hyper moves the future several times before it runs, and it is large.
    let service = service_fn(|request| Box::pin(respond(client.clone(), request)));
    client.state.watch_streams(config.max_resets);
    let connection = http2::Builder::new(LocalExecutor)
        .max_send_buf_size(SEND_BUFFER)
        .enable_connect_protocol()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(u32::try_from(config.max_head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .serve_connection(guard, service);
    let mut connection = std::pin::pin!(connection);
    let mut watch = Watch::new(&client, config);
    loop {
        let step = tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(cause) = ended {
                    client.context.face.metrics.http2_errors.inc();
                    tracing::debug!(client = %client.peer, %cause, "an HTTP/2 connection failed");
                }
                return;
            }
            step = watch.next() => step,
        };
        match step {
            Step::Look => {}
            Step::GoAway => connection.as_mut().graceful_shutdown(),
            Step::Close => return,
        }
    }
}

/// What the connection's task is to do.
enum Step {
    /// Poll again: something was refused.
    Look,
    /// Answer what was asked and take no more.
    GoAway,
    /// Now.
    Close,
}

/// The clock of a connection: patience, and the daemon's drain.
struct Watch<'a> {
    client: &'a Client,
    patience: Patience,
    look: Pin<Box<tokio::time::Sleep>>,
    leaving: bool,
    stall: Duration,
}

impl<'a> Watch<'a> {
    fn new(client: &'a Client, config: &Http) -> Watch<'a> {
        let patience = Patience::new(time_limits(config));
        let look = Box::pin(sleep(patience.interval()));
        Watch { client, patience, look, leaving: false, stall: config.stall_timeout }
    }

    async fn next(&mut self) -> Step {
        let face = &self.client.context.face;
        loop {
            tokio::select! {
                () = face.drain.started(), if !self.leaving => {
                    self.leaving = true;
                    return Step::GoAway;
                }
                () = face.deadline(), if self.leaving => return Step::Close,
                () = self.client.state.hurries() => {
                    face.metrics.hasty_clients.inc();
                    tracing::info!(client = %self.client.peer, "closed a connection: too many requests were given up");
                    return Step::Close;
                }
                () = self.look.as_mut() => {}
            }
            let interval = self.patience.interval();
            self.look.as_mut().reset(Instant::now() + interval);
            let local = &self.client.context.local;
            // When memory is short, those for whom it is kept go first.
            let looks = match local.has_memory() {
                true => self.stall.as_millis().div_ceil(interval.as_millis().max(1)) as u32 + 1,
                false => 2,
            };
            if self.client.state.pulls().look(|| local.hold(SEND_BUFFER)) >= looks {
                face.metrics.slow_readers.inc();
                return Step::Close;
            }
            match self.patience.look(self.client.state.seen()) {
                Verdict::Wait => {}
                Verdict::Idle => return Step::GoAway,
                Verdict::SlowHead => {
                    self.client.state.refuse_head(Refusal::SlowHead);
                    return Step::Look;
                }
                Verdict::SlowBody => {
                    self.client.state.refuse_body(Refusal::SlowBody);
                    return Step::Look;
                }
                Verdict::SlowReader => {
                    face.metrics.slow_readers.inc();
                    return Step::Close;
                }
            }
        }
    }
}
