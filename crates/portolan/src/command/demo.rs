//! `portolan demo`: a node, three small real services, and what becomes of them when they die.

mod ask;
pub(crate) mod service;
mod show;
mod story;

use std::time::Duration;

use anyhow::{Context as _, anyhow};

use crate::cli::Global;
use crate::exit::Result;
use show::Show;

/// Longest that all of it may take.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: Args, global: &Global) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")?;
    let mut show = Show::new(global.out());
    let told = runtime.block_on(async {
        tokio::select! {
            told = tokio::time::timeout(LIMIT, story::tell(&mut show)) => {
                told.unwrap_or_else(|_| Err(anyhow!("the demo took longer than {LIMIT:?}")))
            }
            _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        }
    });
    // The story has ended one way or the other: its services are killed and waited for when it is dropped.
    runtime.shutdown_timeout(Duration::from_secs(2));
    told?;
    show.end()?;
    Ok(())
}
