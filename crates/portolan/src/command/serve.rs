//! `portolan serve`: a durable node, on loopback unless the configuration says more.

use super::daemon::{self, Daemon};
use super::sources::SourceArgs;
use crate::cli::Global;
use crate::compose::Memory;
use crate::config::{Config, load};
use crate::exit::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let sources = args.sources.sources()?;
    let loaded = load(&sources)?;
    let memory = Memory::Durable(loaded.config.node.data_dir.clone());
    daemon::run(Daemon { sources, defaults: Config::default(), loaded, memory, greet: None }, global)
}
