//! What engines that talk to other nodes send through.
//!
//! An engine knows peers by their [`ServerId`] and hands frames to a [`Transport`]; what arrives comes back as
//! [`LinkEvent`]s through a queue made by [`links`]. Whoever owns the network (the mesh; [`memory`] in tests)
//! implements the one and feeds the other.
//!
//! # Sessions
//! A session is one established link to one peer. Its number counts up from link to link of that peer, as seen
//! by this node; the two ends need not use the same number. What the consensus leans on, and a carrier must
//! keep:
//!
//! - frames of one lane of a session arrive in the order in which they were sent, each once and whole;
//! - a session that lost anything delivers nothing more and ends, on both sides;
//! - no frame of a session is delivered before its [`LinkEvent::Up`] or after its [`LinkEvent::Down`], and a
//!   peer's next `Up` comes after the `Down` of the session before it.

#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod queue;

use bytes::Bytes;
pub use paxos::{Lane, ServerId};

pub use queue::{LinkReceiver, LinkSender, links};

/// Largest frame that an engine hands to a [`Transport`], and that one may hand to an engine, in bytes. Larger
/// messages are cut by the engines.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// Carries frames to peers. Shared by whoever sends; none of its methods waits.
pub trait Transport: Send + Sync + 'static {
    /// Queues a frame, opaque and at most [`MAX_FRAME_BYTES`] long, behind everything sent on this lane of the
    /// session before. What is queued and not sent when the session ends is dropped.
    ///
    /// A session whose queue would grow without bound must be ended by the carrier: engines bound what they
    /// have under way to a peer, but the bound is theirs.
    ///
    /// # Errors
    /// [`Closed`] when that session has ended; its `Down` is on its way, or was handed over already.
    fn send(&self, peer: ServerId, session: u64, lane: Lane, frame: Bytes) -> Result<(), Closed>;

    /// Ends a session on both sides, if it has not ended, and connects anew. Its [`LinkEvent::Down`] follows.
    fn reset(&self, peer: ServerId, session: u64);
}

/// A session, or the engine that listens to it, is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link has ended")]
pub struct Closed;

/// What a carrier tells an engine, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// A session is established.
    Up {
        /// With whom.
        peer: ServerId,
        /// Its number, above those of all before it with this peer.
        session: u64,
    },
    /// A frame arrived.
    Frame {
        /// From whom.
        peer: ServerId,
        /// On which session.
        session: u64,
        /// On which of its two lanes.
        lane: Lane,
        /// The frame, unchanged.
        frame: Bytes,
    },
    /// A session has ended.
    Down {
        /// With whom.
        peer: ServerId,
        /// Which.
        session: u64,
    },
}
