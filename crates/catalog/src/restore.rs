//! The whole state replaced by an earlier one, as one step of the order.
//!
//! An archive may be larger than any command, so its bytes are brought in parts first, which change nothing that
//! anybody sees; [`RestoreCommand::Commit`] is the step. What belongs to the cluster and not to its services
//! stays as it is: members, trust, settings, and which commands were applied already.

use std::sync::Arc;

use bytes::Bytes;
use imbl::Vector;
use serde::{Deserialize, Serialize};

use crate::snapshot::Snapshot;

/// Most bytes of one part.
pub const MAX_PART: usize = 512 << 10;
/// Most bytes of all parts together.
pub const MAX_STAGED: usize = 1 << 30;

/// Commands that bring and use an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestoreCommand {
    /// One part, in the order of their numbers. The first of another archive drops the parts of the one before.
    Part {
        /// Which archive, chosen by the proposer.
        id: Arc<str>,
        /// Number, from 0.
        number: u64,
        /// Bytes, as [`crate::checkpoint::write`] wrote them.
        bytes: Bytes,
    },
    /// Replaces the state.
    Commit {
        /// Which archive.
        id: Arc<str>,
        /// How many parts it has.
        parts: u64,
    },
    /// Drops the parts.
    Abandon {
        /// Of which archive.
        id: Arc<str>,
    },
}

impl Snapshot {
    /// What an archive holds: everything but what belongs to the cluster itself, and to this log.
    pub fn to_archive(&self) -> Snapshot {
        Snapshot { staged: None, proposers: Default::default(), cluster: Default::default(), ..self.clone() }
    }
}

/// Parts that have come so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staged {
    pub(crate) id: Arc<str>,
    pub(crate) parts: Vector<Bytes>,
    pub(crate) bytes: usize,
}

impl Staged {
    pub(crate) fn new(id: Arc<str>) -> Staged {
        Staged { id, parts: Vector::new(), bytes: 0 }
    }

    pub(crate) fn push(&mut self, part: Bytes) {
        self.bytes += part.len();
        self.parts.push_back(part);
    }

    /// All parts as one stream.
    pub(crate) fn reader(&self) -> Parts<'_> {
        Parts { parts: self.parts.iter().collect(), at: 0 }
    }
}

/// Reads part after part.
pub(crate) struct Parts<'p> {
    parts: std::collections::VecDeque<&'p Bytes>,
    at: usize,
}

impl std::io::Read for Parts<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while let Some(part) = self.parts.front() {
            let rest = &part[self.at..];
            if rest.is_empty() {
                self.parts.pop_front();
                self.at = 0;
                continue;
            }
            let count = rest.len().min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
            self.at += count;
            return Ok(count);
        }
        Ok(0)
    }
}
