//! `portolan recover --without NODE`: of two servers that vote one is lost for good, and the other goes on.

use std::fmt::Write as _;

use anyhow::{Context as _, anyhow};
use serde::Serialize;

use super::begin::go_on_as_owner;
use super::sources::SourceArgs;
use crate::cli::Global;
use crate::compose;
use crate::config::load;
use crate::daemon::home::Home;
use crate::exit::{Exit, Failure, Result};
use crate::many::member::Membership;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server that will never come back as it was
    #[arg(long, value_name = "NODE")]
    without: String,
    #[command(flatten)]
    sources: SourceArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Recovered {
    last_index: u64,
    voters: Vec<String>,
}

pub(crate) fn run(args: &Args, global: &Global) -> Result {
    let config = load(&args.sources.sources()?)?.config;
    go_on_as_owner(&config.node.data_dir)?;
    let home = Home::claim(&config.node.data_dir).map_err(|cause| {
        Failure::new(Exit::Failure, cause)
            .advise("stop this node's daemon first, and start it again afterwards")
    })?;
    let member = Membership::load(Some(&home))?;
    let member = member.ok_or_else(|| anyhow!("this node is no member of a cluster"))?;
    let lost = member.server_called(&args.without);
    let lost = lost.with_context(|| format!("this node knows no server called \"{}\"", args.without))?;
    let gone_on = compose::recover(&config, &home, &member, lost)
        .with_context(|| format!("go on without \"{}\"", args.without))?;
    let voters = gone_on.voters.iter().map(|server| member.name_of(server.0)).collect();
    let shown = Recovered { last_index: gone_on.last, voters };
    Ok(global.out().one(&shown, || text(&shown, &args.without))?)
}

fn text(shown: &Recovered, lost: &str) -> String {
    let mut text = format!(
        "the order goes on from index {}; who votes: {}.\n",
        shown.last_index,
        shown.voters.join(", ")
    );
    let _ = write!(
        text,
        "Start this node's daemon again, and do this on no other node. When others vote beside it:\n\n\
         \x20                         portolan remove {lost}      (if it is gone for good)"
    );
    text
}
