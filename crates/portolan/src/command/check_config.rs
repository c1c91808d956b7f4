//! `portolan check-config`: the loader of `serve`, and then the addresses and the data directory.

use super::sources::SourceArgs;
use crate::cli::Global;
use crate::config::load;
use crate::daemon::identity;
use crate::exit::Result;
use crate::listeners::Listeners;
use crate::logging;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
    /// Look at the configuration only, not at this host's ports and folders
    #[arg(long)]
    offline: bool,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let loaded = load(&args.sources.sources()?)?;
    logging::parse(&loaded.config.logging.level)?;
    crate::compose::etcd::check(&loaded.config)?;
    if !args.offline {
        Listeners::reserve(&loaded.config, cluster::identity::exists(&loaded.config.node.data_dir), None)?;
        identity::check(&loaded.config.node.data_dir)?;
    }
    let given = loaded.settings.values().filter(|s| s.origin != crate::config::Origin::Default).count();
    let answer = serde_json::json!({ "ok": true, "settings": loaded.settings.len(), "given": given });
    global.out().one(&answer, || format!("ok: {given} of {} settings given", loaded.settings.len()))?;
    Ok(())
}
