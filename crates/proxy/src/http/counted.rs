//! An answer's body, counted as in flight until it has ended or was given up.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use relay::http::{Body, BodyError};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

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
    clock: Option<Box<Clock>>,
    _in_flight: InFlight,
}

/// How long an answer may take.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Until its end.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Between two parts of it.
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
}

/// An answer took too long.
#[derive(Debug, thiserror::Error)]
#[error("the answer took longer than its route allows")]
struct TooSlow;

impl Clock {
    /// `None` where there are no limits.
    pub(crate) fn new(deadline: Option<Instant>, pause: Option<Duration>) -> Option<Clock> {
        let some = deadline.is_some() || pause.is_some();
        some.then(|| Clock {
            deadline: deadline.map(|at| Box::pin(sleep_until(at))),
            pause: pause.map(|limit| (limit, Box::pin(sleep(limit)))),
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>, moved: bool) -> Result<(), TooSlow> {
        if let Some((limit, sleep)) = &mut self.pause {
            if moved {
                sleep.as_mut().reset(Instant::now() + *limit);
            } else if sleep.as_mut().poll(cx).is_ready() {
                return Err(TooSlow);
            }
        }
        let late = self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
        if late { Err(TooSlow) } else { Ok(()) }
    }
}

impl Counted {
    pub(crate) fn new(body: Body, in_flight: InFlight, clock: Option<Clock>) -> Counted {
        let clock = clock.filter(|_| !body.is_empty()).map(Box::new);
        Counted { body, clock, _in_flight: in_flight }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(clock) = &mut self.clock
            && let Err(late) = clock.poll(cx, polled.is_ready())
        {
            return Poll::Ready(Some(Err(late.into())));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
