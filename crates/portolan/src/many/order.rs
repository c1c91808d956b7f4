//! Whoever carries the order of a cluster, as the rest of the root sees it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use log::Log as _;
use log::etcd::Etcd;
use log::paxos::{Paxos, ServerId};

/// The order that a member shares with the others.
#[derive(Clone)]
pub(crate) enum SharedOrder {
    /// The cluster's own servers agree on it.
    Servers(Arc<Paxos>),
    /// etcd keeps it; this node's number beside.
    Etcd(Arc<Etcd>, u64),
}

impl SharedOrder {
    /// The number of who leads, as far as is known here.
    pub(crate) fn leader(&self) -> Option<u64> {
        match self {
            SharedOrder::Servers(log) => log.cluster().leader.map(|server| server.0),
            SharedOrder::Etcd(log, _) => log.status().leader,
        }
    }

    /// How long ago the leader was heard of; none where this node leads, or there is nothing to hear.
    pub(crate) fn last_contact(&self) -> Option<Duration> {
        match self {
            SharedOrder::Servers(log) => log.cluster().contact.map(|heard| heard.elapsed()),
            SharedOrder::Etcd(..) => None,
        }
    }

    /// Whether this node leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        let own = match self {
            SharedOrder::Servers(log) => log.cluster().me.server.0,
            SharedOrder::Etcd(_, own) => *own,
        };
        self.leader() == Some(own)
    }

    /// The numbers of those that vote; none of ours where etcd decides.
    pub(crate) fn voters(&self) -> Vec<u64> {
        match self {
            SharedOrder::Servers(log) => {
                let configuration = log.cluster().configuration;
                configuration.iter().flat_map(|known| known.servers()).map(|server| server.0).collect()
            }
            SharedOrder::Etcd(..) => Vec::new(),
        }
    }

    /// Why nothing can be decided here, where that is known.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        match self {
            SharedOrder::Servers(log) => {
                if log.cluster().leader.is_none() {
                    return Some("nobody leads, as far as this node knows: nothing can be decided");
                }
                // Who leads goes on doing so in its own eyes when the others are gone.
                log.status()
                    .cut_off
                    .then_some("no majority of the servers is in reach: nothing can be decided")
            }
            SharedOrder::Etcd(log, _) => {
                let cut_off = log.status().cut_off;
                cut_off.then_some("etcd cannot be reached, or has no leader: nothing can be decided")
            }
        }
    }

    /// Who votes, where that is the cluster's own affair.
    pub(crate) fn servers(&self) -> Option<&Arc<Paxos>> {
        match self {
            SharedOrder::Servers(log) => Some(log),
            SharedOrder::Etcd(..) => None,
        }
    }

    /// Takes away the vote of a server that has one and is not the last.
    ///
    /// # Errors
    /// The order's, when it cannot be done now.
    pub(crate) async fn take_vote(&self, server: u64) -> Result<(), log::paxos::ChangeError> {
        let SharedOrder::Servers(log) = self else { return Ok(()) };
        let server = ServerId(server);
        let configuration = log.cluster().configuration;
        match configuration.filter(|known| known.contains(server) && known.servers().count() > 1) {
            Some(_) => log.remove_server(server).await,
            None => Ok(()),
        }
    }
}

/// Refuses an order that is another cluster's: etcd would let anybody in who names its prefix.
///
/// # Errors
/// What to do about it.
pub(crate) fn must_be_ours(prefix: &str, found: &str, ours: &str, is_founder: bool) -> anyhow::Result<()> {
    match found {
        found if found == ours => Ok(()),
        "" if is_founder => Ok(()),
        "" => bail!(
            "what etcd keeps under {prefix} is no cluster's order, and this node belongs to cluster {ours}: \
             cluster.etcd.endpoints and cluster.etcd.prefix must say the same on all of its nodes"
        ),
        other => bail!(
            "etcd keeps the order of cluster {other} under {prefix}, and this node belongs to cluster {ours}: \
             give each cluster a prefix of its own, the same on all of its nodes"
        ),
    }
}
