//! Persist, then act: the order is a matter of types.
//!
//! What a server says and what it tells its application may rest on writes that are not durable yet. So the
//! driver hands out a [`Turn`], whose effects nobody can see; a [`Disk`] that reports success turns it into
//! [`Persisted`]; and only that gives the effects. There is no other constructor.
//!
//! One kind of turn is an exception, and only the driver can make it: a leader that has appended proposals, and
//! nothing else, says nothing that rests on them. [`Turn::take_ahead`] gives its effects at once, so that the
//! followers' disks work while the leader's does.
//!
//! ```compile_fail,E0616
//! fn skip_the_disk(turn: portolan_paxos::Turn) -> Vec<portolan_paxos::Effect> {
//!     turn.effects
//! }
//! ```

use bytes::Bytes;

use crate::frame::Frame;
use crate::{Batch, Command, Configuration, Index, ServerId};

/// Names one established link to a peer. The host counts it up; a session is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

/// Names a read that the host asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Where batches become durable.
pub trait Disk {
    /// Why it could not. A failed sync is final: the server must stop, because what the disk holds is unknown.
    type Error;

    /// Makes the batch durable, whole or not at all, after every batch before it.
    ///
    /// # Errors
    /// Whatever the disk says; the driver must not be used afterwards.
    fn persist(&mut self, batch: &Batch) -> Result<(), Self::Error>;
}

/// One turn's writes, and effects that wait for them.
#[derive(Debug)]
#[must_use = "a turn that is dropped loses writes and effects"]
pub struct Turn {
    batch: Batch,
    effects: Vec<Effect>,
    ahead: bool,
}

/// Proof that a turn's writes are durable.
#[derive(Debug)]
#[must_use = "give it to the driver to get the effects"]
pub struct Persisted {
    effects: Vec<Effect>,
}

impl Turn {
    pub(crate) fn new(batch: Batch, effects: Vec<Effect>, ahead: bool) -> Self {
        Self { batch, effects, ahead }
    }

    /// What must become durable.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Effects that may be carried out before, or while, the batch is made durable. Most turns have none.
    pub fn take_ahead(&mut self) -> Vec<Effect> {
        if self.ahead { std::mem::take(&mut self.effects) } else { Vec::new() }
    }

    /// Makes the writes durable. A turn without writes does not trouble the disk.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn persist<D: Disk>(self, disk: &mut D) -> Result<Persisted, D::Error> {
        if !self.batch.writes().is_empty() {
            disk.persist(&self.batch)?;
        }
        Ok(Persisted { effects: self.effects })
    }
}

impl Persisted {
    pub(crate) fn into_effects(self) -> Vec<Effect> {
        self.effects
    }
}

/// What the host is asked to do, in order.
#[derive(Debug)]
pub enum Effect {
    /// Send on that session's stream, after everything sent there before; drop it if the session has ended.
    Send {
        /// To whom.
        peer: ServerId,
        /// On which session.
        session: Session,
        /// What. Its lane says which of the two streams.
        frame: Frame,
    },
    /// End this session and connect again: both sides must start from a clean one.
    Reset {
        /// With whom.
        peer: ServerId,
        /// Which.
        session: Session,
    },
    /// Replace the application's state by the checkpoint with this index.
    Restore(Index),
    /// Decided commands, dense and ascending.
    Decided {
        /// Index of the first.
        at: Index,
        /// The commands.
        commands: Vec<Command>,
    },
    /// This configuration is in force here.
    Configured(Configuration),
    /// The application, which has been handed everything up to `index`, may answer this read.
    ReadReady {
        /// Which read.
        read: ReadId,
        /// An index at or above everything that was acknowledged when the read arrived.
        index: Index,
    },
    /// A peer needs a part of a checkpoint: answer with `handle_piece`.
    ReadCheckpoint {
        /// Who needs it.
        peer: ServerId,
        /// On which session.
        session: Session,
        /// The checkpoint's index.
        index: Index,
        /// First byte wanted.
        offset: u64,
        /// Most bytes wanted.
        max: usize,
    },
    /// A peer is not what it was and is not listened to.
    Refused {
        /// Which.
        peer: ServerId,
        /// Why.
        why: Refusal,
    },
    /// No longer a member, and every member has taken up office: this server may be switched off.
    Released,
}

/// Why a peer is not listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Same server, other disk.
    #[error("its disk is not the one it had: what it promised is forgotten. Remove it and let it join anew")]
    OtherDisk,
    /// It speaks frames that this server does not know.
    #[error("it speaks frames of version {0}, which this server does not know")]
    Version(u16),
    /// A message that no member of this configuration sends.
    #[error("it sent a message that does not belong to this configuration")]
    Malformed,
}

/// A part of a checkpoint, read by the host.
#[derive(Debug, Clone)]
pub struct PieceRead {
    /// The checkpoint's index.
    pub index: Index,
    /// First byte.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
    /// Whether the checkpoint ends here.
    pub last: bool,
}
