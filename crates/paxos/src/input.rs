//! Frames from peers.

use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::PaxosMsg;

use crate::driver::Driver;
use crate::engine::Paxos;
use crate::frame::{Frame, Gossip, Hello, Lane, WIRE_VERSION};
use crate::link::{correct, stands_for};
use crate::pull::Arrival;
use crate::reads::{Asker, Reach, Wants};
use crate::serve::Serving;
use crate::turn::{Effect, Refusal, Session};
use crate::{Command, Index, ServerId};

/// How often a command may be passed on before it is dropped for its proposer to propose again.
const MAX_HOPS: u8 = 2;

impl Driver {
    /// A frame arrived on a session. Frames of one lane arrive in the order in which they were sent.
    pub fn handle_frame(&mut self, peer: ServerId, session: Session, frame: Frame) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        if link.session != session || link.ending {
            return;
        }
        if frame.lane() == Lane::Order && !matches!(frame, Frame::Hello(_)) {
            if !link.greeted {
                return;
            }
            link.received += frame.cost();
        }
        match frame {
            Frame::Hello(hello) => self.handle_hello(peer, &hello),
            Frame::Gossip(gossip) => self.handle_gossip(peer, gossip),
            Frame::Core { configuration, message } => self.handle_core(peer, configuration, message),
            Frame::Forward { hops, commands } => self.handle_forward(hops, commands),
            Frame::Confirm { configuration, round } => self.handle_confirm(peer, configuration, round),
            Frame::Confirmed { round, promise } => {
                if self.engine.configuration().is_some_and(|ours| ours.contains(peer)) {
                    self.reads.confirm(peer, round, promise);
                }
            }
            Frame::ReadAsk { nonce } => self.handle_read_ask(peer, session, nonce, Wants::Decided),
            Frame::EndAsk { nonce } => self.handle_read_ask(peer, session, nonce, Wants::Taken),
            Frame::ReadAnswer { nonce, index } => self.handle_read_answer(peer, session, nonce, index),
            Frame::Pull { id, from } => link.serving = Some(Serving::new(id, from)),
            Frame::Credit { bytes } => link.credit = link.credit.saturating_add_unsigned(bytes),
            Frame::Enough { id } => drop(link.serving.take_if(|serving| serving.id() == id)),
            Frame::Entries { .. } | Frame::Piece { .. } => self.handle_bulk(peer, session, frame),
        }
    }

    fn handle_hello(&mut self, peer: ServerId, hello: &Hello) {
        if hello.version != WIRE_VERSION {
            self.refuse(peer, Refusal::Version(hello.version));
            return;
        }
        let known = self.store.read(|image| image.configuration.as_ref().and_then(|ours| ours.disk_of(peer)));
        if known.is_some_and(|disk| disk != hello.disk) && !self.setup.sabotage.skip_disk_check {
            self.refuse(peer, Refusal::OtherDisk);
            return;
        }
        // What the core has queued was meant for before.
        self.drain_core();
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.greeted = true;
        link.disk = hello.disk;
        link.configuration = hello.configuration.as_ref().map_or(0, |known| known.id);
        link.parked.clear();
        link.parked_cost = 0;
        if let Some(configuration) = &hello.configuration {
            self.hear_of(configuration);
        }
        self.meet(peer);
    }

    /// Tells the core that a peer is there anew, if both are in the same configuration.
    pub(crate) fn meet(&mut self, peer: ServerId) {
        if self.setup.sabotage.skip_reconnect {
            return;
        }
        let Some(link) = self.links.get(&peer).filter(|link| link.usable()) else { return };
        let paxos = self.engine.paxos().filter(|paxos| paxos.configuration.id == link.configuration);
        if let Some(paxos) = paxos {
            paxos.reconnected(peer);
        }
    }

    fn refuse(&mut self, peer: ServerId, why: Refusal) {
        self.effects.push(Effect::Refused { peer, why });
        self.reset(peer);
    }

    fn handle_gossip(&mut self, peer: ServerId, gossip: Gossip) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.gossip = gossip;
        }
    }

    fn handle_forward(&mut self, hops: u8, commands: Vec<Command>) {
        match self.engine.leader() {
            Some((leader, true)) if leader == self.me.server => {
                for command in commands {
                    // Refused here is lost on the way: the proposer tries again.
                    let _ = self.append(command);
                }
            }
            _ if hops < MAX_HOPS => {
                let _ = self.forward(hops + 1, commands);
            }
            _ => {}
        }
    }

    fn handle_confirm(&mut self, peer: ServerId, configuration: u32, round: u64) {
        if self.engine.configuration().is_some_and(|ours| ours.id == configuration) {
            let promise = self.engine.promise();
            self.send(peer, Frame::Confirmed { round, promise });
        }
    }

    fn handle_read_ask(&mut self, peer: ServerId, session: Session, nonce: u64, wants: Wants) {
        if self.add_read(Asker::Peer { peer, session, nonce, wants }).is_err() {
            self.send(peer, Frame::ReadAnswer { nonce, index: None });
        }
    }

    fn handle_read_answer(&mut self, peer: ServerId, session: Session, nonce: u64, index: Option<Index>) {
        if self.reads.flushed(peer, session, nonce) {
            self.is_flushed(peer);
            return;
        }
        let askers = self.reads.answer(peer, session, nonce);
        match index {
            Some(index) => self.serve_reads(askers, Reach::all(index)),
            None => self.reads.wait_again(askers),
        }
    }

    fn handle_bulk(&mut self, peer: ServerId, session: Session, frame: Frame) {
        // Granted back with the turn that made it durable; also for a transfer that is no longer wanted.
        self.send(peer, Frame::Credit { bytes: frame.cost() });
        let have = self.store.read(|image| image.have());
        let Some(pull) = self.pull.as_mut().filter(|pull| (pull.peer, pull.session) == (peer, session))
        else {
            return;
        };
        match pull.arrive(frame, have) {
            Arrival::Nothing => {}
            Arrival::Broken => self.reset(peer),
            Arrival::Take(writes) => {
                for write in writes {
                    self.store.write(write);
                }
            }
        }
    }
}

/// The core's own messages.
impl Driver {
    fn handle_core(&mut self, peer: ServerId, configuration: u32, message: Message<Command>) {
        let have = self.store.read(|image| image.have());
        let Some(link) = self.links.get_mut(&peer) else { return };
        let Some(paxos) = self.engine.paxos() else { return };
        if paxos.configuration.id != configuration || link.configuration != configuration {
            return;
        }
        let me = paxos.configuration.rank(self.me.server);
        if paxos.configuration.rank(peer) != Some(message.get_sender()) || me != Some(message.get_receiver())
        {
            self.refuse(peer, Refusal::Malformed);
            return;
        }
        // Heartbeats are not part of the ordered conversation, and a long transfer must not look like a death.
        let heartbeat = matches!(message, Message::BLE(_));
        if heartbeat || (link.parked.is_empty() && !must_wait(paxos, &message, have)) {
            paxos.hand_over(message);
            return;
        }
        if self.setup.sabotage.hand_on_snapshots {
            paxos.handle(message);
            return;
        }
        let cost = Frame::Core { configuration, message: message.clone() }.cost();
        // The first is let in whatever its size: without it there would be nothing to wait for.
        if link.parked_cost > self.setup.park_bytes {
            self.reset(peer);
        } else {
            link.park(message, cost);
        }
    }

    /// Hands the core what waited, as far as the state that it stands for has arrived.
    pub(crate) fn release_parked(&mut self) {
        let reached = self.store.read(|image| image.have());
        let Some(paxos) = self.engine.paxos() else { return };
        for link in self.links.values_mut() {
            while let Some(head) = link.parked.front() {
                if must_wait(paxos, head, reached) {
                    break;
                }
                if let Some(message) = link.unpark() {
                    paxos.hand_over(message);
                }
            }
        }
    }
}

impl Paxos {
    /// Gives the core a message whose snapshot, if it has one, stands for state that is here.
    fn hand_over(&mut self, mut message: Message<Command>) {
        correct(&mut message, self.length());
        self.handle(message);
    }

    /// Last index of the state that a message stands for.
    pub(crate) fn stands_for(&self, message: &Message<Command>) -> Option<Index> {
        stands_for(message).map(|local| self.configuration.base + local as Index)
    }

    /// Whether the core would use the message's snapshot now. If not, the message may go on as it is.
    fn uses(&self, message: &Message<Command>) -> bool {
        let Message::SequencePaxos(message) = message else { return false };
        let ballot = match &message.msg {
            PaxosMsg::AcceptSync(accept) => accept.n,
            PaxosMsg::Promise(promise) => promise.n,
            _ => return false,
        };
        ballot == self.promise() && !self.at_work()
    }
}

/// Whether a message must wait for state beyond `reached`.
fn must_wait(paxos: &Paxos, message: &Message<Command>, reached: Index) -> bool {
    paxos.stands_for(message).is_some_and(|end| end > reached) && paxos.uses(message)
}
