//! Who belongs to the cluster, how others get in, and the wishes about both.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::Index;
use crate::trust::{Issuer, KeyHash, Mode};

pub use crate::level::FEATURES;

/// Id of the check that every node has, by the name that Consul's clients look for: whether the node lives.
pub const LIVENESS_CHECK: &str = "serfHealth";

/// What a node does for the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May vote on the order, keeps all of it, and signs certificates.
    Server,
    /// Follows.
    Agent,
}

impl Role {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Agent => "agent",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Role> {
        [Role::Server, Role::Agent].into_iter().find(|role| role.as_str() == word)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A node that wishes to belong to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name, the one in its certificate.
    pub name: Arc<str>,
    /// What it wishes to do.
    pub role: Role,
    /// Random number of its disk, drawn when that was prepared.
    pub disk: u64,
    /// Where its mesh is reached: `host:port` each, the best first.
    pub addresses: Vec<Arc<str>>,
    /// Hash of its public key.
    pub key: KeyHash,
    /// Its [`FEATURES`].
    pub features: u32,
}

/// A node that belongs to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Name.
    pub name: Arc<str>,
    /// What it does.
    pub role: Role,
    /// Number of the server in the order, 0 for an agent. Never given out twice.
    pub server_id: u64,
    /// See [`Candidate::disk`].
    pub disk: u64,
    /// See [`Candidate::addresses`].
    pub addresses: Vec<Arc<str>>,
    /// Hash of its public key.
    pub key: KeyHash,
    /// See [`FEATURES`].
    pub features: u32,
    /// When it was admitted, in Unix milliseconds.
    pub joined_ms: u64,
    /// Index of its admission.
    pub create_index: Index,
    /// Index of its last change.
    pub modify_index: Index,
}

/// What opens the door to new members. The secret itself is nowhere but in the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinSecret {
    /// Hash of the secret.
    pub hash: KeyHash,
    /// How many may still join with it.
    pub uses_left: u32,
    /// Not after this, in Unix milliseconds.
    pub expires_ms: u64,
    /// Most that may be joined as: a secret for servers also admits agents, not the reverse.
    pub role: Role,
    /// When it was made, in Unix milliseconds.
    pub created_ms: u64,
}

/// A token that may do anything, known by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Hash of the token.
    pub hash: KeyHash,
    /// Whose it is, for people.
    pub name: Arc<str>,
    /// When it was made, in Unix milliseconds.
    pub created_ms: u64,
}

/// Verdict on a node that fell silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// Boot epoch of the life that ended. A later one of the same node lifts the verdict.
    pub epoch: u64,
    /// Since when, in Unix milliseconds.
    pub since_ms: u64,
}

/// What begins a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The cluster's id, also its trust domain.
    pub cluster: Arc<str>,
    /// The first server.
    pub founder: Candidate,
    /// Its root certificate, DER, and the hash of its key.
    pub root: (KeyHash, Bytes),
    /// The founder's issuer.
    pub issuer: Issuer,
    /// Hash of the operator's token.
    pub operator: KeyHash,
}

/// Wishes about the cluster itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterCommand {
    /// Begins a cluster; from here on its mode is [`Mode::Enforce`].
    Found(Box<Founding>),
    /// Makes a join secret.
    CreateJoinSecret {
        /// Hash of the secret.
        hash: KeyHash,
        /// How many may join with it.
        uses: u32,
        /// Not after this, in Unix milliseconds.
        expires_ms: u64,
        /// See [`JoinSecret::role`].
        role: Role,
    },
    /// Takes a join secret away.
    RevokeJoinSecret {
        /// Hash of the secret.
        hash: KeyHash,
    },
    /// Admits a node, or takes it as it now is when it belongs already; the first uses up one use of the
    /// secret.
    Admit {
        /// Hash of the secret.
        secret: KeyHash,
        /// Who wishes to join.
        candidate: Candidate,
        /// The issuer of a new server.
        #[serde(default)]
        issuer: Option<Issuer>,
    },
    /// A member's address, disk or version changed.
    UpdateMember {
        /// Name.
        name: Arc<str>,
        /// See [`Candidate::addresses`].
        addresses: Vec<Arc<str>>,
        /// See [`FEATURES`].
        features: u32,
    },
    /// Takes a member away with everything on it, and denies its keys.
    RemoveMember {
        /// Name.
        name: Arc<str>,
    },
    /// A server signs with this from now on.
    SetIssuer(Issuer),
    /// Trusts another root, which signs nothing yet.
    AddRoot {
        /// Hash of its public key.
        key: KeyHash,
        /// The certificate, DER.
        certificate: Bytes,
        /// See [`crate::trust::Root::cross`].
        cross: Option<Bytes>,
    },
    /// Signs with this root from now on; the one before it retires.
    PromoteRoot {
        /// Hash of its public key.
        key: KeyHash,
    },
    /// Trusts a root no longer. The active one cannot be dropped.
    DropRoot {
        /// Hash of its public key.
        key: KeyHash,
    },
    /// Nobody may use this key any more.
    Deny {
        /// Hash of the public key.
        key: KeyHash,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// Takes a denial back.
    Allow {
        /// Hash of the public key.
        key: KeyHash,
    },
    /// How strictly to ask from now on.
    SetMode(Mode),
    /// Makes an operator's token known.
    AddOperator {
        /// Hash of the token.
        hash: KeyHash,
        /// Whose it is, for people.
        name: Arc<str>,
    },
    /// Takes an operator's token away.
    RemoveOperator {
        /// Hash of the token.
        hash: KeyHash,
    },
    /// A node fell silent in this life of it: everything that lives by it is critical until it is back.
    NodeDown {
        /// Node name.
        node: Arc<str>,
        /// Boot epoch that was watched.
        epoch: u64,
    },
    /// It speaks again.
    NodeUp {
        /// Node name.
        node: Arc<str>,
        /// Boot epoch that was declared down.
        epoch: u64,
    },
    /// The proposer keeps an instance's lease from now on, because the node that kept it is down.
    Claim {
        /// Node that the instance is registered on.
        node: Arc<str>,
        /// Instance id.
        id: Arc<str>,
    },
}

/// Why a wish about the cluster was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterRefusal {
    /// Nobody has begun a cluster.
    #[error("there is no cluster yet: run `portolan init` on its first host")]
    NotFounded,
    /// There is one.
    #[error("this node belongs to cluster {0} already")]
    AlreadyFounded(Arc<str>),
    /// No such secret.
    #[error(
        "the join token is not known here: it was revoked, it ran out, or it is of another cluster; make another with `portolan token create`"
    )]
    UnknownSecret,
    /// Too late.
    #[error("the join token expired; make another with `portolan token create`")]
    ExpiredSecret,
    /// Used up.
    #[error("the join token was used as often as it may be; make another with `portolan token create`")]
    SpentSecret,
    /// Not for servers.
    #[error(
        "the join token admits agents, not servers; make another with `portolan token create --role server`"
    )]
    AgentsOnly,
    /// Somebody else has the name.
    #[error(
        "a member with another key is named \"{0}\" already: choose another name, or run `portolan remove {0}` first if that host lost its disk"
    )]
    NameTaken(Arc<str>),
    /// Somebody else has the key.
    #[error(
        "member \"{0}\" has this key already: two nodes cannot share one, remove the copied data directory"
    )]
    KeyTaken(Arc<str>),
    /// The key is on the deny list.
    #[error("the key {0} is denied: the node needs a new one, which an empty data directory gives it")]
    DeniedKey(KeyHash),
    /// A server needs an issuer, signed for its own key.
    #[error("a server must bring a certificate with which it signs others")]
    NoIssuer,
    /// Its version is older than the state.
    #[error(
        "the version of \"{name}\" understands feature level {has}, and what this cluster has agreed on needs {needs}: install the version that the other members run, then try again"
    )]
    TooOld {
        /// The node.
        name: Arc<str>,
        /// What it understands.
        has: u32,
        /// What it would have to.
        needs: u32,
    },
    /// Not a member.
    #[error("\"{0}\" is no member of the cluster")]
    UnknownMember(Arc<str>),
    /// Nobody would be left.
    #[error("\"{0}\" is the last server: without it there is no cluster")]
    LastServer(Arc<str>),
    /// Not a root.
    #[error("no root with the key {0} is trusted")]
    UnknownRoot(KeyHash),
    /// The root is in use.
    #[error("the root with the key {0} still signs: make another active first")]
    RootInUse(KeyHash),
    /// The node has restarted since.
    #[error("node \"{node}\" is in boot epoch {now}, the verdict was about {was}")]
    OtherEpoch {
        /// Node name.
        node: Arc<str>,
        /// Epoch that the verdict was about.
        was: u64,
        /// Epoch now.
        now: u64,
    },
    /// The node is down, and only its return changes that.
    #[error("node \"{0}\" is down; whether it lives is not for others to say")]
    Down(Arc<str>),
    /// Whoever keeps the lease lives.
    #[error("node \"{0}\" keeps this lease, and it is not down")]
    OwnerLives(Arc<str>),
    /// A limit.
    #[error("there are {most} {what} already, and that is the most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        most: usize,
    },
}
