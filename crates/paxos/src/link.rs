//! One session with one peer: what has been heard on it, what waits, and how much is under way.

use std::collections::VecDeque;

use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::PaxosMsg;
use omnipaxos::storage::SnapshotType;
use omnipaxos::util::LogSync;

use crate::frame::{Frame, Gossip};
use crate::serve::Serving;
use crate::turn::Session;
use crate::{Command, Marker};

/// State of a session. A new session starts a new one: nothing queued on the old one survives it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) session: Session,
    /// Whether the peer has said hello on this session. Until then it is sent nothing but ours, and the core
    /// is not told that it is there.
    pub(crate) greeted: bool,
    /// The peer's disk, as its hello named it.
    pub(crate) disk: u64,
    /// The configuration that the peer said it has taken up.
    pub(crate) configuration: u32,
    pub(crate) gossip: Gossip,
    /// Core messages that wait for the state that the first of them stands for, in order.
    pub(crate) parked: VecDeque<Message<Command>>,
    pub(crate) parked_cost: u64,
    /// Cost of the order lane's frames sent, and taken in, on this session.
    sent: u64,
    pub(crate) received: u64,
    pub(crate) reported: u64,
    /// What may still be sent on the bulk lane. The last frame may overdraw it; the debt is remembered.
    pub(crate) credit: i64,
    /// Whether the peer has been granted credit on this session.
    pub(crate) granted: bool,
    /// What this peer pulls from us.
    pub(crate) serving: Option<Serving>,
    /// The session is to end; nothing more is said on it.
    pub(crate) ending: bool,
    /// How many turns must have been done before our hello on it is out.
    pub(crate) hello_out_after: u64,
    /// Commands were sent to this peer to pass on, and may be with it still.
    pub(crate) forwarded: bool,
    /// Ticks for which the peer's promise has been higher than ours while we led.
    pub(crate) outbid_ticks: u64,
}

impl Link {
    pub(crate) fn new(session: Session, hello_out_after: u64) -> Self {
        Self {
            session,
            greeted: false,
            disk: 0,
            configuration: 0,
            gossip: Gossip::default(),
            parked: VecDeque::new(),
            parked_cost: 0,
            sent: 0,
            received: 0,
            reported: 0,
            credit: 0,
            granted: false,
            serving: None,
            ending: false,
            hello_out_after,
            forwarded: false,
            outbid_ticks: 0,
        }
    }

    /// Whether the peer listens and is listened to.
    pub(crate) fn usable(&self) -> bool {
        self.greeted && !self.ending
    }

    /// Counts a frame of the order lane, unless more is under way than the window allows. One frame may go
    /// beyond it, so that a frame of any size can be sent.
    pub(crate) fn admit(&mut self, frame: &Frame, window: u64) -> bool {
        if self.sent.saturating_sub(self.gossip.received) > window {
            return false;
        }
        self.sent += frame.cost();
        true
    }

    pub(crate) fn park(&mut self, message: Message<Command>, cost: u64) {
        self.parked_cost += cost;
        self.parked.push_back(message);
    }

    pub(crate) fn unpark(&mut self) -> Option<Message<Command>> {
        let message = self.parked.pop_front();
        if self.parked.is_empty() {
            self.parked_cost = 0;
        }
        message
    }
}

/// The part of a message that replaces the receiver's log.
pub(crate) fn log_sync(message: &mut Message<Command>) -> Option<&mut LogSync<Command>> {
    let Message::SequencePaxos(message) = message else { return None };
    match &mut message.msg {
        PaxosMsg::AcceptSync(accept) => Some(&mut accept.log_sync),
        PaxosMsg::Promise(promise) => promise.log_sync.as_mut(),
        _ => None,
    }
}

/// What a message stands for but does not carry: local index up to which the sender replaced its entries.
pub(crate) fn stands_for(message: &Message<Command>) -> Option<usize> {
    let Message::SequencePaxos(message) = message else { return None };
    let sync = match &message.msg {
        PaxosMsg::AcceptSync(accept) => &accept.log_sync,
        PaxosMsg::Promise(promise) => promise.log_sync.as_ref()?,
        _ => return None,
    };
    sync.decided_snapshot.as_ref().map(|_| sync.sync_idx)
}

/// Puts right what the core must not see as it came, given the local length of the receiver's log.
///
/// A snapshot becomes a complete one. This is done only once everything that it stands for is on this server's
/// disk: then "replace your log up to here" is exactly what the core should do.
///
/// omnipaxos 0.2.4 counts the stop-sign among the entries that two logs share, and again when it is set: the
/// receiver would take its log for one longer than it is, and the stop-sign for ever undecided.
pub(crate) fn correct(message: &mut Message<Command>, length: Option<usize>) {
    let Some(sync) = log_sync(message) else { return };
    if sync.decided_snapshot.is_some() {
        sync.decided_snapshot = Some(SnapshotType::Complete(Marker));
    } else if let Some(length) = length
        && sync.stopsign.is_some()
        && sync.suffix.is_empty()
        && sync.sync_idx == length + 1
    {
        sync.sync_idx = length;
    }
}
