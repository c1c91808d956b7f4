//! `portolan guard`: the process that the daemon starts to change the host's network for it. Not for people.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use anyhow::Context as _;
use sys::host::ThisHost;

use crate::cli::Global;
use crate::config::{LogFormat, Logging};
use crate::exit::Result;
use crate::logging;
use crate::signals::Signals;

pub(crate) fn run(global: &Global) -> Result {
    let level = std::env::var("RUST_LOG").ok().filter(|level| !level.is_empty());
    let level = level.unwrap_or_else(|| "info".to_owned());
    logging::start(&Logging { level, format: LogFormat::Auto }, global.out().colored_errors())?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().context("take the socket")?;
    let endings = std::io::stdout().as_fd().try_clone_to_owned().context("take the second socket")?;
    std::thread::Builder::new()
        .name("endings".to_owned())
        .spawn(move || {
            if let Err(cause) = hostnet::endings::serve(UnixStream::from(endings), &ThisHost) {
                tracing::error!(%cause, "connections are ended no more");
            }
        })
        .context("start a thread")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start a runtime")?.block_on(async {
        // Whoever ends the daemon by a signal to all of its group: it withdraws first, and we go with it.
        let _signals = Signals::listen()?;
        let stream = UnixStream::from(stdin);
        stream.set_nonblocking(true).context("take the socket")?;
        let stream = tokio::net::UnixStream::from_std(stream);
        let stream = stream.context("this is started by the daemon, with a socket as its standard input")?;
        hostnet::firewall::guard::serve(stream).await.context("guard the host's firewall")
    })?;
    Ok(())
}
