//! Whether the client still lives: it is asked now and then, and must answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

/// How often it is asked, and how long it may think.
const EVERY: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct Pulse {
    pings: PingPong,
    next: Pin<Box<Sleep>>,
    asked: bool,
}

impl Pulse {
    /// The pulse of a connection that was opened now.
    pub(super) fn new(pings: PingPong) -> Pulse {
        Pulse { pings, next: Box::pin(sleep(EVERY)), asked: false }
    }

    /// True when there was no answer in time.
    pub(super) fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            if self.asked
                && let Poll::Ready(answer) = self.pings.poll_pong(cx)
            {
                // What fails here fails with the connection, which says so by itself.
                self.asked = false;
                self.next.as_mut().reset(Instant::now() + EVERY);
                if answer.is_err() {
                    return false;
                }
            }
            if self.next.as_mut().poll(cx).is_pending() {
                return false;
            }
            if self.asked {
                return true;
            }
            self.asked = self.pings.send_ping(Ping::opaque()).is_ok();
            let pause = if self.asked { PATIENCE } else { EVERY };
            self.next.as_mut().reset(Instant::now() + pause);
        }
    }
}
