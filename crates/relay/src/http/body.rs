//! Message bodies: what a peer sends, over whatever protocol, or bytes of our own.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, Sleep};

use crate::balance::Flight;

use super::arriving::Arriving;
use super::frames::Received;
use super::pool::Kept;

/// A body on its way through. Frames pass as they come: data and trailers are not held back.
#[derive(Debug, Default)]
pub struct Body {
    kind: Kind,
    /// What comes free when the body has ended.
    held: Option<Held>,
    /// Limits, where there are any.
    watch: Option<Box<Watch>>,
}

/// An error of a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Why a body was broken off here, and by nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is longer than is allowed.
    #[error("the body is longer than is allowed")]
    TooLong,
    /// Nothing came for too long.
    #[error("the body stopped coming")]
    Stalled,
}

/// Which limit of a body was reached, see [`Body::limited`].
#[derive(Debug, Default)]
pub struct Reached(Option<Rc<Cell<Option<Fault>>>>);

impl Reached {
    /// The one, if any.
    pub fn get(&self) -> Option<Fault> {
        self.0.as_ref()?.get()
    }
}

/// Limits of a body, and what came of them.
#[derive(Debug)]
struct Watch {
    left: u64,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
    fault: Rc<Cell<Option<Fault>>>,
}

impl Watch {
    fn poll(&mut self, cx: &mut Context<'_>, polled: &Polled) -> Result<(), Fault> {
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some((limit, sleep)) = &mut self.pause {
                    sleep.as_mut().reset(Instant::now() + *limit);
                }
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.left = self.left.checked_sub(length).ok_or(Fault::TooLong)?;
            }
            Poll::Pending => {
                if let Some((_, sleep)) = &mut self.pause
                    && sleep.as_mut().poll(cx).is_ready()
                {
                    return Err(Fault::Stalled);
                }
            }
            Poll::Ready(_) => {}
        }
        Ok(())
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Bytes(Bytes),
    Incoming(Incoming),
    /// Of an HTTP/1.1 answer that is read by hand.
    Arriving(Box<Arriving>),
    /// Of a message on a stream of HTTP/2, as far as h2 is spoken to directly.
    Received(Received),
}

/// Lives as long as the answer does.
#[derive(Debug)]
pub(super) struct Held {
    /// The connection, to be kept for another request if the body ends well.
    pub(super) connection: Option<Kept>,
    /// The count of this request in the balancer.
    pub(super) _flight: Flight,
}

impl Body {
    /// A body of nothing.
    pub fn empty() -> Body {
        Body::default()
    }

    /// A body that another peer sends.
    pub fn incoming(incoming: Incoming) -> Body {
        let kind = if incoming.is_end_stream() { Kind::Empty } else { Kind::Incoming(incoming) };
        Body { kind, held: None, watch: None }
    }

    /// A body that a peer sends on a stream of HTTP/2, behind a head with these fields.
    pub fn received(stream: RecvStream, head: &HeaderMap) -> Body {
        let received = Received::new(stream, head, None);
        if received.is_over() { Body::empty() } else { Body::from(received) }
    }

    /// The same with limits: of bytes, and of the time without any. What is returned beside it says whether one was
    /// reached; there is none for a body that cannot.
    pub fn limited(self, most: Option<u64>, pause: Option<Duration>) -> (Body, Reached) {
        if (most.is_none() && pause.is_none()) || self.is_empty() {
            return (self, Reached::default());
        }
        let fault = Rc::new(Cell::new(None));
        let pause = pause.map(|limit| (limit, Box::pin(tokio::time::sleep(limit))));
        let watch = Watch { left: most.unwrap_or(u64::MAX), pause, fault: fault.clone() };
        (Body { watch: Some(Box::new(watch)), ..self }, Reached(Some(fault)))
    }

    /// True when it certainly has no data and no trailers.
    pub fn is_empty(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }

    /// True when all of it is here: nobody is waited for.
    pub fn is_whole(&self) -> bool {
        matches!(self.kind, Kind::Empty | Kind::Bytes(_))
    }

    /// The same body, for which `held` is kept until it has ended.
    pub(super) fn holding(mut self, held: Held) -> Body {
        self.held = Some(held);
        if self.is_empty() {
            self.finish();
        }
        self
    }

    fn finish(&mut self) {
        if let Some(Held { connection: Some(connection), _flight }) = self.held.take() {
            connection.give_back();
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Body { kind: Kind::Bytes(text.into()), held: None, watch: None }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body { kind: Kind::Bytes(bytes), held: None, watch: None }
    }
}

impl From<Arriving> for Body {
    fn from(arriving: Arriving) -> Self {
        Body { kind: Kind::Arriving(Box::new(arriving)), held: None, watch: None }
    }
}

impl From<Received> for Body {
    fn from(received: Received) -> Self {
        Body { kind: Kind::Received(received), held: None, watch: None }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let mut polled = match &mut this.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                this.kind = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Incoming(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::from),
            Kind::Arriving(arriving) => arriving.poll_frame(cx).map_err(BodyError::from),
            Kind::Received(received) => received.poll_frame(cx).map_err(BodyError::from),
        };
        if let Some(watch) = &mut this.watch
            && let Err(fault) = watch.poll(cx, &polled)
        {
            watch.fault.set(Some(fault));
            polled = Poll::Ready(Some(Err(fault.into())));
        }
        match &polled {
            Poll::Ready(None) => this.finish(),
            Poll::Ready(Some(Err(_))) => drop(this.held.take()),
            Poll::Ready(Some(Ok(_))) if this.held.is_some() && this.is_empty() => this.finish(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Bytes(bytes) => bytes.is_empty(),
            Kind::Incoming(incoming) => incoming.is_end_stream(),
            Kind::Arriving(arriving) => arriving.is_over(),
            Kind::Received(received) => received.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(incoming) => incoming.size_hint(),
            Kind::Arriving(arriving) => arriving.size_hint(),
            Kind::Received(received) => received.size_hint(),
        }
    }
}
