//! The ordered history of opaque commands.
//!
//! One narrow trait, [`Log`], and one engine per way of agreeing on the order. An engine knows nothing of
//! what a command means: it orders bytes, keeps them, and hands them back in that order, once each.
//!
//! What flows back is one stream of [`Event`]s. After `open` an engine sends what it finds on disk
//! (`Restore`, then `Entries`), then `Replayed`, and from then on what is decided. A reader that follows
//! the stream needs no other source of truth.
//!
//! Engines open with a function of their own (`memory::open`, `solo::open`, `paxos::open`, `follow::open`,
//! `etcd::open`) that
//! answers with the log and its one [`EventReceiver`]. Those that talk to other nodes do so through a
//! [`transport`].
//!
//! On an engine of several hosts a command may be decided twice, in rare cases (`paxos::pending` says which), so
//! a command must be recognisable to whoever applies it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod disk;
pub mod etcd;
mod events;
pub mod follow;
pub mod memory;
pub mod paxos;
mod queue;
#[cfg(any(test, feature = "testing"))]
pub mod sim;
pub mod solo;
pub mod transport;

pub use events::{EventReceiver, EventSender, channel};

/// Largest command that the engines take unless configured otherwise, in bytes.
pub const MAX_COMMAND_BYTES: usize = 2 << 20;

/// Most commands that may wait, for the disk or for the reader, unless configured otherwise.
pub const MAX_QUEUED: usize = 1 << 16;

/// Place of an entry in the agreed order. The first entry has index 1; 0 means "before everything".
pub type Index = u64;

/// A boxed future that owns what it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// One decided entry: durable, and at this place for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place; indexes are dense.
    pub index: Index,
    /// The bytes given to [`Log::append`], unchanged.
    pub payload: Bytes,
}

/// What an engine tells the one reader of its stream, in order.
#[derive(Debug)]
pub enum Event {
    /// Replace the whole state by this checkpoint; entries continue at `index + 1`.
    Restore(Checkpoint),
    /// Decided entries, dense and ascending, continuing where the stream stood.
    Entries(Vec<Entry>),
    /// All that was durable when the engine opened has been sent. Nothing may be published before.
    Replayed,
    /// The engine stopped for good (a failed sync, a full disk). Reads may go on; nothing more is decided.
    Stopped(Arc<LogError>),
}

/// A saved state that stands for every entry up to and including `index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Last entry that the state contains.
    pub index: Index,
    /// The bytes that [`WriteState`] wrote.
    pub state: Bytes,
}

/// Writes one state into a checkpoint. Runs on a thread of the engine's own, so it may take its time; it
/// holds an immutable snapshot and never the live state.
pub type WriteState = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// An ordered, durable history of opaque commands.
///
/// Appends are queued in call order. An append has been decided when its entry appears on the event
/// stream; there is no second acknowledgement to disagree with it. Order between two appenders is the
/// engine's choice.
pub trait Log: Send + Sync + 'static {
    /// Queues one command. Never waits.
    ///
    /// # Errors
    /// [`LogError::Full`] when too much is queued (try again later), [`LogError::TooLarge`], and
    /// [`LogError::Stopped`] once the engine has stopped.
    fn append(&self, payload: Bytes) -> Result<(), LogError>;

    /// Resolves with an index at or above everything that was decided before the call. A reader that has
    /// applied that index reads linearizably.
    fn barrier(&self) -> BoxFuture<Result<Index, LogError>>;

    /// Saves a state that contains every entry up to `index`, then drops the entries it stands for.
    /// Resolves when the checkpoint is durable.
    fn save_checkpoint(&self, index: Index, write: WriteState) -> BoxFuture<Result<(), LogError>>;

    /// What an operator wants to see of this log. Cheap; never waits for the disk.
    fn status(&self) -> LogStatus;

    /// Stops taking appends, makes everything queued durable, and releases the directory.
    fn close(&self) -> BoxFuture<()>;
}

/// A log's state for status pages and metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogStatus {
    /// Engine name: `solo`, `memory`, …
    pub engine: &'static str,
    /// First entry still held (after the checkpoint), 0 when none.
    pub first_index: Index,
    /// Last decided entry.
    pub last_index: Index,
    /// Index of the newest durable checkpoint, 0 when none.
    pub checkpoint_index: Index,
    /// Bytes of entries since that checkpoint: what a restart would have to replay.
    pub bytes_since_checkpoint: u64,
    /// Syncs done since start and the time they took in all, in microseconds.
    pub syncs: u64,
    /// See `syncs`.
    pub sync_us: u64,
    /// Appends queued and not yet decided.
    pub queued: u64,
    /// Why the engine stopped, if it did.
    pub stopped: Option<String>,
    /// As far as is known here nobody decides: no leader, or no majority in sight. What was decided before is
    /// there, and may be stale.
    pub cut_off: bool,
    /// Number of the server that leads, where several decide together and one is known to.
    pub leader: Option<u64>,
    /// Numbers of the servers that decide together; none where this node decides alone.
    pub voters: Vec<u64>,
    /// What opening passed over and an operator should know of: a torn tail that was cut, a damaged
    /// checkpoint that an older one stood in for.
    pub warnings: Vec<String>,
}

/// What can go wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Too many appends wait for the disk.
    #[error("append to the log: {queued} commands already wait for the disk; try again later")]
    Full {
        /// Commands waiting.
        queued: usize,
    },
    /// One command is over the engine's limit.
    #[error("append to the log: a command of {bytes} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// Size offered.
        bytes: usize,
        /// Size allowed.
        limit: usize,
    },
    /// The engine has stopped and says why.
    #[error("the log has stopped: {reason}")]
    Stopped {
        /// First failure, in words.
        reason: String,
    },
    /// The operating system refused something.
    #[error("{attempted} {path}")]
    Io {
        /// What was attempted, as a verb phrase: "sync segment".
        attempted: &'static str,
        /// On what.
        path: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Bytes below the last synced offset are damaged: no crash explains that, so nothing is guessed.
    #[error(
        "{path} is damaged at byte {offset} ({what}), below byte {synced} which was synced: this is not a \
         torn write. Restore the data directory from a backup, or move it away to start empty"
    )]
    Damaged {
        /// File.
        path: String,
        /// Offset of the first bad byte's record.
        offset: u64,
        /// Highest offset known to have been synced.
        synced: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Another process holds the directory.
    #[error("{path} is in use by another process (pid {pid}); stop it, or choose another --data-dir")]
    InUse {
        /// Lock file.
        path: String,
        /// Who, where known.
        pid: String,
    },
    /// No majority of the servers could be reached in time.
    #[error("read from the agreed order: no majority of the servers answered in {waited_ms} ms: {cause}")]
    NoMajority {
        /// How long it was tried.
        waited_ms: u64,
        /// What is known of the reason.
        cause: String,
    },
    /// The settings contradict each other.
    #[error("open the log: {reason}")]
    Settings {
        /// Which, and how.
        reason: String,
    },
    /// A checkpoint was offered for an index that is not decided yet.
    #[error("save a checkpoint at index {index}: the last decided index is {last}")]
    Ahead {
        /// Index offered.
        index: Index,
        /// Last decided index.
        last: Index,
    },
}

impl LogError {
    pub(crate) fn io(attempted: &'static str, path: impl Into<String>, cause: io::Error) -> Self {
        Self::Io { attempted, path: path.into(), cause }
    }

    /// The closure that writes a state panicked: the thread died without an answer.
    pub(crate) fn writer_panicked(index: Index) -> Self {
        let cause = io::Error::other("the thread that wrote it panicked");
        Self::io("write", format!("checkpoint {index}"), cause)
    }
}

/// An error and its causes, on one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
