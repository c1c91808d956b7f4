//! Message bodies: what hyper received, or bytes of our own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::balance::Flight;

use super::pool::Kept;

/// A body on its way through. Frames pass as they come: data and trailers are not held back.
#[derive(Debug, Default)]
pub struct Body {
    kind: Kind,
    /// What comes free when the body has ended.
    held: Option<Held>,
}

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Bytes(Bytes),
    Incoming(Incoming),
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
        Body { kind: Kind::Incoming(incoming), held: None }
    }

    /// True when it certainly has no data and no trailers.
    pub fn is_empty(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }

    pub(super) fn answer(incoming: Incoming, held: Held) -> Body {
        let mut body = Body { kind: Kind::Incoming(incoming), held: Some(held) };
        if body.is_empty() {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        if let Some(Held { connection: Some(connection), _flight }) = self.held.take() {
            connection.give_back();
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Body { kind: Kind::Bytes(text.into()), held: None }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body { kind: Kind::Bytes(bytes), held: None }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let polled = match &mut this.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                this.kind = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Incoming(incoming) => Pin::new(incoming).poll_frame(cx),
        };
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
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(incoming) => incoming.size_hint(),
        }
    }
}
