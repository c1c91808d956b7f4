//! What the engine's thread and the log's users both see.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use paxos::{Configuration, Identity, ServerId};

use super::engine::Engine;
use super::inbox::Inbox;
use crate::Index;
use crate::solo::journal::Syncs;

/// A number of the log's state.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) last: Index,
    pub(crate) checkpoint: Index,
    pub(crate) bytes: u64,
    pub(crate) syncs: Syncs,
    pub(crate) stopped: Option<String>,
}

/// What an operator wants to see of the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    /// This node.
    pub me: Identity,
    /// Who leads as far as this node knows.
    pub leader: Option<ServerId>,
    /// When the leader was heard of last; none while this node has heard of none, or leads itself.
    pub contact: Option<Instant>,
    /// The newest configuration of voting servers that this node has taken up; none before it has heard of one.
    pub configuration: Option<Configuration>,
    /// Last index that the reader of this log was handed.
    pub applied: Index,
    /// Peers that speak with this node.
    pub peers: Vec<PeerStatus>,
    /// From whom state is being fetched, if this node lacks some.
    pub fetching_from: Option<ServerId>,
    /// Peers that were not listened to, and why; the last reason of each.
    pub refused: BTreeMap<ServerId, String>,
    /// This server votes no more, and the others can do without it: it may be switched off.
    pub released: bool,
}

/// One peer that speaks with this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which.
    pub server: ServerId,
    /// Last index that it said it was handed.
    pub applied: Index,
    /// How many entries it is behind this node.
    pub lag: u64,
    /// The disk that it named.
    pub disk: u64,
}

impl ClusterStatus {
    pub(crate) fn new(me: Identity) -> Self {
        Self {
            me,
            leader: None,
            contact: None,
            configuration: None,
            applied: 0,
            peers: Vec::new(),
            fetching_from: None,
            refused: BTreeMap::new(),
            released: false,
        }
    }

    /// Whether this node votes.
    pub fn votes(&self) -> bool {
        let disk = self.configuration.as_ref().and_then(|known| known.disk_of(self.me.server));
        disk == Some(self.me.disk)
    }

    /// Whether somebody decides, as far as this node knows: it speaks with the leader, or leads and speaks with
    /// a majority.
    pub fn in_contact(&self) -> bool {
        let speaks = |server| server == self.me.server || self.peers.iter().any(|peer| peer.server == server);
        let Some(leader) = self.leader.filter(|leader| speaks(*leader)) else { return false };
        let Some(voters) = self.configuration.as_ref().map(Configuration::members) else { return true };
        let in_sight = voters.iter().filter(|voter| speaks(voter.server)).count();
        leader != self.me.server || 2 * in_sight > voters.len()
    }
}

pub(crate) struct Shared {
    pub(crate) inbox: Inbox,
    progress: Mutex<Progress>,
    cluster: Mutex<ClusterStatus>,
}

impl Shared {
    pub(crate) fn new(inbox: Inbox, progress: Progress, cluster: ClusterStatus) -> Self {
        Self { inbox, progress: Mutex::new(progress), cluster: Mutex::new(cluster) }
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cluster(&self) -> MutexGuard<'_, ClusterStatus> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Lets users see how the servers stand.
    pub(super) fn publish_cluster(&mut self) {
        let leader = self.driver.leader_hint();
        if self.leader != leader {
            self.leader = leader;
            self.contact = leader.filter(|leader| *leader != self.me.server).map(|_| Instant::now());
        }
        let status = self.driver.status();
        let configuration = self.driver.image(|image| image.configuration().cloned());
        let peer = |(server, applied): (ServerId, Index)| PeerStatus {
            server,
            applied,
            lag: status.emitted.saturating_sub(applied),
            disk: self.driver.disk_of(server).unwrap_or(0),
        };
        let mut cluster = self.shared.cluster();
        cluster.leader = leader;
        cluster.contact = self.contact;
        cluster.configuration = configuration;
        cluster.applied = status.emitted;
        cluster.peers = status.peers.iter().copied().map(peer).collect();
        cluster.fetching_from = status.pulling;
        // A peer that speaks is listened to again.
        for peer in &status.peers {
            cluster.refused.remove(&peer.0);
        }
    }
}
