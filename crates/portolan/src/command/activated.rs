//! Commands that are handed their sockets: what stands between `portolan run --listen` and the command.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};

use crate::exit::{Exit, Failure, Result};

/// Most commands at a time that `--inetd` runs; further connections wait.
const MOST_AT_ONCE: usize = 256;

/// Puts what it has on standard input where programs written for systemd look for it, and becomes the command: only
/// the process itself knows the number that LISTEN_PID must have.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the socket is called
    name: String,
    /// Command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::new(Exit::Usage, anyhow!("there is no command after --")));
    };
    sys::activation::hand_on(std::io::stdin().as_fd()).context("put the socket in its place")?;
    let mut command = std::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.env("LISTEN_PID", std::process::id().to_string());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", &args.name);
    let cause = command.exec();
    eprintln!("portolan: start {}: {cause}", program.to_string_lossy());
    let not_found = cause.kind() == std::io::ErrorKind::NotFound;
    Ok(ExitCode::from(if not_found { 127 } else { 126 }))
}

/// The command with `listener` as its socket.
pub(crate) fn command(name: &str, command: &[OsString], listener: impl Into<OwnedFd>) -> Result<Command> {
    let own = std::env::current_exe().context("find this program")?;
    let mut through = Command::new(own);
    through.arg("activated").arg(name).arg("--").args(command).stdin(listener.into());
    Ok(through)
}

/// Runs the command for each connection, with that on its standard input and output, until told to leave.
pub(crate) async fn inetd(
    listener: &TcpListener,
    command: &[OsString],
    signals: &mut mpsc::Receiver<Signal>,
) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("there is no command after --")?;
    let listener = listener.try_clone().context("take the listener")?;
    listener.set_nonblocking(true).context("take the listener")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("watch the listener")?;
    let room = Arc::new(Semaphore::new(MOST_AT_ONCE));
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await?;
            anyhow::Ok((listener.accept().await?.0, place))
        };
        let (connection, place) = tokio::select! {
            next = next => next.context("accept a connection")?,
            Some(signal) = signals.recv() => match signal {
                Signal::TERM | Signal::INT | Signal::QUIT => return Ok(()),
                _ => continue,
            },
        };
        let connection = connection.into_std()?;
        connection.set_nonblocking(false)?;
        let out = connection.try_clone()?;
        let spawned = Command::new(program)
            .args(arguments)
            .stdin(OwnedFd::from(connection))
            .stdout(OwnedFd::from(out))
            .spawn();
        let mut child = spawned.with_context(|| format!("start {}", program.to_string_lossy()))?;
        tokio::spawn(async move {
            let _ = child.wait().await;
            drop(place);
        });
    }
}
