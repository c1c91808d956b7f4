//! One lifetime of a cluster: a loop over events, and what each of them does.

use bytes::Bytes;
use paxos::{Effect, Frame, Identity, Index, Lane, PieceRead, ServerId, Session, Turn};

use crate::client::Client;
use crate::event::{Agenda, Event};
use crate::host::{Host, Step};
use crate::net::{MAX_HOSTS, Net, pair_of, side_of, sides};
use crate::oracle::{Oracle, Violation};
use crate::plan::{Micros, Plan, Variant};
use crate::rng::Rng;
use crate::trace::Trace;

/// What a lifetime amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames delivered.
    pub messages: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Commands in the history.
    pub decided: u64,
    /// Commands and reads answered to clients.
    pub answered: u64,
    /// Frames of state fetched beside the core.
    pub fetched: u64,
    /// Configurations taken up, by any server.
    pub configured: u64,
}

/// The cluster and everything around it.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) variant: Variant,
    pub(crate) agenda: Agenda,
    pub(crate) hosts: Vec<Host>,
    pub(crate) net: Net,
    pub(crate) oracle: Oracle,
    pub(crate) clients: Vec<Client>,
    pub(crate) counts: Counts,
    pub(crate) healed_at: Option<Micros>,
    pub(crate) noise_value: u64,
    pub(crate) next_read: u64,
    pub(crate) trace: Trace,
}

impl World {
    /// A cluster about to be founded.
    pub(crate) fn new(seed: u64, variant: &Variant, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng, variant);
        let mut world = Self {
            clients: (0..plan.clients).map(|at| Client::new(at + 1)).collect(),
            rng,
            plan,
            variant: variant.clone(),
            agenda: Agenda::default(),
            hosts: Vec::new(),
            net: Net::default(),
            oracle: Oracle::default(),
            counts: Counts::default(),
            healed_at: None,
            noise_value: 0,
            next_read: 0,
            trace,
        };
        world.trace.say(0, || format!("{:?}", world.plan));
        let founders: Vec<Identity> = (0..world.plan.founders).map(|at| world.identity(at)).collect();
        for identity in &founders {
            world.add_host(*identity, Some(founders.clone()));
        }
        world.begin();
        world
    }

    /// Sparse numbers, so that a confusion of server and rank shows.
    fn identity(&mut self, at: usize) -> Identity {
        Identity { server: ServerId(1_000 + 37 * at as u64), disk: self.rng.next() }
    }

    /// A new server on an empty disk, which starts soon.
    pub(crate) fn add_new_host(&mut self) -> Option<usize> {
        if self.hosts.len() >= MAX_HOSTS {
            return None;
        }
        let identity = self.identity(self.hosts.len());
        Some(self.add_host(identity, None))
    }

    fn add_host(&mut self, identity: Identity, founders: Option<Vec<Identity>>) -> usize {
        let host = self.hosts.len();
        self.hosts.push(Host::new(identity, founders, self.variant.lying_disk));
        let delay = self.rng.below(5_000);
        self.agenda.after(delay, Event::Restart { host, life: 0 });
        host
    }

    fn begin(&mut self) {
        for client in 0..self.clients.len() {
            self.agenda.after(1_000, Event::Client { client, turn: 0 });
        }
        self.agenda.after(5_000, Event::Noise);
        let first = self.rng.below(self.plan.fault_every_us * 2);
        self.agenda.after(first, Event::Fault);
        self.agenda.at(self.plan.chaos_us, Event::Heal);
        if self.plan.membership {
            self.agenda.after(150_000, Event::Operate);
        }
    }

    /// Lives to the end.
    ///
    /// # Errors
    /// What was violated, and when.
    pub(crate) fn live(&mut self) -> Result<Counts, Violation> {
        while let Some(event) = self.agenda.next() {
            if let Event::Check = event {
                if self.check()? {
                    self.counts.decided = self.oracle.len();
                    return Ok(self.counts);
                }
                continue;
            }
            self.happen(event)?;
        }
        Err("the simulation ran out of events".to_owned())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Tick { host, life } => self.tick(host, life),
            Event::Synced { host, life } => self.synced(host, life),
            Event::Deliver { pair, session, from, lane } => self.deliver(pair, session, from, lane),
            Event::Piece { host, life, peer, session, index, offset, max } => {
                self.piece(host, life, peer, session, (index, offset, max))
            }
            Event::Save { host, life } => {
                self.save(host, life);
                Ok(())
            }
            Event::Saved { host, life } => self.saved(host, life),
            Event::Up { pair, session, side } => self.up(pair, session, side),
            Event::Down { pair, session, side, life } => self.down(pair, session, side, life),
            Event::Restart { host, life } => self.restart(host, life),
            Event::Client { client, turn } => self.client_acts(client, turn),
            Event::Noise => self.noise(),
            Event::Connect { pair } => {
                self.connect(pair);
                Ok(())
            }
            Event::Silent { pair, session } => {
                self.silent(pair, session);
                Ok(())
            }
            Event::Mend { pair, from } => {
                self.net.pair(pair).cut[from] = false;
                self.unstall(pair);
                Ok(())
            }
            Event::Quicken { pair } => {
                self.net.pair(pair).slow_us = 0;
                Ok(())
            }
            Event::Recover { host } => {
                self.recover(host);
                Ok(())
            }
            Event::Jolt { pair } => {
                self.end_session(pair);
                Ok(())
            }
            Event::Fault => self.fault(),
            Event::Operate => self.operate(),
            Event::Heal => self.heal(),
            Event::Check => Ok(()),
        }
    }

    pub(crate) fn now(&self) -> Micros {
        self.agenda.now
    }

    /// Until when a process is stopped, if it is.
    fn paused(&self, host: usize) -> Option<Micros> {
        Some(self.hosts[host].paused_until).filter(|until| *until > self.now())
    }

    fn alive(&self, host: usize, life: u32) -> bool {
        self.hosts[host].process.is_some() && self.hosts[host].life == life
    }

    fn tick(&mut self, host: usize, life: u32) -> Result<(), Violation> {
        if !self.alive(host, life) {
            return Ok(());
        }
        if let Some(until) = self.paused(host) {
            self.agenda.at(until, Event::Tick { host, life });
            return Ok(());
        }
        let local = self.hosts[host].local_ms(self.now());
        if let Some(process) = &mut self.hosts[host].process {
            process.driver.handle_time(local);
            let next = process.driver.poll_timeout();
            let next = self.hosts[host].world_us(next);
            self.agenda.at(next.max(self.now() + 1), Event::Tick { host, life });
        }
        self.pump(host)
    }

    fn restart(&mut self, host: usize, life: u32) -> Result<(), Violation> {
        if self.hosts[host].gone || self.hosts[host].process.is_some() || self.hosts[host].life != life {
            return Ok(());
        }
        let now = self.now();
        let setup = self.plan.setup.clone();
        self.hosts[host].start(now, &setup).map_err(|cause| format!("start server {host}: {cause}"))?;
        self.trace.say(now, || format!("server {host} starts"));
        let life = self.hosts[host].life;
        let first = self.rng.below(20_000);
        self.agenda.after(first, Event::Tick { host, life });
        let save = self.rng.below(self.plan.checkpoint_every_us * 2);
        self.agenda.after(save, Event::Save { host, life });
        for other in 0..self.hosts.len() {
            if other != host {
                let delay = self.rng.below(20_000);
                self.agenda.after(delay, Event::Connect { pair: pair_of(host, other) });
            }
        }
        self.pump(host)
    }

    /// Lets a server go on until it waits for its disk or for input.
    pub(crate) fn pump(&mut self, host: usize) -> Result<(), Violation> {
        loop {
            let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
            let Some(mut turn) = process.driver.poll_turn() else {
                let ahead = process.driver.poll_heartbeats();
                return ahead.into_iter().try_for_each(|effect| self.carry_out(host, effect));
            };
            if turn.batch().needs_sync() {
                let ahead = turn.take_ahead();
                process.turn = Some(turn);
                let time = self.rng.below(self.plan.sync_us) + self.hosts[host].slow_disk_us;
                let life = self.hosts[host].life;
                self.agenda.after(time, Event::Synced { host, life });
                for effect in ahead {
                    self.carry_out(host, effect)?;
                }
                return Ok(());
            }
            self.complete(host, turn)?;
        }
    }

    fn synced(&mut self, host: usize, life: u32) -> Result<(), Violation> {
        if !self.alive(host, life) {
            return Ok(());
        }
        if let Some(until) = self.paused(host) {
            self.agenda.at(until, Event::Synced { host, life });
            return Ok(());
        }
        let turn = self.hosts[host].process.as_mut().and_then(|process| process.turn.take());
        if let Some(turn) = turn {
            self.complete(host, turn)?;
        }
        self.pump(host)
    }

    fn complete(&mut self, host: usize, turn: Turn) -> Result<(), Violation> {
        let Ok(persisted) = turn.persist(&mut self.hosts[host].disk);
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let effects = process.driver.handle_persisted(persisted);
        let carried_out = match self.hosts[host].die_at.take() {
            Some(Step::Persisted) => 0,
            Some(Step::Effects(some)) => some,
            None => usize::MAX,
        };
        for effect in effects.into_iter().take(carried_out) {
            self.carry_out(host, effect)?;
        }
        if carried_out != usize::MAX {
            self.crash(host);
        }
        Ok(())
    }

    fn carry_out(&mut self, host: usize, effect: Effect) -> Result<(), Violation> {
        match effect {
            Effect::Send { peer, session, frame } => self.send(host, peer, session, frame),
            Effect::Reset { peer, session } => {
                self.reset(host, peer, session);
                Ok(())
            }
            Effect::Restore(index) => self.restore(host, index),
            Effect::Decided { at, commands } => self.decided(host, at, commands),
            Effect::Configured(configuration) => {
                self.counts.configured += 1;
                self.trace.say(self.agenda.now, || format!("server {host} takes up {configuration:?}"));
                self.oracle.configured(host, &configuration)
            }
            Effect::ReadReady { read, index } => self.read_ready(host, read, index),
            Effect::ReadCheckpoint { peer, session, index, offset, max } => {
                let life = self.hosts[host].life;
                let delay = self.rng.below(2_000);
                self.agenda.after(delay, Event::Piece { host, life, peer, session, index, offset, max });
                Ok(())
            }
            Effect::Refused { peer, why } => {
                self.trace.say(self.agenda.now, || format!("server {host} refuses {peer:?}: {why}"));
                Ok(())
            }
            Effect::Released => {
                self.released(host);
                Ok(())
            }
        }
    }
}

/// The network's part.
impl World {
    pub(crate) fn host_of(&self, server: ServerId) -> Option<usize> {
        self.hosts.iter().position(|host| host.identity.server == server)
    }

    fn send(&mut self, host: usize, peer: ServerId, session: Session, frame: Frame) -> Result<(), Violation> {
        let Some(other) = self.host_of(peer) else { return Ok(()) };
        let pair = pair_of(host, other);
        let from = side_of(pair, host);
        let (lane, now) = (frame.lane(), self.now());
        let state = self.net.pair(pair);
        if !state.alive || state.session != session.0 {
            return Ok(());
        }
        self.trace.frame(now, host, other, &frame);
        let due = now + self.plan.latency_us + self.rng.below(self.plan.jitter_us) + state.slow_us;
        let queue = state.queue(from, lane);
        let due = queue.push(frame, due);
        let limit = match lane {
            Lane::Order => self.plan.setup.window_bytes + self.plan.setup.undecided_bytes + 1_024,
            Lane::Bulk => self.plan.setup.credit_bytes + self.plan.setup.chunk_bytes as u64 + 256,
        };
        if queue.cost > limit {
            return Err(format!(
                "memory: {} bytes are queued from {host} to {other} on {lane:?}",
                queue.cost
            ));
        }
        self.agenda.at(due, Event::Deliver { pair, session: session.0, from, lane });
        Ok(())
    }

    fn deliver(&mut self, pair: usize, session: u64, from: usize, lane: Lane) -> Result<(), Violation> {
        let to = sides(pair)[1 - from];
        let paused = self.paused(to);
        let state = self.net.pair(pair);
        if !state.alive || state.session != session {
            return Ok(());
        }
        if !state.flows(from) {
            state.queue(from, lane).stalled += 1;
            return Ok(());
        }
        if let Some(until) = paused {
            self.agenda.at(until, Event::Deliver { pair, session, from, lane });
            return Ok(());
        }
        // The last commands come half a second after healing; their tail must be lost too, now and then.
        let late = self.healed_at.is_some_and(|healed| self.agenda.now > healed + 800_000);
        let lost = self.variant.lossy && !late && self.rng.chance(8);
        let any = (self.variant.reordering && lane == Lane::Order).then_some(&mut self.rng);
        let Some(frame) = state.queue(from, lane).pop(any) else { return Ok(()) };
        let peer = self.hosts[sides(pair)[from]].identity.server;
        let Some(process) = &mut self.hosts[to].process else { return Ok(()) };
        if lost && lane == Lane::Order && !matches!(frame, Frame::Hello(_)) {
            return Ok(());
        }
        self.counts.messages += 1;
        self.counts.fetched += u64::from(lane == Lane::Bulk);
        process.driver.handle_frame(peer, Session(session), frame);
        self.pump(to)
    }

    /// Deliveries that were held back come due again.
    pub(crate) fn unstall(&mut self, pair: usize) {
        let now = self.agenda.now;
        let state = self.net.pair(pair);
        for from in [0, 1] {
            if !state.flows(from) {
                continue;
            }
            for lane in [Lane::Order, Lane::Bulk] {
                let held = std::mem::take(&mut state.queue(from, lane).stalled);
                for _ in 0..held {
                    self.agenda.at(now + 10, Event::Deliver { pair, session: state.session, from, lane });
                }
            }
        }
    }

    fn piece(
        &mut self,
        host: usize,
        life: u32,
        peer: ServerId,
        session: Session,
        (index, offset, max): (Index, u64, usize),
    ) -> Result<(), Violation> {
        if !self.alive(host, life) {
            return Ok(());
        }
        let file = self.hosts[host].disk.file(index).cloned();
        let read = file.map(|file: Bytes| {
            let start = (offset as usize).min(file.len());
            let end = (start + max).min(file.len());
            PieceRead { index, offset, bytes: file.slice(start..end), last: end == file.len() }
        });
        if let Some(process) = &mut self.hosts[host].process {
            process.driver.handle_piece(peer, session, read);
        }
        self.pump(host)
    }
}
