//! The catalog: what every node agrees on.
//!
//! [`Catalog::apply`] takes one ordered [`Envelope`] after another and changes the state; [`Snapshot`] is
//! the immutable value that everybody reads. Cloning a snapshot costs a few reference counts, because its
//! maps share structure with their predecessors.
//!
//! What is absent, on purpose: no clock (time arrives in the envelope), no randomness, no I/O, no tokio,
//! no unordered iteration. Two replicas that apply the same envelopes hold equal snapshots.
//!
//! Where to look: nouns in [`model`], wishes in [`command`], rules for names and sizes in [`validate`],
//! reading in [`snapshot`], differences in [`changes`], virtual addresses in [`virtual_ip`], persistence in [`checkpoint`].

mod apply;
pub mod changes;
pub mod checkpoint;
pub mod command;
mod labels;
pub mod model;
pub mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;
mod tombstones;
pub mod validate;
pub mod virtual_ip;

pub use apply::{Applied, Catalog, Topic};
pub use changes::Change;
pub use command::{
    CheckRegistration, Command, Deregister, Envelope, InitialStatus, InstanceRegistration, KvCommand,
    KvFound, KvOperation, NodeRegistration, Outcome, Refusal, Register,
};
pub use labels::Labels;
pub use model::{
    Cadence, Check, CheckDef, HttpProbe, Index, Instance, InstanceDef, Kind, KvEntry, Lease, NodeDef,
    NodeEntry, Owner, Probe, Service, Settings, Status, Weights,
};
pub use snapshot::Snapshot;
pub use virtual_ip::VirtualIp;
