//! One request to one of a service's endpoints.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use route::{Backend, Permit};

use super::body::{Body, Held};
use super::connect::{self, Protocol, Upgraded};
use super::outgoing::{Outgoing, Store};
use super::pool::Kept;
use crate::balance::{Failure, Flight};
use crate::dial::{Attempt, Unreachable, dial, show};
use crate::local::Local;
use crate::stream::Stream;
use crate::tls::Speak;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The answer; its body holds the connection and the balancer's count until it has ended.
    pub response: Response<Body>,
    /// The connection, when the endpoint switched protocols (status 101).
    pub upgraded: Option<Upgraded>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    /// No endpoint could be reached; nothing was sent, or nothing that counts.
    Unreachable(Unreachable),
    /// An endpoint was reached and failed. The request may have had effects there.
    Failed {
        /// Which one.
        endpoint: String,
        /// How.
        cause: hyper::Error,
    },
    /// An endpoint was reached and did not begin to answer in time.
    TimedOut {
        /// Which one.
        endpoint: String,
        /// How long it had.
        after: Duration,
    },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Unreachable(unreachable) => unreachable.fmt(f),
            SendError::Failed { endpoint, cause } => {
                write!(f, "send a request to {endpoint}: {}", chain(cause))
            }
            SendError::TimedOut { endpoint, after } => {
                write!(f, "send a request to {endpoint}: no answer within {} s", after.as_secs_f32())
            }
        }
    }
}

impl std::error::Error for SendError {}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        text = format!("{text}: {cause}");
        at = cause.source();
    }
    text
}

/// Outcome of one attempt that has no answer.
enum Lost {
    /// Nothing was sent; why.
    Unsent(io::Error),
    /// Sent, and the connection broke; it may be sent again.
    Broke(io::Error),
    /// Answered in a way that makes it worth asking elsewhere.
    Disliked(Box<Answer>),
    /// Sent, and failed.
    Sent(hyper::Error),
    /// Sent, and silent.
    Silent(Duration),
}

/// A request that cannot be repeated takes no connection that was idle for longer: its server may be closing
/// it at this moment, and then nobody could tell whether the request arrived. Servers that give idle
/// connections less time than this are rare.
const FRESH: Duration = Duration::from_secs(1);

/// What stays the same over all attempts.
struct Call<'a> {
    local: &'a Rc<Local>,
    backend: &'a Arc<Backend>,
    permit: &'a Permit,
}

/// Sends a request to an endpoint of `backend`; to another when nothing was sent, or when the connection
/// broke before an answer and the request may be repeated.
///
/// # Errors
/// See [`SendError`].
pub async fn send(
    local: &Rc<Local>,
    backend: &Arc<Backend>,
    permit: &Permit,
    outgoing: Outgoing,
) -> Result<Answer, SendError> {
    let call = Call { local, backend, permit };
    let most = outgoing.attempts.unwrap_or(local.config().attempts).max(1);
    let key = outgoing.key;
    let mut store = Store::new(outgoing);
    let mut tried = Vec::new();
    let mut attempts = Vec::new();
    let mut disliked = None;
    let is_last = |tried: &[usize]| tried.len() + 1 >= backend.endpoints.len();
    while attempts.len() < most
        && let Some((at, flight)) = local.pick(backend, &tried, key)
    {
        if !attempts.is_empty() {
            local.metrics().retries.inc();
        }
        let endpoint = || show(&backend.endpoints[at].target);
        match call.attempt(at, &mut store, flight).await {
            Ok(answer) => return Ok(answer),
            Err(Lost::Sent(cause)) => return Err(SendError::Failed { endpoint: endpoint(), cause }),
            Err(Lost::Silent(after)) => return Err(SendError::TimedOut { endpoint: endpoint(), after }),
            Err(Lost::Unsent(cause)) => attempts.push(Attempt { endpoint: endpoint(), cause }),
            Err(Lost::Broke(cause)) => {
                attempts.push(Attempt { endpoint: endpoint(), cause });
                if attempts.len() == most || is_last(&tried) || !local.may_repeat(backend) {
                    break;
                }
            }
            Err(Lost::Disliked(answer)) => {
                if attempts.len() + 1 == most || is_last(&tried) || !local.may_repeat(backend) {
                    return Ok(*answer);
                }
                let cause = io::Error::other(format!("it answered {}", answer.response.status()));
                attempts.push(Attempt { endpoint: endpoint(), cause });
                disliked = Some(answer);
            }
        }
        tried.push(at);
    }
    // An answer that nobody likes is better than none.
    if let Some(answer) = disliked {
        return Ok(*answer);
    }
    Err(SendError::Unreachable(Unreachable { service: backend.service.clone(), attempts }))
}

type Sent = Result<Response<Incoming>, TrySendError<Request<Body>>>;

impl Call<'_> {
    async fn attempt(&self, at: usize, store: &mut Store, flight: Flight) -> Result<Answer, Lost> {
        match self.protocol(at, store) {
            Protocol::Http1 => self.over_http1(at, store, flight).await,
            Protocol::Http2 => self.over_http2(at, store, flight).await,
        }
    }

    /// What is spoken to the endpoint.
    fn protocol(&self, at: usize, store: &Store) -> Protocol {
        match self.backend.endpoints[at].protocol.as_deref() {
            _ if store.upgrades => Protocol::Http1,
            Some("h2c" | "grpc" | "h2" | "grpcs") => Protocol::Http2,
            _ if store.prefer_http2 => Protocol::Http2,
            _ => Protocol::Http1,
        }
    }

    async fn over_http1(&self, at: usize, store: &mut Store, flight: Flight) -> Result<Answer, Lost> {
        let pools = &self.local.pools;
        // Kept connections first, the freshest on top. Each may turn out to be dead: that tells of the
        // connection and not of the endpoint, so a new one is tried before another endpoint is.
        let fresh = (!store.repeatable).then_some(FRESH);
        while let Some(mut kept) = pools.take(flight.stats(), fresh) {
            let Some(request) = store.take_http1() else { return Err(gone()) };
            match in_time(store, kept.connection.sender.try_send_request(request)).await {
                Ok(response) => return self.answer(store, response, Some(kept), flight).await,
                Err(Lost::Unsent(_) | Lost::Broke(_)) => self.local.metrics().retries.inc(),
                Err(lost) => return Err(self.give_up(&flight, lost)),
            };
        }
        let connecting = async {
            let stream = self.dial(at, store, &flight, Speak::Http1).await?;
            connect::http1(stream).await.map_err(io::Error::other)
        };
        let connection = Box::pin(connecting).await.map_err(Lost::Unsent)?;
        let mut kept = pools.adopt(flight.stats(), connection);
        let Some(request) = store.take_http1() else { return Err(gone()) };
        match in_time(store, kept.connection.sender.try_send_request(request)).await {
            Ok(response) => self.answer(store, response, Some(kept), flight).await,
            Err(lost) => Err(self.give_up(&flight, lost)),
        }
    }

    async fn over_http2(&self, at: usize, store: &mut Store, flight: Flight) -> Result<Answer, Lost> {
        let place = self.local.pools.shared(flight.stats());
        let scheme = self.scheme(at);
        let mut last = gone();
        // Twice: a shared connection may have been told to go away just now.
        for _ in 0..2 {
            let mut sender = self.shared_http2(&place, at, store, &flight).await.map_err(Lost::Unsent)?;
            let Some(request) = store.take_http2(scheme.clone()) else { return Err(gone()) };
            match in_time(store, sender.try_send_request(request)).await {
                Ok(response) => return self.answer(store, response, None, flight).await,
                Err(lost @ (Lost::Unsent(_) | Lost::Broke(_))) => {
                    *place.lock().await = None;
                    last = lost;
                }
                Err(lost) => return Err(self.give_up(&flight, lost)),
            }
        }
        Err(self.give_up(&flight, last))
    }

    /// The thread's HTTP/2 connection to an endpoint, made if there is none. Others wait meanwhile.
    async fn shared_http2(
        &self,
        place: &connect::Shared,
        at: usize,
        store: &Store,
        flight: &Flight,
    ) -> io::Result<http2::SendRequest<Body>> {
        let mut shared = place.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        // Boxed here and below: connecting is rare, and would be the largest part of every request's task.
        let connecting = async {
            let stream = self.dial(at, store, flight, Speak::Http2).await?;
            connect::http2(stream).await.map_err(io::Error::other)
        };
        Ok(shared.insert(Box::pin(connecting).await?).clone())
    }

    async fn dial(&self, at: usize, store: &Store, flight: &Flight, speak: Speak) -> io::Result<Stream> {
        let dialing = dial(self.local, &self.backend.endpoints[at], self.permit, flight, speak);
        match store.connect_timeout {
            None => dialing.await,
            Some(limit) => tokio::time::timeout(limit, dialing).await.unwrap_or_else(|_| {
                self.local.failed(flight, Failure::Connect);
                Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within the time of the route"))
            }),
        }
    }

    /// The scheme under which an HTTP/2 request travels.
    fn scheme(&self, at: usize) -> Scheme {
        let endpoint = &self.backend.endpoints[at];
        match self.local.upstreams().secures(&self.backend.service, endpoint) {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        }
    }

    fn give_up(&self, flight: &Flight, lost: Lost) -> Lost {
        self.local.failed(flight, Failure::Answer);
        lost
    }

    async fn answer(
        &self,
        store: &Store,
        response: Response<Incoming>,
        kept: Option<Kept>,
        flight: Flight,
    ) -> Result<Answer, Lost> {
        match response.status().is_server_error() {
            true => self.local.failed(&flight, Failure::Answer),
            false => flight.answered(self.local.now_ns()),
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && store.upgrades {
            let response = response.map(|_| Body::empty());
            let parts = match kept {
                Some(kept) => kept.connection.parts.await.ok(),
                None => None,
            };
            let upgraded = parts.map(|parts| Upgraded { flight: Some(flight), ..parts });
            return Ok(Answer { response, upgraded });
        }
        let held = Held { connection: kept, _flight: flight };
        let dislikes = store.dislikes(response.status());
        let response = response.map(|incoming| Body::answer(incoming, held));
        let answer = Answer { response, upgraded: None };
        if dislikes { Err(Lost::Disliked(Box::new(answer))) } else { Ok(answer) }
    }
}

/// Sends, within the time that the answer's head may take, and puts back what was not sent.
async fn in_time(store: &mut Store, sending: impl Future<Output = Sent>) -> Result<Response<Incoming>, Lost> {
    let sent = match store.timeout {
        None => sending.await,
        Some(limit) => match tokio::time::timeout(limit, sending).await {
            Ok(sent) => sent,
            Err(_) => return Err(Lost::Silent(limit)),
        },
    };
    sent.map_err(|mut error| {
        let whole = error.take_message();
        let cause = error.into_error();
        let broke =
            cause.is_closed() || cause.is_canceled() || cause.is_incomplete_message() || is_io(&cause);
        match whole {
            Some(request) => {
                store.put_back(request);
                Lost::Unsent(io::Error::other(cause))
            }
            None if store.repeatable && broke => Lost::Broke(io::Error::other(cause)),
            None => Lost::Sent(cause),
        }
    })
}

fn is_io(cause: &hyper::Error) -> bool {
    std::error::Error::source(cause).is_some_and(|source| source.is::<io::Error>())
}

/// For a request that is out and not to be sent again; cannot be reached with one that is here.
fn gone() -> Lost {
    Lost::Unsent(io::Error::other("the request is gone"))
}
