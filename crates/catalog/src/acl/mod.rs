//! Who may do what: tokens, policies and roles. Replicated as they were given; what they add up to is compiled
//! elsewhere, from a snapshot.
//!
//! A token's secret is not here, only its SHA-256: whoever steals a checkpoint or a log can use no token.

mod command;
mod state;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::Index;
use crate::trust::KeyHash;

pub use command::{AclCommand, AclRefusal};
pub use state::{Acl, AclIndexes};

/// Accessor of the token that stands for whoever shows none.
pub const ANONYMOUS: &str = "00000000-0000-0000-0000-000000000002";
/// Id of the policy that allows everything.
pub const MANAGEMENT: &str = "00000000-0000-0000-0000-000000000001";
/// Name of that policy.
pub const MANAGEMENT_NAME: &str = "global-management";
/// Ids that begin so are not given out.
pub const RESERVED: &str = "00000000-0000-0000-0000-0000000000";

/// Most tokens.
pub const MAX_TOKENS: usize = 100_000;
/// Most policies, and most roles.
pub const MAX_POLICIES: usize = 10_000;
/// Longest rules of one policy, in bytes.
pub const MAX_RULES: usize = 256 * 1024;
/// Most policies, roles or identities that one token or role is linked to.
pub const MAX_LINKS: usize = 1024;

/// What holds where no rule says anything. Access to these lists themselves is never allowed by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultPolicy {
    /// Everything is allowed.
    Allow,
    /// What only looks is allowed: how a cluster begins.
    #[default]
    Read,
    /// Nothing is.
    Deny,
}

impl DefaultPolicy {
    /// The word for it in configuration files and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            DefaultPolicy::Allow => "allow",
            DefaultPolicy::Read => "read",
            DefaultPolicy::Deny => "deny",
        }
    }

    /// Reads that word.
    pub fn parse(word: &str) -> Option<DefaultPolicy> {
        [DefaultPolicy::Allow, DefaultPolicy::Read, DefaultPolicy::Deny]
            .into_iter()
            .find(|policy| policy.as_str() == word)
    }
}

/// The rules that a service with this name needs for itself, without writing them down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceIdentity {
    /// Service name.
    pub service: Arc<str>,
    /// Datacenters that it counts in; none is all.
    #[serde(default)]
    pub datacenters: Vec<Arc<str>>,
}

/// The rules that the agent of this node needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// Node name.
    pub node: Arc<str>,
    /// Datacenter that it counts in.
    pub datacenter: Arc<str>,
}

/// What a token or a role adds up to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// Ids of policies.
    #[serde(default)]
    pub policies: Vec<Arc<str>>,
    /// Ids of roles; a role has none.
    #[serde(default)]
    pub roles: Vec<Arc<str>>,
    /// Services.
    #[serde(default)]
    pub services: Vec<ServiceIdentity>,
    /// Nodes.
    #[serde(default)]
    pub nodes: Vec<NodeIdentity>,
}

/// A token, known by the hash of its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclToken {
    /// What it is called by; not secret.
    pub accessor: Arc<str>,
    /// Hash of the secret.
    pub secret: KeyHash,
    /// For people.
    #[serde(default)]
    pub description: Arc<str>,
    /// What it may do.
    #[serde(default)]
    pub links: Links,
    /// Good in this datacenter only. There is no other; kept because clients read it back.
    #[serde(default)]
    pub local: bool,
    /// Good before this, in Unix milliseconds.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// When it was made, in Unix milliseconds; set when it is applied.
    #[serde(default)]
    pub created_ms: u64,
    /// Index of its creation; set when it is applied.
    #[serde(default)]
    pub create_index: Index,
    /// Index of its last change; set when it is applied.
    #[serde(default)]
    pub modify_index: Index,
}

impl AclToken {
    /// Whether it is good for nothing any more.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|end| end <= now_ms)
    }
}

/// Rules under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclPolicy {
    /// UUID text.
    pub id: Arc<str>,
    /// Unique.
    pub name: Arc<str>,
    /// For people.
    #[serde(default)]
    pub description: Arc<str>,
    /// As they were written.
    #[serde(default)]
    pub rules: Arc<str>,
    /// Datacenters that it counts in; none is all.
    #[serde(default)]
    pub datacenters: Vec<Arc<str>>,
    /// Index of its creation; set when it is applied.
    #[serde(default)]
    pub create_index: Index,
    /// Index of its last change; set when it is applied.
    #[serde(default)]
    pub modify_index: Index,
}

/// Policies and identities under a name, for many tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclRole {
    /// UUID text.
    pub id: Arc<str>,
    /// Unique.
    pub name: Arc<str>,
    /// For people.
    #[serde(default)]
    pub description: Arc<str>,
    /// What whoever has it may do.
    #[serde(default)]
    pub links: Links,
    /// Index of its creation; set when it is applied.
    #[serde(default)]
    pub create_index: Index,
    /// Index of its last change; set when it is applied.
    #[serde(default)]
    pub modify_index: Index,
}
