//! Several drivers side by side, and the ways between them in the hands of a test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]
#![allow(dead_code, reason = "not every test needs all of it")]

use std::collections::VecDeque;
use std::convert::Infallible;

use portolan_paxos::{Batch, Disk, Driver, Effect, Frame, Identity, ServerId, Session, Setup, Turn};

/// It keeps nothing: nobody here restarts.
pub(crate) struct Forgetful;

impl Disk for Forgetful {
    type Error = Infallible;

    fn persist(&mut self, _: &Batch) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Of every link that is never begun anew.
pub(crate) const SESSION: Session = Session(1);

pub(crate) fn server(at: usize) -> ServerId {
    ServerId(10 + at as u64)
}

/// The place of a server that [`server`] made.
pub(crate) fn place(server: ServerId) -> usize {
    (server.0 - 10) as usize
}

/// So many founders of one cluster, each with a link to every other.
pub(crate) fn founders(count: usize, setup: &Setup) -> Vec<Driver> {
    let members: Vec<Identity> = (0..count).map(|at| Identity { server: server(at), disk: 1 }).collect();
    let found = |at: usize| {
        let mut driver = Driver::found(members[at], members.clone(), 0, setup.clone(), 0).unwrap();
        (0..count)
            .filter(|other| *other != at)
            .for_each(|other| driver.handle_link_up(server(other), SESSION));
        driver
    };
    (0..count).map(found).collect()
}

/// Drivers; what one sends another arrives in order, unless that way is held.
pub(crate) struct Group {
    pub(crate) drivers: Vec<Driver>,
    /// By sender, then by receiver.
    pub(crate) ways: Vec<Vec<VecDeque<(Session, Frame)>>>,
    pub(crate) held: Vec<Vec<bool>>,
    /// A turn that this one's disk works on.
    pub(crate) busy: Option<(usize, Turn)>,
    /// What each was told to do, but to send.
    pub(crate) told: Vec<Vec<Effect>>,
    now: u64,
}

impl Group {
    /// So many, of which one leads; which.
    pub(crate) fn elected(count: usize, setup: &Setup) -> (Group, usize) {
        let mut group = Group {
            drivers: founders(count, setup),
            ways: (0..count).map(|_| (0..count).map(|_| VecDeque::new()).collect()).collect(),
            held: vec![vec![false; count]; count],
            busy: None,
            told: (0..count).map(|_| Vec::new()).collect(),
            now: 0,
        };
        group.pass(50);
        let (leader, at_work) = group.drivers[0].status().leader.unwrap();
        assert!(at_work);
        (group, place(leader))
    }

    pub(crate) fn turn(&mut self, at: usize) -> bool {
        if self.busy.as_ref().is_some_and(|(slow, _)| *slow == at) {
            return false;
        }
        let Some(turn) = self.drivers[at].poll_turn() else { return false };
        self.finish(at, turn);
        true
    }

    pub(crate) fn finish(&mut self, at: usize, turn: Turn) {
        let Ok(persisted) = turn.persist(&mut Forgetful);
        for effect in self.drivers[at].handle_persisted(persisted) {
            match effect {
                Effect::Send { peer, session, frame } => {
                    self.ways[at][place(peer)].push_back((session, frame));
                }
                other => self.told[at].push(other),
            }
        }
    }

    /// Everything on one way arrives. Whether there was anything.
    pub(crate) fn deliver(&mut self, from: usize, to: usize) -> bool {
        let mut any = false;
        while let Some((session, frame)) = self.ways[from][to].pop_front() {
            self.drivers[to].handle_frame(server(from), session, frame);
            any = true;
        }
        any
    }

    /// Until nothing follows any more, but on ways that are held.
    pub(crate) fn settle(&mut self) {
        let count = self.drivers.len();
        loop {
            let mut any = false;
            for from in 0..count {
                any |= self.turn(from);
                for to in 0..count {
                    any |= !self.held[from][to] && self.deliver(from, to);
                }
            }
            if !any {
                return;
            }
        }
    }

    pub(crate) fn pass(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now += Setup::default().tick_ms;
            let now = self.now;
            self.drivers.iter_mut().for_each(|driver| driver.handle_time(now));
            self.settle();
        }
    }

    /// Until something holds, within so many ticks.
    pub(crate) fn pass_until(&mut self, ticks: u64, holds: impl Fn(&Group) -> bool) {
        for _ in 0..ticks {
            if holds(self) {
                return;
            }
            self.pass(1);
        }
        panic!("not within {ticks} ticks");
    }

    /// Nothing goes between these two any more, and both know.
    pub(crate) fn part(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            self.ways[from][to].clear();
            self.drivers[from].handle_link_down(server(to), SESSION);
        }
    }

    /// Whom a server takes for the leader at work.
    pub(crate) fn leader_seen_by(&self, at: usize) -> Option<usize> {
        self.drivers[at].status().leader.filter(|(_, at_work)| *at_work).map(|(leader, _)| place(leader))
    }
}
