//! The small process beside the daemon that alone may change the host's network.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use hostnet::firewall::{self, guard};
use state::{Publisher, Reader, Report};

use catalog::exposure::Openings;

/// Name of the hidden command that it runs.
pub(crate) const COMMAND: &str = "guard";

/// That process. It ends when this value does.
pub(crate) struct Guard {
    stream: UnixStream,
    child: Child,
}

impl Guard {
    /// Starts it, where there is something to guard and we may, and gives the right up in this process: to be
    /// called before there are other threads.
    ///
    /// # Errors
    /// Programs or rights that the kernel does not give.
    pub(crate) fn start(config: &firewall::Config) -> anyhow::Result<Option<Guard>> {
        if config.mode == firewall::Mode::Off || !sys::privilege::may_change_network() {
            return Ok(None);
        }
        let (stream, theirs) = UnixStream::pair().context("make a pair of sockets for the guard")?;
        let program = std::env::current_exe().context("find this program for the guard")?;
        let mut command = Command::new(program);
        // Under another name it would be another program's command line.
        command.arg0("portolan").arg(COMMAND).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let child = command.spawn().context("start the guard")?;
        sys::privilege::give_up_network().context("give the right to change the network up")?;
        Ok(Some(Guard { stream, child }))
    }

    /// Keeps the firewall as [`firewall::run`] does, by that process.
    pub(crate) async fn run(
        &self,
        config: firewall::Config,
        openings: Reader<Openings>,
        reports: Publisher<Report>,
    ) {
        match self.stream.try_clone() {
            Ok(stream) => guard::run(stream, config, openings, reports).await,
            Err(cause) => tracing::error!(%cause, "the guard cannot be spoken to"),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The end of the stream is its word to leave; a clone of it may still be held by a task.
        drop(self.stream.shutdown(std::net::Shutdown::Both));
        drop(self.child.wait());
    }
}
