//! An answer's body, counted as in flight until it has ended or was given up.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use relay::Forbidden;
use relay::http::{Body, BodyError};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::guard::State;
use super::log::Entry;

/// One request in flight on a client's connection, until dropped. Dropped before it was answered to the end, it was
/// given up by the client.
pub(crate) struct InFlight {
    state: Rc<State>,
    is_answered: bool,
}

impl InFlight {
    /// Counts the request that [`State::begin`] announced.
    pub(crate) fn new(state: &Rc<State>) -> InFlight {
        InFlight { state: state.clone(), is_answered: false }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.state.end();
        if !self.is_answered {
            self.state.give_up();
        }
    }
}

/// See the module.
pub(crate) struct Counted {
    body: Body,
    clock: Option<Box<Clock>>,
    /// Where it is watched how the client takes it.
    pull: Option<usize>,
    entry: Option<Box<Entry>>,
    in_flight: InFlight,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.in_flight.is_answered |= http_body::Body::is_end_stream(&self.body);
        if let Some(pull) = self.pull {
            self.in_flight.state.pulls().end(pull);
        }
        if let Some(entry) = &mut self.entry {
            entry.whole = self.in_flight.is_answered;
        }
    }
}

/// How long an answer may go on: until its time is over, or the rules forbid it.
pub(crate) struct Clock {
    /// Until its end.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Between two parts of it.
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
    forbidden: Forbidden,
}

/// Why an answer is broken off.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("the answer took longer than its route allows")]
    TooSlow,
    #[error("the rules no longer allow the request")]
    Forbidden,
}

impl Clock {
    /// The limits of one answer.
    pub(crate) fn new(deadline: Option<Instant>, pause: Option<Duration>, forbidden: Forbidden) -> Clock {
        Clock {
            deadline: deadline.map(|at| Box::pin(sleep_until(at))),
            pause: pause.map(|limit| (limit, Box::pin(sleep(limit)))),
            forbidden,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, moved: bool) -> Result<(), Over> {
        if Pin::new(&mut self.forbidden).poll(cx).is_ready() {
            return Err(Over::Forbidden);
        }
        if let Some((limit, sleep)) = &mut self.pause {
            if moved {
                sleep.as_mut().reset(Instant::now() + *limit);
            } else if sleep.as_mut().poll(cx).is_ready() {
                return Err(Over::TooSlow);
            }
        }
        let late = self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
        if late { Err(Over::TooSlow) } else { Ok(()) }
    }
}

impl Counted {
    pub(crate) fn new(
        body: Body,
        in_flight: InFlight,
        clock: Option<Clock>,
        entry: Option<Box<Entry>>,
    ) -> Counted {
        // What is here already cannot take too long.
        let clock = clock.filter(|_| !body.is_whole()).map(Box::new);
        let pull = if body.is_empty() { None } else { in_flight.state.pulls().begin() };
        Counted { body, clock, pull, entry, in_flight }
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
        self.in_flight.is_answered |= matches!(polled, Poll::Ready(None));
        let this = &mut *self;
        if let (Some(entry), Poll::Ready(Some(Ok(frame)))) = (&mut this.entry, &polled) {
            entry.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        if let Some(pull) = self.pull {
            self.in_flight.state.pulls().note(pull, matches!(polled, Poll::Ready(Some(Ok(_)))));
        }
        if let Some(clock) = &mut self.clock
            && let Err(over) = clock.poll(cx, polled.is_ready())
        {
            return Poll::Ready(Some(Err(over.into())));
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
