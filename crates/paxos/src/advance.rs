//! From input to one turn: what is decided, what is to be said, what is to be fetched and given.

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::PaxosMsg;

use crate::driver::Driver;
use crate::engine::{Engine, solo};
use crate::frame::{Frame, Gossip, Hello, WIRE_VERSION, cost_of};
use crate::link::Link;
use crate::reads::{Asker, Reach, Wants};
use crate::serve::{self, Step};
use crate::turn::{Effect, Turn};
use crate::write::Write;
use crate::{Batch, Command, Index, ServerId};

impl Driver {
    /// Everything that the input so far leads to. Nothing while a turn is under way, or when nothing is to be
    /// done.
    pub fn poll_turn(&mut self) -> Option<Turn> {
        if self.in_flight {
            return None;
        }
        self.advance();
        let effects = std::mem::take(&mut self.effects);
        // A decided index alone waits for company: it is not worth a sync.
        let batch = self.store.take();
        if effects.is_empty() && batch.writes().is_empty() {
            return None;
        }
        self.in_flight = true;
        let ahead = self.may_go_ahead(&batch);
        Some(Turn::new(batch, effects, ahead))
    }

    /// Whether a turn's effects rest on nothing that the turn writes. So it is for a leader whose ballot is
    /// durable and who has only appended: its own vote for the new entries is the one thing that needs the
    /// sync. Followers may vote before it is done, but what follows from their votes waits for the next turn,
    /// and that waits for this one.
    fn may_go_ahead(&mut self, batch: &Batch) -> bool {
        let leading = self.engine.paxos().and_then(|paxos| paxos.leading());
        let before = std::mem::replace(&mut self.led, leading);
        let rests_on_nothing = leading.is_some() && leading == before && batch.only_appends();
        let installs = batch.writes().iter().any(|write| matches!(write, Write::Install(_)));
        let sabotaged = self.setup.sabotage.send_all_ahead && !installs;
        self.setup.send_ahead && (rests_on_nothing || sabotaged)
    }

    fn advance(&mut self) {
        self.release_parked();
        if let Engine::Solo(_) = self.engine {
            solo::decide(&self.store);
        }
        self.emit();
        self.change_over();
        self.drain_core();
        // Commands first: a question about what became of them goes the same way, behind them.
        self.send_forwarded();
        self.advance_reads();
        self.advance_pull();
        self.report_received();
        self.serve_peers();
    }

    /// Hands the application what is decided and new.
    fn emit(&mut self) {
        let from = self.emitted + 1;
        let (checkpoint, commands) = self.store.read(|image| {
            let start = from.max(image.checkpoint + 1);
            let commands: Vec<Command> =
                (start..=image.have()).map_while(|index| image.entry(index).cloned()).collect();
            (image.checkpoint, commands)
        });
        if checkpoint >= from {
            self.effects.push(Effect::Restore(checkpoint));
            self.emitted = checkpoint;
            // Some of what was counted may be in it.
            self.counted = Ballot::default();
        }
        if !commands.is_empty() {
            let at = self.emitted + 1;
            self.emitted += commands.len() as Index;
            self.undecided = self.undecided.saturating_sub(cost_of(&commands));
            self.effects.push(Effect::Decided { at, commands });
        }
    }

    /// Sends what the core wants sent, on the sessions of this moment.
    pub(crate) fn drain_core(&mut self) {
        let Some(paxos) = self.engine.paxos() else { return };
        let messages = paxos.take_messages();
        let members = paxos.configuration.clone();
        for message in messages {
            let Some(peer) = members.server(message.get_receiver()) else { continue };
            let wanted = self.links.get(&peer).is_some_and(|link| {
                link.usable() && link.configuration == members.id && !is_answered(link, &message)
            });
            if wanted {
                self.send(peer, Frame::Core { configuration: members.id, message });
            }
        }
    }

    fn advance_reads(&mut self) {
        let lenient = &self.setup.sabotage;
        let (skip_floor, skip_quorum) = (lenient.skip_read_floor, lenient.skip_read_quorum);
        self.flush_other_ways();
        match &mut self.engine {
            Engine::Solo(_) => {
                let askers = self.reads.take_waiting();
                self.serve_reads(askers, Reach::all(self.emitted));
            }
            Engine::Paxos(paxos) => {
                let leading = paxos.leading();
                if self.reads.round_ballot().is_some_and(|ballot| Some(ballot) != leading) {
                    self.reads.drop_round();
                }
                let majority = if skip_quorum { 1 } else { paxos.configuration.majority() };
                if let Some((reach, askers)) = self.reads.finish_round(majority) {
                    self.serve_reads(askers, reach);
                }
                if leading.is_some() {
                    self.begin_round(skip_floor);
                } else {
                    self.ask_leader();
                }
            }
            Engine::Learner => self.ask_leader(),
        }
        for (read, index) in self.reads.take_ready(self.emitted) {
            self.effects.push(Effect::ReadReady { read, index });
        }
    }

    fn begin_round(&mut self, skip_floor: bool) {
        let Some(paxos) = self.engine.paxos() else { return };
        let Some((ballot, reach)) = paxos.read_index(skip_floor) else { return };
        let members = paxos.configuration.clone();
        if let Some(round) = self.reads.begin_round(self.me.server, ballot, reach) {
            let usable = |peer: &ServerId| self.links.get(peer).is_some_and(Link::usable);
            let reachable: Vec<ServerId> = members.servers().filter(usable).collect();
            for member in self.reads.to_ask(&reachable, members.majority() - 1) {
                self.send(member, Frame::Confirm { configuration: members.id, round });
            }
        }
    }

    /// Those who were asked do not answer: the others may.
    pub(crate) fn widen_round(&mut self) {
        let Some(round) = self.reads.late_round() else { return };
        let Some(members) = self.engine.configuration().cloned() else { return };
        for member in members.servers() {
            self.send(member, Frame::Confirm { configuration: members.id, round });
        }
    }

    fn ask_leader(&mut self) {
        if !self.reads.is_waiting() || self.reads.is_asking() {
            return;
        }
        let Some(peer) = self.leader_link() else { return };
        let Some(session) = self.links.get(&peer).map(|link| link.session) else { return };
        if let Some((nonce, wants)) = self.reads.begin_question(peer, session) {
            self.send(peer, ask(nonce, wants));
        }
    }

    /// Commands that were sent to a peer which is not the way to the leader any more may be with it, or on from it. It
    /// is asked to pass a question on behind them, before the question goes today's way.
    fn flush_other_ways(&mut self) {
        let (way, leads) = (self.leader_link(), self.engine.leads(self.me.server));
        let mut others = self.links.iter().filter(|(_, link)| link.forwarded && link.usable());
        let other = others.find(|(peer, _)| Some(**peer) != way).map(|(peer, link)| (*peer, link.session));
        if other.is_some() {
            self.reads.hold(leads);
        }
        if !self.reads.may_flush() {
            return;
        }
        match other {
            Some((peer, session)) => {
                let nonce = self.reads.begin_flush(peer, session);
                self.send(peer, Frame::EndAsk { nonce });
            }
            None => self.reads.release(),
        }
    }

    pub(crate) fn is_flushed(&mut self, peer: ServerId) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.forwarded = false;
        }
    }

    pub(crate) fn serve_reads(&mut self, askers: Vec<Asker>, reach: Reach) {
        for asker in askers {
            let index = reach.of(asker.wants());
            match asker {
                Asker::Here { read, .. } => self.reads.settle(read, index),
                Asker::Peer { peer, session, nonce, .. } => {
                    if self.links.get(&peer).is_some_and(|link| link.session == session) {
                        self.send(peer, Frame::ReadAnswer { nonce, index: Some(index) });
                    }
                }
            }
        }
    }

    /// The peer to whom commands and reads for the leader go: the leader, else somebody who says that he knows
    /// one, else, for a server that only follows, any member.
    pub(crate) fn leader_link(&self) -> Option<ServerId> {
        let usable = |peer: &ServerId| self.links.get(peer).is_some_and(Link::usable);
        let known = self.engine.leader().map(|(leader, _)| leader).filter(|leader| *leader != self.me.server);
        if let Some(leader) = known.filter(|leader| usable(leader)) {
            return Some(leader);
        }
        if self.engine.leader().is_some_and(|(leader, _)| leader == self.me.server) {
            return None;
        }
        let mut speaking = self.links.iter().filter(|(_, link)| link.usable());
        let hinted = speaking.clone().filter_map(|(_, link)| link.gossip.leader).find(usable);
        hinted.or_else(|| speaking.find(|(_, link)| link.configuration > 0).map(|(peer, _)| *peer))
    }

    fn send_forwarded(&mut self) {
        self.forwarding_cost = 0;
        for (hops, commands) in std::mem::take(&mut self.forwarding) {
            if let Some(peer) = self.leader_link() {
                self.send(peer, Frame::Forward { hops, commands });
                if let Some(link) = self.links.get_mut(&peer) {
                    link.forwarded = true;
                }
            }
        }
    }

    fn serve_peers(&mut self) {
        let (have, chunk) = (self.emitted, self.setup.chunk_bytes);
        for (peer, link) in self.links.iter_mut().filter(|(_, link)| link.usable()) {
            let Some(serving) = link.serving.as_mut() else { continue };
            let (peer, session) = (*peer, link.session);
            while link.credit > 0 {
                match self.store.read(|image| serving.step(image, have, chunk)) {
                    Step::Send(frame) => {
                        link.credit -= frame.cost() as i64;
                        self.effects.push(Effect::Send { peer, session, frame });
                    }
                    Step::Ask { index, offset, max } => {
                        self.effects.push(serve::ask(peer, session, index, offset, max));
                    }
                    Step::Wait => break,
                }
            }
        }
    }
}

fn ask(nonce: u64, wants: Wants) -> Frame {
    match wants {
        Wants::Decided => Frame::ReadAsk { nonce },
        Wants::Taken => Frame::EndAsk { nonce },
    }
}

/// What this server lets others know.
impl Driver {
    pub(crate) fn hello(&self) -> Frame {
        let configuration = self.store.read(|image| image.configuration.clone());
        Frame::Hello(Hello { version: WIRE_VERSION, disk: self.me.disk, configuration })
    }

    pub(crate) fn gossip(&mut self, peer: ServerId) {
        let Some(link) = self.links.get_mut(&peer).filter(|link| link.usable()) else { return };
        link.reported = link.received;
        let gossip = Gossip {
            configuration: self.engine.configuration().map_or(0, |known| known.id),
            promise: self.engine.promise(),
            have: self.emitted,
            leader: self.engine.leader().map(|(leader, _)| leader),
            received: link.received,
        };
        self.send(peer, Frame::Gossip(gossip));
    }

    /// Under load the window must not wait for the next round of gossip.
    fn report_received(&mut self) {
        let quarter = self.setup.window_bytes / 4;
        let due = |link: &Link| link.received - link.reported >= quarter;
        let peers: Vec<ServerId> =
            self.links.iter().filter(|(_, link)| due(link)).map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.gossip(peer);
        }
    }
}

/// Whether a promise is a repetition of one that the leader has answered: the answer waits here for state, so
/// the core, which does not know it, repeats itself, and each repetition would start the leader over.
fn is_answered(link: &Link, message: &Message<Command>) -> bool {
    let Message::SequencePaxos(message) = message else { return false };
    let PaxosMsg::Promise(promise) = &message.msg else { return false };
    link.parked.iter().any(|parked| match parked {
        Message::SequencePaxos(parked) => {
            matches!(&parked.msg, PaxosMsg::AcceptSync(accept) if accept.n == promise.n)
        }
        Message::BLE(_) => false,
    })
}
