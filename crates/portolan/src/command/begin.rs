//! Where `init` and `join` do their work: in the daemon that runs, or in the data directory of none.

use std::time::Duration;

use consul::own::{ClusterStatus, Member};

use super::sources::SourceArgs;
use crate::cli::Global;
use crate::config::{Config, load};
use crate::daemon::home::Home;
use crate::exit::{Exit, Failure, Result};
use crate::remote::Remote;

/// How long a new server may take until it votes.
const VOTE: Duration = Duration::from_secs(10);
/// Between two looks at a daemon that starts again.
const AGAIN: Duration = Duration::from_millis(50);

/// Where a node becomes a member.
pub(crate) enum Where {
    /// In a daemon.
    Running(Remote),
    /// In a data directory that nobody uses.
    Idle(Home, Box<Config>),
}

impl Where {
    /// The daemon that was named, else the one that has this data directory, else the directory itself.
    pub(crate) fn find(sources: &SourceArgs, global: &Global) -> Result<Where> {
        let config = load(&sources.sources()?)?.config;
        if let Some(remote) = Remote::named(global, &config.node.data_dir)? {
            return Ok(Where::Running(remote));
        }
        let home = Home::claim(&config.node.data_dir).map_err(|cause| {
            let advice = "the daemon that has it answers on no Unix socket there: name its API with --api";
            Failure::new(Exit::Failure, cause).advise(advice)
        })?;
        Ok(Where::Idle(home, Box::new(config)))
    }
}

/// Waits until the daemon has started again as a member, and finds itself in the cluster's own list.
pub(crate) async fn wait_for_member(remote: &Remote) -> Result {
    let member = async {
        while !lists_itself(remote).await.unwrap_or(false) {
            tokio::time::sleep(AGAIN).await;
        }
    };
    remote.until("the daemon to start again as a member", member).await
}

/// A server that is to vote is worth waiting for: until then the loss of another may be that of a majority. False when
/// it takes long; nothing is wrong then.
pub(crate) async fn wait_for_voters(remote: &Remote, most: usize) -> bool {
    let settled = async {
        while !have_voters(remote, most).await.unwrap_or(false) {
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::time::timeout(VOTE, settled).await.is_ok()
}

async fn have_voters(remote: &Remote, most: usize) -> std::result::Result<bool, client::Error> {
    let own = remote.client.get::<ClusterStatus>("/v1/portolan/status").await?.value.own;
    let members = remote.client.get::<Vec<Member>>("/v1/portolan/members").await?.value;
    let servers = members.iter().filter(|member| &*member.role == "server").count();
    Ok(&*own.engine == "etcd" || own.voters.len() >= servers.min(most))
}

/// It answers nothing for the moment in which it starts again, and what it finds on disk or at a server comes a
/// moment later.
async fn lists_itself(remote: &Remote) -> std::result::Result<bool, client::Error> {
    let own = remote.client.get::<ClusterStatus>("/v1/portolan/status").await?.value.own;
    let members = remote.client.get::<Vec<Member>>("/v1/portolan/members").await?.value;
    Ok(!own.cluster.is_empty() && members.iter().any(|member| member.name == own.node))
}
