//! What must reach the disk, and the one rule about it.
//!
//! A [`Batch`] is atomic and batches are ordered: after a crash the disk holds every batch that was reported
//! persisted, and perhaps the one under way, whole or not at all. One record of a write-ahead log with a
//! checksum gives exactly this. Folding the batches over an empty [`Image`](crate::Image) gives back the state.

use bytes::Bytes;
use omnipaxos::ballot_leader_election::Ballot;
use serde::{Deserialize, Serialize};

use crate::wire::{self, WireError};
use crate::{Command, Configuration, Identity, Image, Index, Successor};

/// One change of durable state. Indexes are global, never the core's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Write {
    /// First write on an empty disk.
    Identity(Identity),
    /// Everything so far, said once more, so that the log before it can go.
    Restate(Box<Image>),
    /// A configuration begins with an empty log at its base. What the old log decided is kept as history.
    Configure(Configuration),
    /// The core will refuse lower ballots.
    Promise(Ballot),
    /// The ballot in which the log was last accepted.
    Accepted(Ballot),
    /// Cuts the log before `at`, then appends.
    Append {
        /// Index of the first entry.
        at: Index,
        /// The entries.
        entries: Vec<Command>,
    },
    /// The log's stop-sign, accepted or taken back.
    Seal(Option<Successor>),
    /// How far the core knows its log to be decided. Needs no sync of its own: the leader tells again.
    Decided(Index),
    /// The core's log holds nothing up to this index any more.
    Compact(Index),
    /// Decided entries that were fetched beside the core.
    Side {
        /// Index of the first entry.
        at: Index,
        /// The entries.
        entries: Vec<Command>,
    },
    /// A part of a checkpoint that is being fetched; offset 0 starts it over. Goes to a file, not to the image.
    Piece {
        /// Last index that the checkpoint contains.
        index: Index,
        /// Where in the checkpoint the bytes belong.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The checkpoint that was fetched piece by piece is whole. Its file must be durable before this is; older
    /// ones may go once this is.
    Install(Index),
    /// A checkpoint of this server's own is durable; history before `keep_from` may go, and, once this is
    /// durable, so may older checkpoints.
    Checkpoint {
        /// Last index that the checkpoint contains.
        index: Index,
        /// First index whose entry is still kept, for peers that lag a little.
        keep_from: Index,
    },
}

impl Write {
    /// Whether this write may wait for the next sync that something else needs.
    fn is_lazy(&self) -> bool {
        matches!(self, Self::Decided(_))
    }
}

/// The writes of one turn: atomic, made durable by one sync.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub(crate) writes: Vec<Write>,
}

impl Batch {
    /// The writes, in order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Whether anything in it must be durable before the turn's effects are carried out.
    pub fn needs_sync(&self) -> bool {
        self.writes.iter().any(|write| !write.is_lazy())
    }

    /// The same without the parts of checkpoints, which go to a file: what a log's record holds.
    pub fn without_pieces(&self) -> Self {
        let kept = self.writes.iter().filter(|write| !matches!(write, Write::Piece { .. }));
        Self { writes: kept.cloned().collect() }
    }

    /// Whether it only adds to the log, and tells how much of it is decided.
    pub(crate) fn only_appends(&self) -> bool {
        self.writes.iter().all(|write| matches!(write, Write::Append { .. } | Write::Decided(_)))
    }

    /// The bytes of one log record. Framing and checksum are the log's business.
    ///
    /// # Errors
    /// [`WireError`] when the encoder gives up, which no batch that the driver makes causes.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(self)
    }

    /// Reads back what [`Batch::encode`] wrote.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are not one whole batch.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode(bytes)
    }
}
