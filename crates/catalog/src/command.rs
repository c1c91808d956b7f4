//! Wishes in the agreed order, and their bytes.
//!
//! An envelope is encoded as one version byte followed by MessagePack with named fields: a field may be
//! added with `#[serde(default)]` under the same version; anything else takes a new version, and
//! [`Envelope::decode`] keeps reading the old one.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::acl::{AclCommand, AclRefusal};
use crate::exposure::ExposureCommand;
use crate::intention::IntentionCommand;
use crate::members::{ClusterCommand, ClusterRefusal};
use crate::model::{CheckDef, Index, InstanceDef, KvEntry, NodeDef, Settings, Status};
use crate::query::QueryCommand;
use crate::redirection::RedirectionCommand;
use crate::restore::RestoreCommand;
use crate::session::SessionCommand;
use crate::topic::TopicCommand;
use crate::transaction::{Found, Operation};

/// Version byte that [`Envelope::encode`] writes.
pub const ENVELOPE_VERSION: u8 = 1;

/// A command with who proposes it and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Proposing node.
    pub node: Arc<str>,
    /// That node's boot epoch: it only grows.
    pub epoch: u64,
    /// Number of this command among the epoch's, from 1. The same triple applies once, however often it
    /// is appended.
    pub sequence: u64,
    /// Proposer's clock in Unix milliseconds. The only time that `apply` knows.
    pub time_ms: u64,
    /// What is wished.
    pub command: Command,
}

/// What can be wished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Registers a node, an instance, checks: any of them, all or nothing.
    Register(Box<Register>),
    /// Takes one of them away.
    Deregister(Deregister),
    /// A check changed its verdict.
    SetStatus {
        /// Node of the check.
        node: Arc<str>,
        /// Check id.
        check: Arc<str>,
        /// New verdict.
        status: Status,
        /// What the probe said.
        output: Arc<str>,
    },
    /// Keys.
    Kv(KvCommand),
    /// Sessions.
    Session(SessionCommand),
    /// Messages and events.
    Topic(TopicCommand),
    /// Reachability from outside.
    Expose(ExposureCommand),
    /// All of them or none; each sees what those before it did.
    Transact(Vec<Operation>),
    /// A host found that a virtual address is in use there by something else: give the service another.
    AvoidVirtualIp {
        /// Address to avoid from now on.
        address: Ipv4Addr,
    },
    /// Replaces the settings.
    Configure(Settings),
    /// The cluster itself: who belongs to it, whom it believes, who lives.
    Cluster(ClusterCommand),
    /// Who may reach what.
    Intention(IntentionCommand),
    /// Names that lead to others.
    Redirection(RedirectionCommand),
    /// Prepared queries.
    Query(QueryCommand),
    /// The whole state replaced by an earlier one.
    Restore(RestoreCommand),
    /// Tokens, policies and roles.
    Acl(AclCommand),
    /// Several in one place of the order; each has its own outcome and none depends on another's success.
    Batch(Vec<Command>),
}

/// See [`Command::Register`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Node to create or update. May be absent when the node named by `on` exists.
    pub node: Option<NodeRegistration>,
    /// Name of the node that instance and checks belong to.
    pub on: Arc<str>,
    /// Instance to create or replace.
    #[serde(default)]
    pub instance: Option<InstanceRegistration>,
    /// Checks to create or replace.
    #[serde(default)]
    pub checks: Vec<CheckRegistration>,
}

/// A node to create or update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRegistration {
    /// Definition.
    pub def: NodeDef,
    /// Leave an existing node as it is (Consul's `SkipNodeUpdate`).
    #[serde(default)]
    pub only_if_absent: bool,
}

/// An instance to create or replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRegistration {
    /// Definition.
    pub def: InstanceDef,
    /// Drop checks of the instance that this registration does not name.
    #[serde(default)]
    pub replace_checks: bool,
}

/// A check to create or replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRegistration {
    /// Definition.
    pub def: CheckDef,
    /// Status to begin with.
    pub status: InitialStatus,
    /// Output to begin with; ignored where an existing check keeps its verdict.
    #[serde(default)]
    pub output: Arc<str>,
}

/// Status of a check right after its registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitialStatus {
    /// This one, whatever it was.
    Set(Status),
    /// An existing check keeps its verdict, a new one starts with this.
    Keep(Status),
}

/// What to take away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deregister {
    /// A node and everything on it.
    Node {
        /// Name.
        node: Arc<str>,
    },
    /// An instance and its checks.
    Instance {
        /// Node name.
        node: Arc<str>,
        /// Instance id.
        id: Arc<str>,
        /// Only if it was last registered at this index: whoever decided upon an older registration (a
        /// lease that ran out) must not take away a newer one.
        #[serde(default)]
        registered_index: Option<Index>,
    },
    /// One check.
    Check {
        /// Node name.
        node: Arc<str>,
        /// Check id.
        id: Arc<str>,
    },
}

/// Commands on keys, with Consul's semantics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCommand {
    /// Sets a key; with `cas`, only if its modify index is that (0: only if absent).
    Set {
        /// Key.
        key: Arc<str>,
        /// Value.
        value: Bytes,
        /// Opaque number.
        flags: u64,
        /// Compare-and-set index.
        cas: Option<Index>,
    },
    /// Deletes a key; with `cas`, only if its modify index is that.
    Delete {
        /// Key.
        key: Arc<str>,
        /// Compare-and-set index.
        cas: Option<Index>,
    },
    /// Deletes every key that starts with `prefix`.
    DeleteTree {
        /// Prefix, may be empty.
        prefix: Arc<str>,
    },
    /// Sets a key and locks it for a session; refused while another holds it.
    Acquire {
        /// Key.
        key: Arc<str>,
        /// Value.
        value: Bytes,
        /// Opaque number.
        flags: u64,
        /// Session id.
        session: Arc<str>,
    },
    /// Sets a key that a session holds and unlocks it.
    Release {
        /// Key.
        key: Arc<str>,
        /// Value.
        value: Bytes,
        /// Opaque number.
        flags: u64,
        /// Session id.
        session: Arc<str>,
    },
    /// All of them or none; each sees what those before it did.
    Transaction {
        /// In order.
        operations: Vec<KvOperation>,
    },
}

/// One operation of a transaction on keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvOperation {
    /// Sets a key; with `cas`, only if its modify index is that (0: only if absent).
    Set {
        /// Key.
        key: Arc<str>,
        /// Value.
        value: Bytes,
        /// Opaque number.
        flags: u64,
        /// Compare-and-set index.
        cas: Option<Index>,
    },
    /// Deletes a key; with `cas`, only if its modify index is that.
    Delete {
        /// Key.
        key: Arc<str>,
        /// Compare-and-set index.
        cas: Option<Index>,
    },
    /// Deletes every key that starts with `prefix`.
    DeleteTree {
        /// Prefix, may be empty.
        prefix: Arc<str>,
    },
    /// Reads a key, which must exist.
    Get {
        /// Key.
        key: Arc<str>,
    },
    /// Reads every key that starts with `prefix`.
    GetTree {
        /// Prefix, may be empty.
        prefix: Arc<str>,
    },
    /// Sets a key and locks it for a session.
    Lock {
        /// Key.
        key: Arc<str>,
        /// Value.
        value: Bytes,
        /// Opaque number.
        flags: u64,
        /// Session id.
        session: Arc<str>,
    },
    /// Sets a key that a session holds and unlocks it.
    Unlock {
        /// Key.
        key: Arc<str>,
        /// Value.
        value: Bytes,
        /// Opaque number.
        flags: u64,
        /// Session id.
        session: Arc<str>,
    },
    /// Fails unless the key is held by that session.
    CheckSession {
        /// Key.
        key: Arc<str>,
        /// Session id.
        session: Arc<str>,
    },
    /// Fails unless the key's modify index is `index`; 0 means that it must not exist.
    Check {
        /// Key.
        key: Arc<str>,
        /// Modify index.
        index: Index,
    },
}

/// What an operation of a transaction left or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvFound {
    /// Key.
    pub key: Arc<str>,
    /// As it was then.
    pub entry: Arc<KvEntry>,
    /// True when it was asked for, false when it was set.
    pub is_read: bool,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds now; whether anything had to change for that.
    Done {
        /// False when everything already was as wished.
        changed: bool,
    },
    /// It was refused, and nothing changed.
    Refused(Refusal),
    /// One outcome per command of a batch.
    Batch(Vec<Outcome>),
    /// Messages are published.
    Published {
        /// Number of the last of them in its topic.
        last: u64,
        /// How many were new.
        count: u64,
    },
    /// A transaction holds now; what its operations left or read, in their order.
    Transacted(Vec<Found>),
    /// This envelope had been applied before.
    Duplicate,
}

impl Outcome {
    /// True when something had to change for the command to hold.
    pub fn is_change(&self) -> bool {
        matches!(self, Outcome::Done { changed: true })
    }

    /// True when the command holds now.
    pub fn is_done(&self) -> bool {
        matches!(self, Outcome::Done { .. } | Outcome::Transacted(_) | Outcome::Published { .. })
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Node is not registered.
    #[error("node \"{0}\" is not registered")]
    UnknownNode(Arc<str>),
    /// Instance is not registered.
    #[error("no service instance with id \"{id}\" on node \"{node}\"")]
    UnknownInstance {
        /// Node name.
        node: Arc<str>,
        /// Instance id.
        id: Arc<str>,
    },
    /// Check is not registered.
    #[error("no check with id \"{id}\" on node \"{node}\"")]
    UnknownCheck {
        /// Node name.
        node: Arc<str>,
        /// Check id.
        id: Arc<str>,
    },
    /// Compare-and-set failed.
    #[error("the key's index is {actual}, not {expected}")]
    CasFailed {
        /// Index asked for.
        expected: Index,
        /// Index found, 0 when absent.
        actual: Index,
    },
    /// Operations of a transaction failed, so none of them holds: their numbers, from 0, and why.
    #[error("rolled back: {}", .0.iter().map(|(number, why)| format!("operation {number}: {why}")).collect::<Vec<_>>().join("; "))]
    RolledBack(Vec<(usize, String)>),
    /// A check that a session is to be bound to is critical.
    #[error("check \"{id}\" is in critical state")]
    CriticalCheck {
        /// Check id.
        id: Arc<str>,
    },
    /// No such session, or it has ended.
    #[error("invalid session \"{0}\"")]
    UnknownSession(Arc<str>),
    /// No such prepared query.
    #[error("Cannot modify non-existent prepared query: '{0}'")]
    UnknownQuery(Arc<str>),
    /// An archive cannot take the place of the state.
    #[error("restore an archive: {0}")]
    Archive(String),
    /// Another prepared query is asked for by that name.
    #[error("name '{name}' aliases an existing query {}", if *.is_template { "template name" } else { "name" })]
    QueryName {
        /// Name.
        name: Arc<str>,
        /// True when it is a template's.
        is_template: bool,
    },
    /// Another node keeps the session's lease since this was decided.
    #[error("another node took the session at index {claimed_index}")]
    ClaimedAgain {
        /// When.
        claimed_index: Index,
    },
    /// Another session holds the key.
    #[error("the key is locked by session \"{by}\"")]
    Locked {
        /// Session id.
        by: Arc<str>,
    },
    /// The session that held the key ended a moment ago.
    #[error("the key cannot be locked yet: the lock delay of the session that held it has not passed")]
    LockDelay,
    /// The key is not locked by that session.
    #[error("the key is not held by that session")]
    NotHeld,
    /// The instance was registered again after this was decided.
    #[error("the instance was registered again at index {registered_index}")]
    RegisteredAgain {
        /// Index of the newer registration.
        registered_index: Index,
    },
    /// There is no rule of that id.
    #[error("there is no rule \"{0}\"")]
    UnknownRule(Arc<str>),
    /// The rule, or the list of rules, is another than was expected.
    #[error("the index of the rules is {actual}, not {expected}: somebody changed them meanwhile")]
    RuleChanged {
        /// Index asked for.
        expected: Index,
        /// Index found, 0 when absent.
        actual: Index,
    },
    /// A redirection would lead back to itself.
    #[error("the redirection leads back to where it began: {}", .chain.join(" → "))]
    RedirectionCircle {
        /// Names in order; the last is the first again.
        chain: Vec<Arc<str>>,
    },
    /// There are too many.
    #[error("there are {most} {what} already, and more are not kept")]
    TooManyRules {
        /// Rules or redirections.
        what: &'static str,
        /// How many may be.
        most: usize,
    },
    /// A wish about the cluster itself.
    #[error(transparent)]
    Cluster(#[from] ClusterRefusal),
    /// A wish about tokens, policies and roles.
    #[error(transparent)]
    Acl(#[from] AclRefusal),
    /// A name, size or reference that validation does not let through.
    #[error(transparent)]
    Invalid(#[from] crate::validate::Invalid),
}

/// Bytes that are not an envelope.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("decode a command: it is empty")]
    Empty,
    /// Written by a newer version.
    #[error(
        "decode a command: version {found} is newer than {ENVELOPE_VERSION}; upgrade this node before it goes on"
    )]
    Newer {
        /// Version byte found.
        found: u8,
    },
    /// Not understood.
    #[error("decode a command of version {version}")]
    Malformed {
        /// Version byte.
        version: u8,
        /// Why.
        #[source]
        cause: rmp_serde::decode::Error,
    },
}

impl Envelope {
    /// Bytes for the log.
    ///
    /// # Errors
    /// Only when memory runs out: every field can be encoded.
    pub fn encode(&self) -> Result<Bytes, rmp_serde::encode::Error> {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(ENVELOPE_VERSION);
        rmp_serde::encode::write_named(&mut bytes, self)?;
        Ok(bytes.into())
    }

    /// Reads what any version up to this one wrote.
    ///
    /// # Errors
    /// See [`DecodeError`]. A node that cannot decode a decided command must stop: skipping it would make
    /// its state differ from everybody else's.
    pub fn decode(bytes: &[u8]) -> Result<Envelope, DecodeError> {
        let (&version, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
        match version {
            ENVELOPE_VERSION => {
                rmp_serde::from_slice(body).map_err(|cause| DecodeError::Malformed { version, cause })
            }
            found => Err(DecodeError::Newer { found }),
        }
    }
}
