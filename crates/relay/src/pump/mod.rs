//! Relays one connection: both directions, until both have ended.
//!
//! Half-close is kept: the end of one direction is passed on while the other goes on. A connection that
//! breaks is reset toward the other side, so that nobody takes it for a finished one.

mod frames;
mod half;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use route::{Permit, Principal};
use state::Drain;
use tokio::time::{Instant, Sleep};

use crate::judge::Standing;
use crate::local::Local;
use crate::stream::Stream;
use half::{Fault, Half};

/// What was read from either side before the pump took over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefix {
    /// To deliver to the server first.
    pub upstream: Bytes,
    /// To deliver to the client first.
    pub downstream: Bytes,
}

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes from client to server.
    pub sent: u64,
    /// Bytes from server to client.
    pub received: u64,
    /// Of both, those that the kernel moved.
    pub spliced: u64,
}

/// Toward whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Downstream,
    /// The server.
    Upstream,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Downstream => "client",
            Side::Upstream => "server",
        })
    }
}

/// Why a connection did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A side failed.
    #[error("relay a connection: the {side}'s side failed")]
    Failed {
        /// Which side.
        side: Side,
        /// How.
        #[source]
        cause: io::Error,
    },
    /// The rules no longer allow it.
    #[error("relay a connection: the rules no longer let {0} reach it")]
    Forbidden(Box<Principal>),
    /// Nothing moved for too long.
    #[error("relay a connection: nothing moved for {} s", .0.as_secs())]
    Idle(Duration),
}

/// How a relayed connection ended.
#[derive(Debug)]
pub struct Outcome {
    /// What was moved.
    pub moved: Moved,
    /// `None` when both sides ended it in good order.
    pub broken: Option<Broken>,
}

/// Relays between `down` and `up` until both directions have ended, one side breaks, or nothing moves for
/// `idle` (checked twice in that time, so it may take half as long again).
pub fn run(
    local: &Rc<Local>,
    permit: Permit,
    down: Stream,
    up: Stream,
    prefix: Prefix,
    idle: Option<Duration>,
) -> impl Future<Output = Outcome> {
    let halves = (Half::starting_with(prefix.upstream), Half::starting_with(prefix.downstream));
    Running::new(local, permit, (down, up), halves, None, idle)
}

/// The same for a WebSocket after its handshake. When `drain` starts the client is told, between two frames, that we
/// go away (close code 1001, RFC 6455 section 7.4.1); its answer tells the server.
pub fn run_websocket(
    local: &Rc<Local>,
    permit: Permit,
    down: Stream,
    up: Stream,
    prefix: Prefix,
    idle: Option<Duration>,
    drain: Drain,
) -> impl Future<Output = Outcome> {
    let received = Half::of_frames(prefix.downstream);
    let leaving: Leaving = Box::pin(async move { drain.started().await });
    let halves = (Half::starting_with(prefix.upstream), received);
    Running::new(local, permit, (down, up), halves, Some(leaving), idle)
}

struct Pump {
    local: Rc<Local>,
    down: Stream,
    up: Stream,
    sent: Half,
    received: Half,
    counted: Moved,
    write_fault: Option<(Side, io::Error)>,
}

struct Idle {
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
    seen: u64,
    quiet: u32,
}

/// Resolves when the client is to be told that we leave.
type Leaving = Pin<Box<dyn Future<Output = ()>>>;

/// A future written out: as an async function it would be twice as large, and there is one for each idle connection.
struct Running {
    standing: Standing,
    pump: Pump,
    idle: Option<Idle>,
    /// `None` once it has resolved.
    leaving: Option<Leaving>,
}

impl Running {
    fn new(
        local: &Rc<Local>,
        permit: Permit,
        (down, up): (Stream, Stream),
        (sent, received): (Half, Half),
        leaving: Option<Leaving>,
        idle: Option<Duration>,
    ) -> Running {
        let idle = idle.map(|limit| {
            let sleep = Box::pin(tokio::time::sleep(limit / 2));
            Idle { limit, sleep, seen: 0, quiet: 0 }
        });
        let counted = Moved::default();
        let pump = Pump { local: local.clone(), sent, received, down, up, counted, write_fault: None };
        Running { standing: Standing::new(local, permit), pump, idle, leaving }
    }
}

impl Future for Running {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Running { standing, pump, idle, leaving } = &mut *self;
        if !standing.poll(cx) {
            let principal = Box::new(standing.permit().principal().clone());
            return Poll::Ready(pump.stop(Broken::Forbidden(principal)));
        }
        if leaving.as_mut().is_some_and(|leaving| leaving.as_mut().poll(cx).is_ready()) {
            *leaving = None;
            pump.received.leave();
        }
        let polled = pump.poll(cx);
        pump.count();
        let broken = match polled {
            Poll::Ready(Ok(())) => None,
            Poll::Ready(Err(broken)) => Some(broken),
            Poll::Pending => match idle.as_mut().and_then(|idle| idle.poll(cx, &pump.counted)) {
                Some(limit) => Some(Broken::Idle(limit)),
                None => return Poll::Pending,
            },
        };
        Poll::Ready(match broken {
            Some(broken) => pump.stop(broken),
            None => Outcome { moved: pump.counted, broken: None },
        })
    }
}

impl Pump {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Pump { local, down, up, sent, received, write_fault, .. } = self;
        if !sent.is_done() {
            let polled = sent.poll(cx, local, (down, up), received.is_done());
            settle(polled, sent, Side::Downstream, Side::Upstream, write_fault)?;
        }
        if !received.is_done() {
            let polled = received.poll(cx, local, (up, down), sent.is_done());
            settle(polled, received, Side::Upstream, Side::Downstream, write_fault)?;
        }
        if !(sent.is_done() && received.is_done()) {
            return Poll::Pending;
        }
        Poll::Ready(match write_fault.take() {
            None => Ok(()),
            Some((side, cause)) => Err(Broken::Failed { side, cause }),
        })
    }

    /// Adds what moved since the last time to the thread's counters.
    fn count(&mut self) {
        let now = Moved {
            sent: self.sent.moved,
            received: self.received.moved,
            spliced: self.sent.spliced + self.received.spliced,
        };
        let metrics = self.local.metrics();
        for (counter, now, before) in [
            (&metrics.sent, now.sent, self.counted.sent),
            (&metrics.received, now.received, self.counted.received),
            (&metrics.spliced, now.spliced, self.counted.spliced),
        ] {
            if now != before {
                counter.inc_by(now - before);
            }
        }
        self.counted = now;
    }

    /// The end of a connection that did not end by itself.
    fn stop(&self, broken: Broken) -> Outcome {
        self.reset();
        Outcome { moved: self.counted, broken: Some(broken) }
    }

    fn reset(&self) {
        for socket in [self.down.as_tcp(), self.up.as_tcp()].into_iter().flatten() {
            // Fails only on a socket that is gone, where there is nothing to reset.
            let _ = sys::listen::reset_on_close(socket);
        }
    }
}

/// A read fault ends the connection at once; a write fault ends its direction and is kept for the end.
fn settle(
    polled: Poll<Result<(), Fault>>,
    half: &mut Half,
    from: Side,
    to: Side,
    write_fault: &mut Option<(Side, io::Error)>,
) -> Result<(), Broken> {
    match polled {
        Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
        Poll::Ready(Err(Fault::Read(cause))) => Err(Broken::Failed { side: from, cause }),
        Poll::Ready(Err(Fault::Write(cause))) => {
            half.abandon();
            write_fault.get_or_insert((to, cause));
            Ok(())
        }
    }
}

impl Idle {
    /// The limit, when nothing moved between two looks. Counts bytes instead of reading the clock on every
    /// move.
    fn poll(&mut self, cx: &mut Context<'_>, moved: &Moved) -> Option<Duration> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = moved.sent + moved.received;
            self.quiet = if now == self.seen { self.quiet + 1 } else { 0 };
            self.seen = now;
            if self.quiet >= 2 {
                return Some(self.limit);
            }
            self.sleep.as_mut().reset(Instant::now() + self.limit / 2);
        }
        None
    }
}
