//! The catalog: what every node agrees on.
//!
//! [`Catalog::apply`] takes one ordered [`Envelope`] after another and changes the state; [`Snapshot`] is
//! the immutable value that everybody reads. Cloning a snapshot costs a few reference counts, because its
//! maps share structure with their predecessors.
//!
//! What is absent, on purpose: no clock (time arrives in the envelope), no randomness, no I/O, no tokio,
//! no unordered iteration. Two replicas that apply the same envelopes hold equal snapshots.
//!
//! Where to look: nouns in [`model`], sessions in [`session`], messages in [`topic`], prepared queries in [`query`], rules in [`intention`] and [`redirection`], reachability in [`exposure`], wishes in [`command`], rules for names and sizes in [`validate`],
//! reading in [`snapshot`], who may do what in [`acl`], the cluster itself in [`cluster`], [`members`] and [`trust`], differences in [`changes`], virtual addresses in [`virtual_ip`], persistence in [`checkpoint`].

pub mod acl;
mod apply;
pub mod changes;
pub mod checkpoint;
pub mod cluster;
pub mod command;
pub mod exposure;
pub mod intention;
mod labels;
pub mod level;
pub mod members;
pub mod model;
pub mod query;
pub mod redirection;
pub mod restore;
pub mod rules;
pub mod session;
pub mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;
mod tombstones;
pub mod topic;
pub mod transaction;
pub mod trust;
pub mod validate;
pub mod virtual_ip;

pub use acl::{Acl, AclCommand, AclPolicy, AclRefusal, AclRole, AclToken};
pub use apply::life::liveness_check;
pub use apply::{Applied, Catalog, Topic};
pub use changes::Change;
pub use cluster::Cluster;
pub use command::{
    CheckRegistration, Command, Deregister, Envelope, InitialStatus, InstanceRegistration, KvCommand,
    KvFound, KvOperation, NodeRegistration, Outcome, Refusal, Register,
};
pub use exposure::{Exposure, ExposureCommand, ExposureDef};
pub use intention::{Action, Direction, Intention, IntentionCommand, Network, Origin, Place, Source};
pub use labels::Labels;
pub use members::{
    Candidate, ClusterCommand, ClusterRefusal, Down, Founding, JoinSecret, LIVENESS_CHECK, Member, Operator,
    Role,
};
pub use model::{
    Cadence, Check, CheckDef, HttpProbe, Index, Instance, InstanceDef, Kind, KvEntry, Lease, Locality,
    NodeDef, NodeEntry, Owner, Probe, Service, Settings, Status, Weights,
};
pub use query::{PreparedQuery, QueryCommand, QueryDef};
pub use redirection::{Destination, Redirection, RedirectionCommand};
pub use restore::RestoreCommand;
pub use rules::Rules;
pub use session::{Behavior, Session, SessionCommand, SessionDef};
pub use snapshot::Snapshot;
pub use topic::{Event, Message, Producer, Retention, TopicCommand, TopicEntry};
pub use transaction::{Found, Operation, Verb};
pub use trust::{Denied, Issuer, KeyHash, Mode, Root, RootState};
pub use virtual_ip::VirtualIp;
