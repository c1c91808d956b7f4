//! What the operator says to a running process: leave, or read the configuration again.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// SIGTERM or SIGINT, by its name.
    Leave(&'static str),
    /// SIGHUP.
    Reload,
}

/// The signals of this process. From here on they do not end it by themselves.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn listen() -> anyhow::Result<Signals> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// The next word. Cancel safe.
    pub(crate) async fn next(&mut self) -> Word {
        tokio::select! {
            _ = self.terminate.recv() => Word::Leave("SIGTERM"),
            _ = self.interrupt.recv() => Word::Leave("SIGINT"),
            _ = self.hangup.recv() => Word::Reload,
        }
    }
}
