//! Clients that write and read, one thing at a time, and hold the servers to what they answer.

use paxos::{Index, ReadId};

use crate::app::{KEYS, Op};
use crate::event::Event;
use crate::oracle::Violation;
use crate::world::World;

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its number as a proposer.
    pub(crate) proposer: usize,
    /// The server it talks to.
    host: usize,
    sequence: u64,
    waits_for: Option<Wait>,
    /// Counts its actions; a time limit of an earlier one is void.
    turn: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Write(Op),
    Read(ReadId),
}

impl Client {
    /// A client that has done nothing.
    pub(crate) fn new(proposer: usize) -> Self {
        Self { proposer, host: 0, sequence: 0, waits_for: None, turn: 0 }
    }

    /// Whether everything it asked has been answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.waits_for.is_none()
    }
}

impl World {
    /// A client acts: something new, or, after waiting long enough, the same again elsewhere.
    pub(crate) fn client_acts(&mut self, client: usize, turn: u64) -> Result<(), Violation> {
        if self.clients[client].turn != turn {
            return Ok(());
        }
        self.clients[client].turn += 1;
        if let Some(Wait::Read(_)) = self.clients[client].waits_for {
            self.clients[client].waits_for = None;
        }
        let host = self.choose_host(client);
        match self.clients[client].waits_for {
            Some(Wait::Write(op)) => self.write(client, host, op),
            _ if self.healed_at.is_some_and(|healed| self.now() > healed + 500_000) => Ok(()),
            _ if self.rng.chance(400) => self.read(client, host),
            _ => {
                let key = self.rng.below(KEYS as u64);
                let value = self.rng.next();
                let me = &mut self.clients[client];
                me.sequence += 1;
                let op = Op { proposer: me.proposer as u64, sequence: me.sequence, key, value };
                me.waits_for = Some(Wait::Write(op));
                self.write(client, host, op)
            }
        }
    }

    fn choose_host(&mut self, client: usize) -> usize {
        let stays = self.hosts[self.clients[client].host].process.is_some() && self.rng.chance(700);
        if !stays {
            let running: Vec<usize> =
                (0..self.hosts.len()).filter(|host| self.hosts[*host].process.is_some()).collect();
            self.clients[client].host = self.rng.pick(&running).copied().unwrap_or(0);
        }
        self.clients[client].host
    }

    fn write(&mut self, client: usize, host: usize, op: Op) -> Result<(), Violation> {
        let padding = self.rng.below(self.plan.padding) as usize;
        let mut patience = self.rng.within(60_000, 600_000);
        let process = self.hosts[host].process.as_mut();
        if process.is_some_and(|process| process.driver.handle_propose(op.encode(padding)).is_err()) {
            patience = 20_000;
        }
        let turn = self.clients[client].turn;
        self.agenda.after(patience, Event::Client { client, turn });
        self.pump(host)
    }

    fn read(&mut self, client: usize, host: usize) -> Result<(), Violation> {
        self.next_read += 1;
        let read = ReadId(self.next_read);
        let floor = self.oracle.floor;
        // An end lies behind what is decided, too: whoever waits for it is promised no less.
        let asks_for_end = self.rng.chance(250);
        if let Some(process) = &mut self.hosts[host].process {
            let driver = &mut process.driver;
            let taken = if asks_for_end { driver.handle_end(read) } else { driver.handle_read(read) };
            if taken.is_ok() {
                process.reads.insert(read, (client, floor));
                self.clients[client].waits_for = Some(Wait::Read(read));
            }
        }
        let patience = self.rng.within(60_000, 600_000);
        let turn = self.clients[client].turn;
        self.agenda.after(patience, Event::Client { client, turn });
        self.pump(host)
    }

    /// The server that a client talks to has applied its command.
    pub(crate) fn acknowledge(&mut self, host: usize, proposer: usize, sequence: u64, index: Index) {
        let Some(client) = self.clients.iter().position(|client| client.proposer == proposer) else { return };
        let waits = match self.clients[client].waits_for {
            Some(Wait::Write(op)) => op.sequence == sequence && self.clients[client].host == host,
            _ => false,
        };
        if waits {
            self.oracle.floor = self.oracle.floor.max(index);
            self.go_on(client);
        }
    }

    pub(crate) fn answered_read(&mut self, client: usize, read: ReadId) {
        if self.clients[client].waits_for == Some(Wait::Read(read)) {
            self.go_on(client);
        }
    }

    fn go_on(&mut self, client: usize) {
        self.counts.answered += 1;
        let think = self.rng.below(8_000);
        let me = &mut self.clients[client];
        me.waits_for = None;
        me.turn += 1;
        let turn = me.turn;
        self.agenda.after(think, Event::Client { client, turn });
    }

    /// A burst of commands that nobody waits for.
    pub(crate) fn noise(&mut self) -> Result<(), Violation> {
        if self.healed_at.is_some_and(|healed| self.now() > healed + 500_000) {
            return Ok(());
        }
        let next = self.rng.below(self.plan.noise_every_us * 2);
        self.agenda.after(next, Event::Noise);
        let host = self.rng.below(self.hosts.len() as u64) as usize;
        for _ in 0..self.rng.below(self.plan.burst) {
            self.noise_value += 1;
            let key = self.rng.below(KEYS as u64);
            let op = Op { proposer: 0, sequence: self.noise_value, key, value: self.rng.next() };
            let padding = self.rng.below(self.plan.padding) as usize;
            if let Some(process) = &mut self.hosts[host].process {
                // Refused is lost, and nobody minds.
                let _ = process.driver.handle_propose(op.encode(padding));
            }
        }
        self.pump(host)
    }
}
