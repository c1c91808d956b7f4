//! The clock of a connection: how long the client may take, and the daemon's drain.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::forward::Client;
use super::patience::{Limits, Patience, Verdict};
use super::refusal::Refusal;
use super::two::SEND_BUFFER;
use crate::config::Http;

/// How long clients may take.
pub(super) fn time_limits(config: &Http) -> Limits {
    Limits {
        head: config.head_timeout,
        stall: config.stall_timeout,
        idle: config.idle_timeout,
        rate: config.min_rate,
    }
}

/// What the connection's task is to do.
pub(super) enum Step {
    /// Poll again: something was refused.
    Look,
    /// Answer what was asked and take no more.
    GoAway,
    /// Now.
    Close,
    /// Now, and tell the client why: it goes on and on with what costs only us.
    Calm,
}

/// The clock of a connection: patience, and the daemon's drain.
pub(super) struct Watch<'a> {
    client: &'a Client,
    patience: Patience,
    look: Pin<Box<tokio::time::Sleep>>,
    leaving: bool,
    stall: Duration,
}

impl<'a> Watch<'a> {
    pub(super) fn new(client: &'a Client, config: &Http) -> Watch<'a> {
        let patience = Patience::new(time_limits(config));
        let look = Box::pin(sleep(patience.interval()));
        Watch { client, patience, look, leaving: false, stall: config.stall_timeout }
    }

    pub(super) async fn next(&mut self) -> Step {
        let face = &self.client.context.face;
        loop {
            tokio::select! {
                biased;
                () = face.drain.started(), if !self.leaving => {
                    self.leaving = true;
                    return Step::GoAway;
                }
                () = face.deadline(), if self.leaving => return Step::Close,
                () = self.client.state.hurries() => {
                    face.metrics.hasty_clients.inc();
                    tracing::info!(client = %self.client.peer, "closed a connection: too much was given up, or meant nothing");
                    return Step::Calm;
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
            match self.patience.look(self.client.state.seen(), local) {
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
