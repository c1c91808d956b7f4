//! Whoever asks what became of its commands is not told that one is lost while it may still be decided.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::collections::VecDeque;
use std::convert::Infallible;

use bytes::Bytes;
use portolan_paxos::{Batch, Disk, Driver, Effect, Frame, Identity, ReadId, ServerId, Session, Setup, Turn};

/// It keeps nothing: nobody here restarts.
struct Forgetful;

impl Disk for Forgetful {
    type Error = Infallible;

    fn persist(&mut self, _: &Batch) -> Result<(), Infallible> {
        Ok(())
    }
}

const SESSION: Session = Session(1);
/// A read, which knows only of what is decided, and the question what became of commands.
const READ: ReadId = ReadId(76);
const ASKED: ReadId = ReadId(77);

fn server(at: usize) -> ServerId {
    ServerId(10 + at as u64)
}

/// Three drivers; what one sends another arrives in order, unless that way is held.
struct Trio {
    drivers: Vec<Driver>,
    ways: [[VecDeque<(Session, Frame)>; 3]; 3],
    held: [[bool; 3]; 3],
    /// A turn that this one's disk works on.
    busy: Option<(usize, Turn)>,
    now: u64,
    /// What each was told, in order: commands, and the answer to its question.
    told: [Vec<Told>; 3],
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Command(Bytes),
    Read,
    Answer,
}

impl Trio {
    /// Three of which one leads, and the two others.
    fn elected() -> (Self, usize, [usize; 2]) {
        let members: Vec<Identity> = (0..3).map(|at| Identity { server: server(at), disk: 1 }).collect();
        let found = |at: usize| Driver::found(members[at], members.clone(), 0, Setup::default(), 0).unwrap();
        let mut trio = Trio {
            drivers: (0..3).map(found).collect(),
            ways: Default::default(),
            held: [[false; 3]; 3],
            busy: None,
            now: 0,
            told: Default::default(),
        };
        for at in 0..3 {
            for other in (0..3).filter(|other| *other != at) {
                trio.drivers[at].handle_link_up(server(other), SESSION);
            }
        }
        trio.pass(50);
        let (leader, at_work) = trio.drivers[0].status().leader.unwrap();
        assert!(at_work);
        let leader = (leader.0 - 10) as usize;
        (trio, leader, [(leader + 1) % 3, (leader + 2) % 3])
    }

    fn turn(&mut self, at: usize) -> bool {
        if self.busy.as_ref().is_some_and(|(slow, _)| *slow == at) {
            return false;
        }
        let Some(turn) = self.drivers[at].poll_turn() else { return false };
        self.finish(at, turn);
        true
    }

    fn finish(&mut self, at: usize, turn: Turn) {
        let Ok(persisted) = turn.persist(&mut Forgetful);
        for effect in self.drivers[at].handle_persisted(persisted) {
            match effect {
                Effect::Send { peer, session, frame } => {
                    self.ways[at][(peer.0 - 10) as usize].push_back((session, frame));
                }
                Effect::Decided { commands, .. } => {
                    self.told[at].extend(commands.into_iter().map(|command| Told::Command(command.0)));
                }
                Effect::ReadReady { read: READ, .. } => self.told[at].push(Told::Read),
                Effect::ReadReady { read: ASKED, .. } => self.told[at].push(Told::Answer),
                _ => {}
            }
        }
    }

    fn settle(&mut self) {
        loop {
            let mut any = false;
            for from in 0..3 {
                any |= self.turn(from);
                for to in (0..3).filter(|to| !self.held[from][*to]) {
                    while let Some((session, frame)) = self.ways[from][to].pop_front() {
                        self.drivers[to].handle_frame(server(from), session, frame);
                        any = true;
                    }
                }
            }
            if !any {
                return;
            }
        }
    }

    fn pass(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now += Setup::default().tick_ms;
            let now = self.now;
            self.drivers.iter_mut().for_each(|driver| driver.handle_time(now));
            self.settle();
        }
    }

    fn asks(&mut self, at: usize) {
        self.drivers[at].handle_end(ASKED).unwrap();
    }
}

#[test]
fn a_command_that_the_leader_has_taken_is_waited_for() {
    let (mut trio, leader, [asker, other]) = Trio::elected();
    // The leader hears nothing of votes, only that its ballot still holds: the other's come too late, and the
    // asker's are kept apart below.
    trio.held[leader][other] = true;
    trio.drivers[asker].handle_propose(b"x".as_slice().into()).unwrap();
    trio.turn(asker);
    let (_, forward) = trio.ways[asker][leader].pop_back().unwrap();
    assert!(matches!(forward, Frame::Forward { .. }));
    trio.drivers[leader].handle_frame(server(asker), SESSION, forward);
    trio.turn(leader);
    // The proposal is on its way to the asker, and stays there; so it is with one that waits for state.
    let accept = trio.ways[leader][asker].pop_back().unwrap();
    assert!(matches!(accept.1, Frame::Core { .. }), "{accept:?}");
    // Long enough for the leader to ask everybody whether its ballot holds.
    trio.drivers[asker].handle_read(READ).unwrap();
    trio.pass(3);
    assert_eq!(trio.told[asker], [Told::Read], "nothing is acknowledged that it would miss");
    trio.asks(asker);
    trio.pass(3);
    assert_eq!(trio.told[asker], [Told::Read], "but the command may be decided yet");
    trio.ways[leader][asker].push_back(accept);
    trio.held[leader][other] = false;
    trio.settle();
    assert_eq!(trio.told[asker][1..], [Told::Command(Bytes::from_static(b"x")), Told::Answer]);
}

#[test]
fn a_question_does_not_overtake_commands_that_waited_for_the_disk() {
    let (mut trio, leader, [asker, other]) = Trio::elected();
    // The asker's disk works on something.
    trio.drivers[asker].handle_link_up(server(other), Session(2));
    let turn = trio.drivers[asker].poll_turn().unwrap();
    trio.busy = Some((asker, turn));
    // Meanwhile it proposes, and then has reason to doubt.
    trio.drivers[asker].handle_propose(b"x".as_slice().into()).unwrap();
    trio.asks(asker);
    let (_, turn) = trio.busy.take().unwrap();
    trio.finish(asker, turn);
    trio.turn(asker);
    let sent: Vec<&Frame> = trio.ways[asker][leader].iter().map(|(_, frame)| frame).collect();
    assert!(matches!(sent[..], [.., Frame::Forward { .. }, Frame::EndAsk { .. }]), "{sent:?}");
    trio.settle();
    assert_eq!(trio.told[asker], [Told::Command(Bytes::from_static(b"x")), Told::Answer]);
}

#[test]
fn a_question_asks_first_on_the_way_that_commands_went() {
    let (mut trio, leader, [asker, other]) = Trio::elected();
    // Its way to the leader is by the other: they have no link.
    trio.drivers[asker].handle_link_down(server(leader), SESSION);
    trio.settle();
    trio.drivers[asker].handle_propose(b"x".as_slice().into()).unwrap();
    trio.turn(asker);
    assert!(matches!(trio.ways[asker][other].back(), Some((_, Frame::Forward { .. }))));
    // It stays there for a while. Then there is a link, and the direct way is the shorter one.
    trio.held[asker][other] = true;
    trio.drivers[asker].handle_link_up(server(leader), Session(2));
    trio.drivers[leader].handle_link_up(server(asker), Session(2));
    trio.pass(3);
    assert_eq!(trio.drivers[asker].route().via().map(|(peer, _)| peer), Some(server(leader)));
    trio.asks(asker);
    trio.pass(3);
    assert_eq!(trio.told[asker], [], "the command may come yet");
    trio.held[asker][other] = false;
    trio.pass(3);
    assert_eq!(trio.told[asker], [Told::Command(Bytes::from_static(b"x")), Told::Answer]);
}
