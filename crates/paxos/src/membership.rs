//! Changing who takes part.
//!
//! A decided stop-sign seals the log and names the next members. Every server that learns of it, whether from
//! its own log or from a peer that has gone on, takes up the next configuration: a new, empty log whose first
//! index follows the last of the old. Nobody takes office before everything up to that base is on its disk, so
//! any majority of the new members holds all that was ever acknowledged, and no server of the old
//! configuration is needed once they have it. Until every new member has taken office, a server that left goes
//! on giving state to whoever asks.

use crate::driver::{Driver, build};
use crate::engine::Engine;
use crate::turn::Effect;
use crate::write::Write;
use crate::{Configuration, Identity, MAX_MEMBERS, ServerId, Successor};

/// Why the servers cannot be changed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Only the leader can, and this server is not the leader at work.
    #[error("only the leader can change the servers")]
    NotLeader(Option<ServerId>),
    /// A change is under way.
    #[error("the servers are being changed already")]
    Pending,
    /// None, too many, or the same as now.
    #[error("{0} servers cannot take over from the present ones")]
    Members(usize),
    /// This one is not connected, or has not enough of the state yet.
    #[error("server {0} is not ready to take part: it is not connected, or still fetching state")]
    NotReady(ServerId),
    /// Too few of the new members are connected to decide anything.
    #[error("fewer than a majority of the new servers are connected")]
    NoMajority,
}

impl Driver {
    /// Proposes the next members, as the leader. It is done when [`Effect::Configured`] names them, and may be
    /// lost like any proposal.
    ///
    /// # Errors
    /// [`Unfit`], with nothing changed.
    pub fn handle_reconfigure(&mut self, members: Vec<ServerId>) -> Result<(), Unfit> {
        let leader = self.engine.leader();
        let not_leader = Unfit::NotLeader(leader.map(|(leader, _)| leader));
        if leader != Some((self.me.server, true)) {
            return Err(not_leader);
        }
        let Some(present) = self.engine.configuration().cloned() else { return Err(not_leader) };
        let disk = |server: &ServerId| match present.disk_of(*server) {
            Some(disk) => disk,
            None => self.links.get(server).map_or(0, |link| link.disk),
        };
        let members = members.iter().map(|server| Identity { server: *server, disk: disk(server) }).collect();
        let next = Configuration::new(present.id + 1, members, 0);
        self.judge(&present, &next)?;
        let successor = Successor { id: next.id, members: next.members().to_vec() };
        match &mut self.engine {
            Engine::Learner => Err(not_leader),
            Engine::Solo(_) => {
                self.store.write(Write::Seal(Some(successor)));
                Ok(())
            }
            Engine::Paxos(paxos) => paxos.seal(&successor).then_some(()).ok_or(Unfit::Pending),
        }
    }

    fn judge(&self, present: &Configuration, next: &Configuration) -> Result<(), Unfit> {
        if self.store.read(|image| image.seal.is_some()) {
            return Err(Unfit::Pending);
        }
        let count = next.members().len();
        if count == 0 || count > MAX_MEMBERS || next.members() == present.members() {
            return Err(Unfit::Members(count));
        }
        let speaks = |server: ServerId| {
            server == self.me.server || self.links.get(&server).is_some_and(|link| link.usable())
        };
        for server in next.servers().filter(|server| !present.contains(*server)) {
            let have = self.links.get(&server).map_or(0, |link| link.gossip.have);
            if !speaks(server) || have + self.setup.join_slack < self.emitted {
                return Err(Unfit::NotReady(server));
            }
        }
        let connected = next.servers().filter(|server| speaks(*server)).count();
        if connected < next.majority() { Err(Unfit::NoMajority) } else { Ok(()) }
    }

    /// A peer has taken up a configuration. That it exists proves that the one before it is sealed.
    pub(crate) fn hear_of(&mut self, configuration: &Configuration) {
        let ours = self.store.read(|image| image.configuration.as_ref().map_or(0, |known| known.id));
        let known = self.announced.as_ref().map_or(ours, |known| known.id.max(ours));
        if configuration.id > known {
            self.announced = Some(configuration.clone());
        }
    }

    /// Takes up the next configuration, once there is one and everything before it is here.
    pub(crate) fn change_over(&mut self) {
        if let Some(next) = self.next_configuration() {
            self.drain_core();
            self.take_up(next);
        }
        self.look_for_release();
    }

    fn next_configuration(&mut self) -> Option<Configuration> {
        let ours = self.store.read(|image| image.configuration.as_ref().map_or(0, |known| known.id));
        self.announced.take_if(|next| next.id <= ours);
        let here = self.emitted;
        let unready = self.setup.sabotage.skip_base;
        if let Some(next) = self.announced.take_if(|next| next.base <= here || unready) {
            return Some(next);
        }
        let (end, seal) = self.store.read(|image| (image.log.end(), image.seal.clone()));
        let sealed = match &self.engine {
            Engine::Learner => None,
            Engine::Solo(_) => seal,
            Engine::Paxos(paxos) => paxos.sealed(),
        };
        sealed.filter(|_| here >= end).map(|successor| successor.begin(end))
    }

    fn take_up(&mut self, next: Configuration) {
        self.store.write(Write::Configure(next.clone()));
        self.released = false;
        self.reads.drop_round();
        self.undecided = 0;
        self.counted = Default::default();
        match build(&self.setup, self.me, &self.store) {
            Ok(engine) => self.engine = engine,
            // The members were judged when they were proposed, so the core has nothing to refuse.
            Err(_) => self.engine = Engine::Learner,
        }
        self.effects.push(Effect::Configured(next));
        let peers: Vec<ServerId> = self.links.keys().copied().collect();
        for peer in peers {
            if let Some(link) = self.links.get_mut(&peer) {
                link.parked.clear();
                link.parked_cost = 0;
                link.outbid_ticks = 0;
                let session = link.session;
                let frame = self.hello();
                self.effects.push(Effect::Send { peer, session, frame });
            }
            self.meet(peer);
        }
    }

    /// A server that left may be switched off when every member has taken office.
    fn look_for_release(&mut self) {
        if self.released || self.engine.configuration().is_some() {
            return;
        }
        let left = self.store.read(|image| image.configuration.clone().filter(|_| image.served));
        let Some(present) = left else { return };
        let in_office = |server: ServerId| {
            self.links.get(&server).is_some_and(|link| link.usable() && link.configuration >= present.id)
        };
        if present.servers().all(in_office) {
            self.released = true;
            self.effects.push(Effect::Released);
        }
    }
}
