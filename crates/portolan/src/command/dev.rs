//! `portolan dev`: a node in memory on loopback, and what to type next.

use super::daemon::{self, Daemon};
use super::sources::SourceArgs;
use crate::cli::Global;
use crate::compose::{Memory, Node};
use crate::config::{Config, load_over};
use crate::exit::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let sources = args.sources.sources()?;
    let defaults = Config::default();
    let loaded = load_over(&sources, &defaults)?;
    daemon::run(Daemon { sources, defaults, loaded, memory: Memory::Volatile, greet: Some(banner) }, global)
}

fn banner(node: &Node) -> String {
    format!("portolan {}: node \"{}\", in memory", env!("CARGO_PKG_VERSION"), node.identity.name)
}
