//! Linearizable reads without a place in the log.
//!
//! A leader in the accept phase may serve a read at its decided index `r` if (a) everything that its log held
//! when its ballot entered the accept phase is decided, and (b) after the read arrived, a majority confirmed
//! that they still promise its ballot. One round of confirmations serves every read that arrived before it
//! began; at first as few are asked as make a majority, those who confirmed first before, and everybody when they are
//! late. A follower asks the leader for `r`. Either way the read is answered where it arrived, once the
//! application there has been handed everything up to `r`.
//!
//! A server that wants to know what became of its commands asks for more: an index behind all that the leader has
//! taken, decided or not. A command may have reached a leader that the proposer did not know yet, and lie there
//! undecided; the index of a read would not cover it.
//!
//! Leases would save the round, and are not safe here: a follower promises any higher ballot at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use omnipaxos::ballot_leader_election::Ballot;

use crate::turn::{ReadId, Session};
use crate::{Index, ServerId};

/// Ticks after which a round's answers are late.
const LATE_TICKS: u64 = 1;

/// Who waits for an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Here { read: ReadId, wants: Wants },
    Peer { peer: ServerId, session: Session, nonce: u64, wants: Wants },
}

/// How far the index reaches that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Over everything acknowledged: enough to read.
    Decided,
    /// Over everything that the leader has taken.
    Taken,
}

/// The index for either, at one moment and under one ballot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) decided: Index,
    pub(crate) taken: Index,
}

impl Asker {
    pub(crate) fn wants(&self) -> Wants {
        match self {
            Self::Here { wants, .. } | Self::Peer { wants, .. } => *wants,
        }
    }
}

impl Reach {
    /// One index that covers both.
    pub(crate) fn all(index: Index) -> Self {
        Self { decided: index, taken: index }
    }

    pub(crate) fn of(&self, wants: Wants) -> Index {
        match wants {
            Wants::Decided => self.decided,
            Wants::Taken => self.taken,
        }
    }
}

/// Reads in all their stages.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Not yet in a round or a question.
    waiting: VecDeque<Asker>,
    round: Option<Round>,
    /// Who confirmed, the last one first.
    prompt: Vec<ServerId>,
    question: Option<Question>,
    /// They want to know of commands that went another way than today's: that one is asked first, one at a time.
    held: Vec<Asker>,
    flush: Option<Question>,
    /// Reads of this server that know their index.
    ready: BTreeMap<Index, Vec<ReadId>>,
    ready_count: usize,
    /// Counts rounds and questions. It starts over with the process, and that is safe: so does every session.
    counter: u64,
}

/// A leader's question to everybody.
#[derive(Debug)]
struct Round {
    number: u64,
    ballot: Ballot,
    reach: Reach,
    confirmed: BTreeSet<ServerId>,
    askers: Vec<Asker>,
    ticks: u64,
}

/// A follower's question to the leader.
#[derive(Debug)]
struct Question {
    nonce: u64,
    peer: ServerId,
    session: Session,
    askers: Vec<Asker>,
    ticks: u64,
}

impl Reads {
    pub(crate) fn count(&self) -> usize {
        let round = self.round.as_ref().map_or(0, |round| round.askers.len());
        let question = self.question.as_ref().map_or(0, |question| question.askers.len());
        let flush = self.flush.as_ref().map_or(0, |question| question.askers.len());
        self.waiting.len() + round + question + self.held.len() + flush + self.ready_count
    }

    pub(crate) fn add(&mut self, asker: Asker) {
        self.waiting.push_back(asker);
    }

    pub(crate) fn take_waiting(&mut self) -> Vec<Asker> {
        self.waiting.drain(..).collect()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn is_asking(&self) -> bool {
        self.question.is_some()
    }

    /// Begins a round for everything that waits. Returns its number, for the peers to confirm.
    pub(crate) fn begin_round(&mut self, me: ServerId, ballot: Ballot, reach: Reach) -> Option<u64> {
        if self.round.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.counter += 1;
        let askers = self.waiting.drain(..).collect();
        let confirmed = BTreeSet::from([me]);
        self.round = Some(Round { number: self.counter, ballot, reach, confirmed, askers, ticks: 0 });
        Some(self.counter)
    }

    /// Whose ballot the round under way rests on.
    pub(crate) fn round_ballot(&self) -> Option<Ballot> {
        self.round.as_ref().map(|round| round.ballot)
    }

    /// Counts a confirmation.
    pub(crate) fn confirm(&mut self, peer: ServerId, number: u64, promise: Ballot) {
        let same = |round: &&mut Round| round.number == number && round.ballot == promise;
        if let Some(round) = self.round.as_mut().filter(same) {
            round.confirmed.insert(peer);
            if self.prompt.first() != Some(&peer) {
                self.prompt.retain(|known| *known != peer);
                self.prompt.insert(0, peer);
            }
        }
    }

    /// Whom to ask first, of those who can be reached.
    pub(crate) fn to_ask(&self, reachable: &[ServerId], count: usize) -> Vec<ServerId> {
        let place =
            |peer: &ServerId| self.prompt.iter().position(|known| known == peer).unwrap_or(usize::MAX);
        let mut all = reachable.to_vec();
        // Stable: who never confirmed is asked in the members' own order.
        all.sort_by_key(place);
        all.truncate(count);
        all
    }

    /// The round under way, at the moment at which its answers are late: everybody is to be asked now.
    pub(crate) fn late_round(&self) -> Option<u64> {
        self.round.as_ref().filter(|round| round.ticks == LATE_TICKS).map(|round| round.number)
    }

    /// Ends the round under way if enough confirmed it.
    pub(crate) fn finish_round(&mut self, majority: usize) -> Option<(Reach, Vec<Asker>)> {
        let round = self.round.take_if(|round| round.confirmed.len() >= majority)?;
        Some((round.reach, round.askers))
    }

    /// Gives the round up; its reads wait for another.
    pub(crate) fn drop_round(&mut self) {
        if let Some(round) = self.round.take() {
            self.wait_again(round.askers);
        }
    }

    /// Begins a question to the leader. Returns its nonce, and what is wanted: the most that anybody does.
    pub(crate) fn begin_question(&mut self, peer: ServerId, session: Session) -> Option<(u64, Wants)> {
        if self.question.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.counter += 1;
        let askers: Vec<Asker> = self.waiting.drain(..).collect();
        let more = askers.iter().any(|asker| asker.wants() == Wants::Taken);
        self.question = Some(Question { nonce: self.counter, peer, session, askers, ticks: 0 });
        Some((self.counter, if more { Wants::Taken } else { Wants::Decided }))
    }

    /// Takes the answer: who is served by it, and from which index on.
    pub(crate) fn answer(&mut self, peer: ServerId, session: Session, nonce: u64) -> Vec<Asker> {
        let answered =
            self.question.take_if(|asked| (asked.peer, asked.session, asked.nonce) == (peer, session, nonce));
        answered.map(|question| question.askers).unwrap_or_default()
    }

    /// Those who want to know of everything taken go first another way. Whoever leads answers others at once, and
    /// asks only for itself: the others have asked on their ways before they came.
    pub(crate) fn hold(&mut self, leads: bool) {
        let goes =
            |asker: &Asker| asker.wants() == Wants::Taken && (!leads || matches!(asker, Asker::Here { .. }));
        let (held, waiting) = self.waiting.drain(..).partition::<Vec<_>, _>(goes);
        self.held.extend(held);
        self.waiting.extend(waiting);
    }

    /// Whether somebody is held and no other way is being asked.
    pub(crate) fn may_flush(&self) -> bool {
        self.flush.is_none() && !self.held.is_empty()
    }

    /// Asks on one way for all who are held. Returns the question's nonce.
    pub(crate) fn begin_flush(&mut self, peer: ServerId, session: Session) -> u64 {
        self.counter += 1;
        let askers = std::mem::take(&mut self.held);
        self.flush = Some(Question { nonce: self.counter, peer, session, askers, ticks: 0 });
        self.counter
    }

    /// No other way is left: they wait as others do.
    pub(crate) fn release(&mut self) {
        self.waiting.extend(self.held.drain(..));
    }

    /// Whether this answers what was asked on another way. Who is held goes on to the next one.
    pub(crate) fn flushed(&mut self, peer: ServerId, session: Session, nonce: u64) -> bool {
        let asked = |asked: &mut Question| (asked.peer, asked.session, asked.nonce) == (peer, session, nonce);
        let answered = self.flush.take_if(asked);
        let is_answer = answered.is_some();
        self.held.extend(answered.into_iter().flat_map(|question| question.askers));
        is_answer
    }

    pub(crate) fn wait_again(&mut self, askers: Vec<Asker>) {
        for asker in askers.into_iter().rev() {
            self.waiting.push_front(asker);
        }
    }

    /// A session ended: its questions are void, and so are ours on it.
    pub(crate) fn link_down(&mut self, gone: ServerId) {
        if let Some(question) = self.question.take_if(|question| question.peer == gone) {
            self.wait_again(question.askers);
        }
        if let Some(question) = self.flush.take_if(|question| question.peer == gone) {
            self.held.extend(question.askers);
        }
        self.held.retain(|asker| !matches!(asker, Asker::Peer { peer, .. } if *peer == gone));
        self.waiting.retain(|asker| !matches!(asker, Asker::Peer { peer, .. } if *peer == gone));
    }

    /// Counts time; gives up what took too long, to try it again. Answers the peer that was asked on another way and
    /// does not answer.
    pub(crate) fn tick(&mut self, patience: u64) -> Option<ServerId> {
        if let Some(round) = &mut self.round {
            round.ticks += 1;
            if round.ticks > patience {
                self.drop_round();
            }
        }
        if let Some(question) = &mut self.question {
            question.ticks += 1;
        }
        if let Some(question) = self.question.take_if(|question| question.ticks > patience) {
            self.wait_again(question.askers);
        }
        let flush = self.flush.as_mut()?;
        flush.ticks += 1;
        let late = self.flush.take_if(|question| question.ticks > patience)?;
        self.held.extend(late.askers);
        Some(late.peer)
    }

    /// A read of this server knows its index.
    pub(crate) fn settle(&mut self, read: ReadId, index: Index) {
        self.ready.entry(index).or_default().push(read);
        self.ready_count += 1;
    }

    /// Reads whose index has been reached.
    pub(crate) fn take_ready(&mut self, reached: Index) -> Vec<(ReadId, Index)> {
        let mut taken = Vec::new();
        while let Some(entry) = self.ready.first_entry().filter(|entry| *entry.key() <= reached) {
            let index = *entry.key();
            taken.extend(entry.remove().into_iter().map(|read| (read, index)));
        }
        self.ready_count -= taken.len();
        taken
    }
}
