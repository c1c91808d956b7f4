//! `portolan serve`: a durable node, on loopback unless the configuration says more.

use super::daemon::{self, Daemon};
use super::sources::SourceArgs;
use crate::cli::Global;
use crate::compose::Memory;
use crate::config::{Config, Flag, load};
use crate::exit::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
    /// Open NetSel's ports too: its protocol on 127.0.0.1:9000, DNS on 127.0.0.1:5353 (its proxies' ports, 8080
    /// and 8081, are ours already)
    #[arg(long)]
    netsel: bool,
}

/// What `--netsel` stands for.
const NETSEL: [(&str, &str); 2] =
    [("netsel.listen", "127.0.0.1:9000"), ("dns.listen", "127.0.0.1:8600, 127.0.0.1:5353")];

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let mut sources = args.sources.sources()?;
    if args.netsel {
        let flag = |(key, value): (&str, &str)| Flag {
            name: "--netsel".into(),
            key: key.into(),
            value: value.into(),
        };
        // Before the other flags: a `--set` of the same key is meant more precisely.
        sources.flags.splice(0..0, NETSEL.map(flag));
    }
    let loaded = load(&sources)?;
    let memory = Memory::Durable(loaded.config.node.data_dir.clone());
    daemon::run(Daemon { sources, defaults: Config::default(), loaded, memory, greet: None }, global)
}
