//! What the core orders: opaque bytes, and the empty mark that stands for a snapshot.

use bytes::Bytes;
use omnipaxos::storage::{Entry, Snapshot};
use serde::{Deserialize, Serialize};

/// Place of a command in the agreed order. The first has index 1; 0 means "before everything". Dense across
/// configurations: a membership change takes no place.
pub type Index = u64;

/// One opaque command.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command(pub Bytes);

/// Its length: the bytes mean nothing here, and may be many.
impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}B", self.0.len())
    }
}

impl Entry for Command {
    type Snapshot = Marker;
}

/// The core's snapshot type, empty on purpose.
///
/// omnipaxos 0.2.4 corrupts replicas that it synchronises with a delta snapshot (`tests/upstream.rs` shows it).
/// So the core is only ever told *that* a state stands for a prefix of the log, never what it holds: the driver
/// fetches the missing part itself (see `pull`), and hands the core a complete mark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker;

impl Snapshot<Command> for Marker {
    fn create(_entries: &[Command]) -> Self {
        Self
    }

    fn merge(&mut self, _delta: Self) {}

    fn use_snapshots() -> bool {
        // Without this a lagging replica is sent everything it missed in one message, however large.
        true
    }
}
