//! Who takes part, and since which index.

use omnipaxos::ClusterConfig;
use omnipaxos::util::NodeId;
use serde::{Deserialize, Serialize};

use crate::Index;

/// Most servers that one configuration may have. More voters cost latency and buy nothing; agents follow.
pub const MAX_MEMBERS: usize = 7;

/// Names one server for as long as its disk lives. A server that lost its disk is another server, and the host
/// draws another number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerId(pub u64);

impl std::fmt::Display for ServerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A server together with its disk: the first thing written to an empty disk, and never written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Which server.
    pub server: ServerId,
    /// A random number drawn when the disk was prepared. Configurations name it: should a host give an old
    /// server's number to an empty disk all the same, it has forgotten its promises, and is refused.
    pub disk: u64,
}

/// One set of voting servers, in office from `base` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Counts up from 1. Messages of two configurations never meet in one core.
    pub id: u32,
    /// Ascending by server, each once.
    members: Vec<Identity>,
    /// Last index that earlier configurations decided. A server may take part only with all of it on disk.
    pub base: Index,
}

impl Configuration {
    /// Sorts the members and drops duplicates.
    pub fn new(id: u32, mut members: Vec<Identity>, base: Index) -> Self {
        members.sort_unstable();
        members.dedup_by_key(|member| member.server);
        Self { id, members, base }
    }

    /// The voting servers, ascending.
    pub fn members(&self) -> &[Identity] {
        &self.members
    }

    /// The voting servers' numbers, ascending.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.members.iter().map(|member| member.server)
    }

    /// Whether this server votes.
    pub fn contains(&self, server: ServerId) -> bool {
        self.disk_of(server).is_some()
    }

    /// The disk with which a member takes part.
    pub fn disk_of(&self, server: ServerId) -> Option<u64> {
        self.at(server).map(|at| self.members[at].disk)
    }

    fn at(&self, server: ServerId) -> Option<usize> {
        self.members.binary_search_by_key(&server, |member| member.server).ok()
    }

    /// How many servers make a majority.
    pub fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// The core's number for a server. Ranks are dense, because the core's vectors are as long as the
    /// largest; they differ between configurations, and that is no harm, because no message crosses.
    pub(crate) fn rank(&self, server: ServerId) -> Option<NodeId> {
        self.at(server).map(|at| at as NodeId + 1)
    }

    /// The server behind one of the core's numbers.
    pub(crate) fn server(&self, rank: NodeId) -> Option<ServerId> {
        let at = usize::try_from(rank).ok()?.checked_sub(1)?;
        self.members.get(at).map(|member| member.server)
    }

    /// This configuration in the core's form.
    pub(crate) fn cluster(&self) -> ClusterConfig {
        let nodes = (1..=self.members.len() as NodeId).collect();
        ClusterConfig { configuration_id: self.id, nodes, flexible_quorum: None }
    }
}

/// The configuration that a sealed log names as the next one; its base is where that log ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    /// See [`Configuration::id`].
    pub id: u32,
    /// The next voting servers.
    pub members: Vec<Identity>,
}

impl Successor {
    /// In the form of the core's stop-sign: server and disk by turns, in its list of numbers. The core only
    /// carries that list, and wants it longer than one, which this is even for a lone member.
    pub(crate) fn to_cluster(&self) -> ClusterConfig {
        let nodes = self.members.iter().flat_map(|member| [member.server.0, member.disk]).collect();
        ClusterConfig { configuration_id: self.id, nodes, flexible_quorum: None }
    }

    /// Back from the core's form.
    pub(crate) fn from_cluster(cluster: &ClusterConfig) -> Self {
        let pairs = cluster.nodes.chunks_exact(2);
        let members = pairs.map(|pair| Identity { server: ServerId(pair[0]), disk: pair[1] }).collect();
        Self { id: cluster.configuration_id, members }
    }

    /// The configuration that begins where the sealed log ends.
    pub(crate) fn begin(self, base: Index) -> Configuration {
        Configuration::new(self.id, self.members, base)
    }
}
