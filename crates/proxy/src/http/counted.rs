//! An answer's body, counted as in flight until it has ended or was given up.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use relay::http::Body;

use super::guard::State;

/// One request in flight on a client's connection, until dropped.
pub(crate) struct InFlight(Rc<State>);

impl InFlight {
    /// Counts the request that [`State::begin`] announced.
    pub(crate) fn new(state: &Rc<State>) -> InFlight {
        InFlight(state.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// See the module.
pub(crate) struct Counted {
    body: Body,
    _in_flight: InFlight,
}

impl Counted {
    pub(crate) fn new(body: Body, in_flight: InFlight) -> Counted {
        Counted { body, _in_flight: in_flight }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
