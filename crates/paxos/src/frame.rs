//! What servers say to each other.
//!
//! A link carries two ordered streams: [`Lane::Order`] for everything that the protocol's safety leans on, and
//! [`Lane::Bulk`] for state in pieces, so that a large transfer never stands in front of a vote.

use bytes::Bytes;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::PaxosMsg;
use serde::{Deserialize, Serialize};

use crate::wire::{self, WireError};
use crate::{Command, Configuration, Index, ServerId};

/// Version of the frames. Both sides of a link say theirs; a server speaks to any version it knows.
pub const WIRE_VERSION: u16 = 1;

/// Which of a link's two ordered streams a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Consensus, reads, gossip. Small frames; delivery in order is a safety requirement.
    Order,
    /// Entries and checkpoints on their way to a replica that lags. Flow-controlled by credit.
    Bulk,
}

/// One message between two servers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Frame {
    /// First on every link, and again whenever the sender takes up a configuration.
    Hello(Hello),
    /// Every few ticks.
    Gossip(Gossip),
    /// The core's own message, between members of one configuration.
    Core {
        /// Configuration that the message belongs to.
        configuration: u32,
        /// The message; its numbers are ranks in that configuration.
        message: Message<Command>,
    },
    /// Commands on their way to the leader.
    Forward {
        /// How many servers passed them on already.
        hops: u8,
        /// The commands.
        commands: Vec<Command>,
    },
    /// The leader asks: is this still the ballot that you promised?
    Confirm {
        /// Configuration that the ballot belongs to.
        configuration: u32,
        /// Names the round; every read of a round arrived before it began.
        round: u64,
    },
    /// Answer to [`Frame::Confirm`].
    Confirmed {
        /// From the question.
        round: u64,
        /// What the answerer has promised now.
        promise: Ballot,
    },
    /// A follower asks for an index that makes reads linearizable.
    ReadAsk {
        /// Names the question within this session.
        nonce: u64,
    },
    /// Answer to [`Frame::ReadAsk`].
    ReadAnswer {
        /// From the question.
        nonce: u64,
        /// The index; nothing when the answerer cannot say, and the asker should try again.
        index: Option<Index>,
    },
    /// Asks for decided state.
    Pull {
        /// Names the transfer within this session; a new one replaces the old.
        id: u64,
        /// First index wanted.
        from: Index,
    },
    /// Allows more on this session's bulk lane, whichever transfer it is for.
    Credit {
        /// How much more, as cost.
        bytes: u64,
    },
    /// Ends a transfer.
    Enough {
        /// Which transfer.
        id: u64,
    },
    /// Decided entries.
    Entries {
        /// Which transfer.
        id: u64,
        /// Index of the first.
        at: Index,
        /// The entries.
        entries: Vec<Command>,
    },
    /// A part of a checkpoint; offset 0 begins one.
    Piece {
        /// Which transfer.
        id: u64,
        /// Last index that the checkpoint contains.
        index: Index,
        /// Where the bytes belong.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
        /// Whether these are the last.
        last: bool,
    },
    /// As [`Frame::ReadAsk`], for an index that lies behind everything that the leader has taken as well.
    EndAsk {
        /// Names the question within this session.
        nonce: u64,
    },
}

/// Who is speaking, and in which configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`WIRE_VERSION`] of the sender.
    pub version: u16,
    /// The sender's disk (see [`crate::Identity`]).
    pub disk: u64,
    /// What the sender has taken up; nothing while it only follows.
    pub configuration: Option<Configuration>,
}

/// What everybody lets everybody know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip {
    /// The sender's configuration, 0 for none.
    pub configuration: u32,
    /// Its promise in that configuration.
    pub promise: Ballot,
    /// Last index that it holds decided.
    pub have: Index,
    /// Whom it takes for the leader.
    pub leader: Option<ServerId>,
    /// Cost of the order lane's frames that it has taken in on this session.
    pub received: u64,
}

impl Frame {
    /// Which stream carries it.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Entries { .. } | Self::Piece { .. } => Lane::Bulk,
            _ => Lane::Order,
        }
    }

    /// Roughly its bytes: what queues and windows count.
    pub fn cost(&self) -> u64 {
        const FIXED: u64 = 64;
        let load = match self {
            Self::Core { message, .. } => core_cost(message),
            Self::Forward { commands, .. } => cost_of(commands),
            Self::Entries { entries, .. } => cost_of(entries),
            Self::Piece { bytes, .. } => bytes.len() as u64,
            _ => 0,
        };
        FIXED + load
    }

    /// The bytes on the wire.
    ///
    /// # Errors
    /// [`WireError`] when the encoder gives up, which no frame that the driver makes causes.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(self)
    }

    /// As [`Frame::encode`], behind what `out` holds already.
    ///
    /// # Errors
    /// As [`Frame::encode`].
    pub fn encode_onto(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        wire::encode_onto(out, self)
    }

    /// Reads back what [`Frame::encode`] wrote. The caller bounds the length.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are not one whole frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode(bytes)
    }
}

/// Cost of entries: their bytes and a little for each.
pub(crate) fn cost_of(entries: &[Command]) -> u64 {
    entries.iter().map(entry_cost).sum()
}

pub(crate) fn entry_cost(entry: &Command) -> u64 {
    entry.0.len() as u64 + 8
}

fn core_cost(message: &Message<Command>) -> u64 {
    let Message::SequencePaxos(message) = message else { return 0 };
    match &message.msg {
        PaxosMsg::AcceptDecide(accept) => cost_of(&accept.entries),
        PaxosMsg::AcceptSync(sync) => cost_of(&sync.log_sync.suffix),
        PaxosMsg::Promise(promise) => promise.log_sync.as_ref().map_or(0, |sync| cost_of(&sync.suffix)),
        PaxosMsg::ProposalForward(entries) => cost_of(entries),
        _ => 0,
    }
}
