//! `portolan init`: this host becomes the first of a cluster, whether its daemon runs or not.

use consul::own::{InitRequest, Initialised};

use super::begin::{Where, wait_for_member};
use super::sources::SourceArgs;
use crate::cli::Global;
use crate::exit::Result;
use crate::many::begin;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    super::block_on(async move {
        let place = Where::find(&args.sources, global).await?;
        let (begun, runs) = match &place {
            Where::Running(remote) => {
                let begun: Initialised = remote.put("/v1/portolan/init", &InitRequest::default()).await?;
                wait_for_member(remote).await?;
                (begun, true)
            }
            Where::Idle(home, config) => (begin::init(home, config, None)?, false),
        };
        Ok(global.out().one(&begun, || text(&begun, runs))?)
    })
}

fn text(begun: &Initialised, runs: bool) -> String {
    let state = match runs {
        true => "Its daemon runs, and goes on as the cluster's first server.",
        false => "No daemon runs here; `portolan serve` starts the cluster's first server.",
    };
    format!(
        "node \"{}\" is the first of cluster {}, and is reached by others at {}.\n{state}\n\n\
         Changes need a token from now on, unless root or the daemon's own user asks on this host. The\n\
         operator's token is in {}\n\n\
         Between services nothing is allowed that no rule allows:\n\
         \x20                         portolan allow WHO SERVICE   (or `allow any any` for now)\n\n\
         For every further host:   portolan token create      (here)\n\
         \x20                         portolan join TOKEN        (there)",
        begun.node,
        begun.cluster,
        begun.addresses.join(", "),
        begun.operator_token_file
    )
}
