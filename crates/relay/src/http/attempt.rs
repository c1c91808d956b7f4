//! One attempt to get an answer of one endpoint.

use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use route::{Backend, Permit};

use super::arriving::{self, ask};
use super::body::{Body, BodyError, Held};
use super::connect::{self, Protocol, Upgraded};
use super::outgoing::Store;
use super::plain;
use super::pool::Kept;
use super::send::Answer;
use super::shared::{self, Place, Shared};
use crate::balance::{Failure, Flight};
use crate::dial::dial;
use crate::local::Local;
use crate::stream::Stream;
use crate::tls::Speak;

/// Outcome of one attempt that has no answer.
pub(super) enum Lost {
    /// Nothing was sent; why.
    Unsent(io::Error),
    /// Sent, and the connection broke; it may be sent again.
    Broke(io::Error),
    /// Answered in a way that makes it worth asking elsewhere.
    Disliked(Box<Answer>),
    /// Sent, and failed.
    Sent(BodyError),
    /// Sent, and silent.
    Silent(Duration),
}

/// A request that cannot be repeated takes no connection that was idle for longer: its server may be closing
/// it at this moment, and then nobody could tell whether the request arrived. Servers that give idle
/// connections less time than this are rare.
const FRESH: Duration = Duration::from_secs(1);

/// What stays the same over all attempts.
pub(super) struct Call<'a> {
    pub(super) local: &'a Rc<Local>,
    pub(super) backend: &'a Arc<Backend>,
    pub(super) permit: &'a Permit,
}

impl Call<'_> {
    pub(super) async fn attempt(&self, at: usize, store: &mut Store, flight: Flight) -> Result<Answer, Lost> {
        match self.protocol(at, store) {
            Protocol::Http1 => match store.by_hand() {
                Some((head, bodiless)) => self.by_hand(at, store, flight, (&head, bodiless)).await,
                // Boxed: what hyper is needed for is rare, and would be most of every request's task.
                None => Box::pin(self.over_http1(at, store, flight)).await,
            },
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

    /// A request without a body, over a connection that nobody else reads or writes.
    async fn by_hand(
        &self,
        at: usize,
        store: &mut Store,
        flight: Flight,
        (head, bodiless): (&[u8], bool),
    ) -> Result<Answer, Lost> {
        let mut kept = plain::kept(self.local, &flight);
        loop {
            let up = match kept.take() {
                Some(up) => up,
                None => {
                    let stream = Box::pin(self.dial(at, store, &flight, Speak::Http1)).await;
                    plain::new(self.local, stream.map_err(Lost::Unsent)?, &flight)
                }
            };
            let used = up.used;
            let lost = match in_time(store.timeout, pin!(ask(self.local, up, head, bodiless))).await {
                Ok(Ok(response)) => return self.answer(store, response, None, flight),
                // It tells of the connection and not of the endpoint, once.
                Ok(Err(arriving::Failed::Lost(_))) if used => {
                    self.local.metrics().retries.inc();
                    continue;
                }
                Ok(Err(arriving::Failed::Lost(cause))) => Lost::Broke(cause),
                Ok(Err(arriving::Failed::Bad(cause))) => Lost::Sent(cause),
                Err(silent) => silent,
            };
            return Err(self.give_up(&flight, lost));
        }
    }

    async fn over_http1(&self, at: usize, store: &mut Store, flight: Flight) -> Result<Answer, Lost> {
        let pools = &self.local.pools;
        // Kept connections first, the freshest on top. One may turn out to be dead: that tells of the connection and not of
        // the endpoint, so a new one is tried before another endpoint is. Not a second kept one, unless nothing was sent:
        // whoever ends connections on a request would be sent it over all of them.
        let fresh = (!store.repeatable).then_some(FRESH);
        while let Some(mut kept) = pools.take(flight.stats(), fresh) {
            let Some(request) = store.take_http1() else { return Err(gone()) };
            match sent(store, kept.connection.sender.try_send_request(request)).await {
                Ok(response) => return self.of_hyper(store, response, kept, flight).await,
                Err(Lost::Unsent(_)) => drop(self.local.metrics().retries.inc()),
                Err(Lost::Broke(_)) => {
                    self.local.metrics().retries.inc();
                    break;
                }
                Err(lost) => return Err(self.give_up(&flight, lost)),
            }
        }
        let connecting = async {
            let stream = self.dial(at, store, &flight, Speak::Http1).await?;
            connect::http1(stream).await.map_err(io::Error::other)
        };
        let connection = Box::pin(connecting).await.map_err(Lost::Unsent)?;
        let mut kept = pools.adopt(flight.stats(), connection);
        let Some(request) = store.take_http1() else { return Err(gone()) };
        match sent(store, kept.connection.sender.try_send_request(request)).await {
            Ok(response) => self.of_hyper(store, response, kept, flight).await,
            Err(lost) => Err(self.give_up(&flight, lost)),
        }
    }

    async fn over_http2(&self, at: usize, store: &mut Store, flight: Flight) -> Result<Answer, Lost> {
        let place = self.local.pools.shared(flight.stats());
        let scheme = self.scheme(at);
        let mut last = gone();
        // Twice: a shared connection may have been told to go away just now.
        for _ in 0..2 {
            let mut shared = self.shared(&place, at, store, &flight).await.map_err(Lost::Unsent)?;
            let Some(request) = store.take_http2(scheme.clone()) else { return Err(gone()) };
            let answers = shared.answers();
            let timely = {
                let sending = pin!(shared.send(request));
                in_time(store.timeout, sending).await
            };
            let sent = match timely {
                Ok(sent) => sent,
                Err(silent) => {
                    // To nobody: then the connection is to blame, and others get a new one.
                    if shared.answers() == answers {
                        leave(&place, &shared).await;
                    }
                    return Err(self.give_up(&flight, silent));
                }
            };
            match sent {
                Ok(response) => return self.answer(store, response, None, flight),
                Err(shared::Failed::Unsent(request, error)) => {
                    store.put_back(*request);
                    last = Lost::Unsent(io::Error::other(error));
                }
                Err(shared::Failed::Sent(error)) if store.repeatable && shared::Failed::is_broken(&error) => {
                    last = Lost::Broke(io::Error::other(error));
                }
                Err(shared::Failed::Sent(error)) => {
                    return Err(self.give_up(&flight, Lost::Sent(error.into())));
                }
            }
            leave(&place, &shared).await;
        }
        Err(self.give_up(&flight, last))
    }

    /// The thread's HTTP/2 connection to an endpoint, made if there is none. Others wait meanwhile, for one try at most.
    async fn shared(&self, place: &Place, at: usize, store: &Store, flight: &Flight) -> io::Result<Shared> {
        let begin = Instant::now();
        let mut held = place.shared.lock().await;
        if let Some(shared) = held.as_ref().filter(|shared| !shared.is_closed()) {
            return Ok(shared.clone());
        }
        if place.has_failed_since(begin) {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the connection that others waited for failed",
            ));
        }
        // Boxed here and below: connecting is rare, and would be the largest part of every request's task.
        let connecting = async {
            let stream = self.dial(at, store, flight, Speak::Http2).await?;
            shared::connect(stream).await
        };
        let made = Box::pin(connecting).await.inspect_err(|_| place.fails())?;
        Ok(held.insert(made).clone())
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

    /// The same for what hyper received.
    async fn of_hyper(
        &self,
        store: &Store,
        response: Response<Incoming>,
        kept: Kept,
        flight: Flight,
    ) -> Result<Answer, Lost> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && store.upgrades {
            flight.answered(self.local.now_ns());
            let parts = kept.connection.parts.await.ok();
            let upgraded = parts.map(|parts| Upgraded { flight: Some(flight), ..parts });
            return Ok(Answer { response: response.map(|_| Body::empty()), upgraded });
        }
        self.answer(store, response.map(Body::incoming), Some(kept), flight)
    }

    /// What an answer tells of its endpoint, and whether it is passed on.
    fn answer(
        &self,
        store: &Store,
        response: Response<Body>,
        kept: Option<Kept>,
        flight: Flight,
    ) -> Result<Answer, Lost> {
        match response.status().is_server_error() {
            true => self.local.failed(&flight, Failure::Answer),
            false => flight.answered(self.local.now_ns()),
        }
        let held = Held { connection: kept, _flight: flight };
        let dislikes = store.dislikes(response.status());
        let answer = Answer { response: response.map(|body| body.holding(held)), upgraded: None };
        if dislikes { Err(Lost::Disliked(Box::new(answer))) } else { Ok(answer) }
    }
}

/// Gives up a connection that others would be given.
async fn leave(place: &Place, shared: &Shared) {
    let mut held = place.shared.lock().await;
    if held.as_ref().is_some_and(|there| there.is(shared)) {
        *held = None;
    }
}

/// Within the time that an answer's head may take.
async fn in_time<T>(limit: Option<Duration>, sending: Pin<&mut impl Future<Output = T>>) -> Result<T, Lost> {
    match limit {
        None => Ok(sending.await),
        Some(limit) => tokio::time::timeout(limit, sending).await.map_err(|_| Lost::Silent(limit)),
    }
}

type Sent = Result<Response<Incoming>, TrySendError<Request<Body>>>;

/// Sends by hyper, and puts back what was not sent.
async fn sent(store: &mut Store, sending: impl Future<Output = Sent>) -> Result<Response<Incoming>, Lost> {
    in_time(store.timeout, pin!(sending)).await?.map_err(|mut error| {
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
            None => Lost::Sent(cause.into()),
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
