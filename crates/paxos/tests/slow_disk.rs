//! A disk that takes long is not a dead server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod support;

use portolan_paxos::{Driver, Effect, Frame, Setup, Turn};
use support::{Forgetful, SESSION, founders, place, server};

/// Three drivers side by side, each frame delivered at once and in order.
struct Trio {
    drivers: Vec<Driver>,
    turns: Vec<Option<Turn>>,
    now: u64,
    /// Whose disk takes for ever, and whether its heartbeats are sent all the same.
    slow: Option<usize>,
    beats: bool,
}

impl Trio {
    fn new() -> Trio {
        let turns = (0..3).map(|_| None).collect();
        Trio { drivers: founders(3, &Setup::default()), turns, now: 0, slow: None, beats: true }
    }

    /// One after the other goes on as far as it can.
    fn settle(&mut self) {
        loop {
            let mut sent = Vec::new();
            for at in 0..3 {
                for effect in self.advance(at) {
                    if let Effect::Send { peer, frame, .. } = effect {
                        sent.push((at, peer, frame));
                    }
                }
            }
            if sent.is_empty() {
                return;
            }
            for (from, to, frame) in sent {
                self.drivers[place(to)].handle_frame(server(from), SESSION, frame);
            }
        }
    }

    fn advance(&mut self, at: usize) -> Vec<Effect> {
        let driver = &mut self.drivers[at];
        if self.slow == Some(at) {
            if self.turns[at].is_none() {
                self.turns[at] = driver.poll_turn();
            }
            return if self.beats { driver.poll_heartbeats() } else { Vec::new() };
        }
        let turn = self.turns[at].take().or_else(|| driver.poll_turn());
        let Some(turn) = turn else { return Vec::new() };
        let Ok(persisted) = turn.persist(&mut Forgetful);
        driver.handle_persisted(persisted)
    }

    fn pass(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now += Setup::default().tick_ms;
            self.drivers.iter_mut().for_each(|driver| driver.handle_time(self.now));
            self.settle();
        }
    }

    fn leader_seen_by(&self, at: usize) -> Option<usize> {
        let (leader, is_at_work) = self.drivers[at].status().leader?;
        is_at_work.then_some(place(leader))
    }

    /// One who leads and whose disk has just been given something to do.
    fn with_a_slow_leader(beats: bool) -> (Trio, usize) {
        let mut trio = Trio::new();
        trio.pass(50);
        let leader = trio.leader_seen_by(0).unwrap();
        (trio.slow, trio.beats) = (Some(leader), beats);
        trio.drivers[leader].handle_propose(b"x".as_slice().into()).unwrap();
        trio.pass(1);
        (trio, leader)
    }
}

#[test]
fn a_leader_whose_disk_stalls_keeps_its_office() {
    let (mut trio, leader) = Trio::with_a_slow_leader(true);
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    for _ in 0..100 {
        trio.pass(1);
        assert!(others.iter().all(|at| trio.leader_seen_by(*at) == Some(leader)));
    }
    // What waited is done as soon as the disk is.
    trio.slow = None;
    trio.pass(5);
    assert!(trio.drivers.iter().all(|driver| driver.status().emitted == 1));
    assert_eq!(trio.leader_seen_by(others[0]), Some(leader));
}

#[test]
fn without_heartbeats_it_is_replaced() {
    let (mut trio, leader) = Trio::with_a_slow_leader(false);
    trio.pass(100);
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    assert!(others.iter().all(|at| trio.leader_seen_by(*at).is_some_and(|new| new != leader)));
}

#[test]
fn only_heartbeats_go_ahead_of_the_disk() {
    let (mut trio, leader) = Trio::with_a_slow_leader(true);
    for _ in 0..20 {
        trio.now += Setup::default().tick_ms;
        let now = trio.now;
        trio.drivers[leader].handle_time(now);
        for effect in trio.drivers[leader].poll_heartbeats() {
            assert!(matches!(&effect, Effect::Send { frame: Frame::Core { .. }, .. }), "{effect:?}");
        }
    }
}
