//! `portolan serve`: a durable node, on loopback unless the configuration says more.

use std::path::PathBuf;

use anyhow::Context as _;

use super::daemon::{self, Daemon};
use super::sources::SourceArgs;
use crate::cli::Global;
use crate::compose::Memory;
use crate::config::{Config, Flag, load};
use crate::exit::{Exit, Failure, Result};
use crate::{logging, px};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
    /// Open NetSel's ports too: its protocol on 127.0.0.1:9000, DNS on 127.0.0.1:5353 (its proxies' ports, 8080
    /// and 8081, are ours already)
    #[arg(long)]
    netsel: bool,
    /// Run a px node instead, with this file: the mesh and one agreed order of lines, and nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "netsel")]
    px: Option<PathBuf>,
    /// With --px: also print the lines of earlier runs, from this place in the order on
    #[arg(long, value_name = "INDEX", requires = "px")]
    from: Option<u64>,
    /// End with the process that started this one, however that ends
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// What `--netsel` stands for.
const NETSEL: [(&str, &str); 2] =
    [("netsel.listen", "127.0.0.1:9000"), ("dns.listen", "127.0.0.1:8600, 127.0.0.1:5353")];

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let mut sources = args.sources.sources()?;
    if args.with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .context("ask the kernel to end this process with its parent")?;
    }
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
    if let Some(file) = args.px {
        return run_px(file, args.from, &loaded.config, global);
    }
    let memory = Memory::Durable(loaded.config.node.data_dir.clone());
    daemon::run(
        Daemon {
            sources,
            defaults: Config::default(),
            loaded,
            memory,
            greet: None,
            notes: Vec::new(),
            definitions: None,
        },
        global,
    )
}

/// A px node takes from the configuration where things are kept and how it logs, and nothing else.
fn run_px(file: PathBuf, from: Option<u64>, config: &Config, global: &Global) -> Result {
    logging::start(&config.logging, global.out().colored_errors())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    let data_dir = config.node.data_dir.join("px");
    let ended = runtime.block_on(px::run(px::Node { file, data_dir, from }));
    // A thread may sit in a read of standard input.
    runtime.shutdown_background();
    ended.map_err(|cause| match cause.downcast_ref() {
        Some(::px::ConfigError::Syntax { .. } | ::px::ConfigError::Value { .. }) => {
            Failure::new(Exit::Usage, cause)
        }
        _ => cause.into(),
    })
}
