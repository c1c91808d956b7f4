//! `portolan join TOKEN`: this host becomes part of a cluster, whether its daemon runs or not.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use consul::own::{JoinRequest, Joined};

use super::begin::{Where, wait_for_member, wait_for_voters};
use super::sources::SourceArgs;
use crate::cli::Global;
use crate::config::load;
use crate::exit::{Exit, Failure, Result};
use crate::many::begin;

/// A join goes to another host and back, several times.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What `portolan token create` printed on a host of the cluster; `-` reads it from standard input, so that it
    /// stands in no list of processes
    #[arg(env = "PORTOLAN_JOIN_TOKEN", hide_env_values = true)]
    token: String,
    /// Join although this node holds keys of its own: they are lost by it
    #[arg(long)]
    discard: bool,
    #[command(flatten)]
    sources: SourceArgs,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let global = Global { timeout: global.timeout.max(PATIENCE), ..global.clone() };
    let most = load(&args.sources.sources()?)?.config.cluster.voters;
    super::block_on(async move {
        // Before standard input is read: this may go on as another process.
        let place = Where::find(&args.sources, &global).await?;
        let token = token(args.token)?;
        let request = JoinRequest { token: token.as_str().into(), discard: args.discard };
        let (joined, runs) = match &place {
            Where::Running(remote) => {
                let joined: Joined = remote.put("/v1/portolan/join", &request).await?;
                wait_for_member(remote).await?;
                if &*joined.role == "server" && !wait_for_voters(remote, most).await {
                    eprintln!("not all servers that are to vote do so yet: `portolan members` shows them");
                }
                (joined, true)
            }
            Where::Idle(home, config) => (begin::join(home, config, &request, None).await?, false),
        };
        Ok(global.out().one(&joined, || text(&joined, runs))?)
    })
}

fn token(given: String) -> Result<String> {
    if given != "-" {
        return Ok(given);
    }
    let mut text = String::new();
    std::io::stdin()
        .take(64 << 10)
        .read_to_string(&mut text)
        .context("read the token from standard input")?;
    match text.trim() {
        "" => Err(Failure::new(Exit::Usage, anyhow!("there is no token on standard input"))),
        token => Ok(token.to_owned()),
    }
}

fn text(joined: &Joined, runs: bool) -> String {
    let state = match runs {
        true => "Its daemon runs, and goes on as a member.",
        false => "No daemon runs here; `portolan serve` starts it as a member.",
    };
    format!("node \"{}\" joined cluster {} as {}.\n{state}", joined.node, joined.cluster, joined.role)
}
