//! The replicated application of the simulation: a few keys, and proposers whose repetitions count once.

use bytes::{BufMut, Bytes, BytesMut};
use paxos::Index;

/// Keys that clients write.
pub(crate) const KEYS: usize = 6;
/// Proposers that wait for an answer. Commands of proposer 0 are noise that nobody waits for.
pub(crate) const PROPOSERS: usize = 6;

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Op {
    /// Who proposes, 0 for noise.
    pub(crate) proposer: u64,
    /// Counts the proposer's commands; a repetition carries the same.
    pub(crate) sequence: u64,
    /// Which key.
    pub(crate) key: u64,
    /// What it is set to.
    pub(crate) value: u64,
}

impl Op {
    /// Its bytes, with some padding.
    pub(crate) fn encode(self, padding: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(32 + padding);
        for field in [self.proposer, self.sequence, self.key, self.value] {
            bytes.put_u64_le(field);
        }
        bytes.put_bytes(0, padding);
        bytes.freeze()
    }

    /// Back from bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            proposer: field(bytes, 0)?,
            sequence: field(bytes, 1)?,
            key: field(bytes, 2)?,
            value: field(bytes, 3)?,
        })
    }
}

fn field(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at * 8..at * 8 + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// The state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct App {
    /// Last index applied.
    pub(crate) applied: Index,
    /// Value and modify index of each key.
    pub(crate) keys: [(u64, Index); KEYS],
    /// Of each proposer: its last sequence, and the index at which it was applied.
    pub(crate) done: [(u64, Index); PROPOSERS],
    /// Stands for the whole history.
    pub(crate) digest: u64,
}

/// What a history's digest becomes with one more command.
pub(crate) fn extend_digest(digest: u64, command: &[u8]) -> u64 {
    command.iter().take(32).fold(digest.rotate_left(7) ^ 0x9e37_79b9, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl App {
    /// Applies the next command: its operation, and the key that it changed.
    pub(crate) fn apply(&mut self, command: &[u8]) -> Option<(Op, bool)> {
        self.applied += 1;
        self.digest = extend_digest(self.digest, command);
        let op = Op::decode(command)?;
        if let Some(done) = self.done.get_mut(op.proposer as usize).filter(|_| op.proposer > 0) {
            if op.sequence <= done.0 {
                return Some((op, false));
            }
            *done = (op.sequence, self.applied);
        }
        if let Some(key) = self.keys.get_mut(op.key as usize) {
            *key = (op.value, self.applied);
        }
        Some((op, true))
    }

    /// The state as a checkpoint.
    pub(crate) fn save(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(16 + 16 * (KEYS + PROPOSERS));
        bytes.put_u64_le(self.applied);
        bytes.put_u64_le(self.digest);
        for (first, second) in self.keys.iter().chain(&self.done) {
            bytes.put_u64_le(*first);
            bytes.put_u64_le(*second);
        }
        bytes.freeze()
    }

    /// Back from a checkpoint.
    pub(crate) fn load(bytes: &[u8]) -> Option<Self> {
        let mut app = Self { applied: field(bytes, 0)?, digest: field(bytes, 1)?, ..Self::default() };
        for (at, slot) in app.keys.iter_mut().chain(&mut app.done).enumerate() {
            *slot = (field(bytes, 2 + at * 2)?, field(bytes, 3 + at * 2)?);
        }
        Some(app)
    }
}
