//! Whoever asks what became of its commands is not told that one is lost while it may still be decided.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod support;

use bytes::Bytes;
use portolan_paxos::{Effect, Frame, ReadId, Session, Setup};
use support::{Group, SESSION, server};

/// A read, which knows only of what is decided, and the question what became of commands.
const READ: ReadId = ReadId(76);
const ASKED: ReadId = ReadId(77);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Command(Bytes),
    Read,
    Answer,
}

/// What a server was told, in order: commands, and answers to its questions.
fn told(trio: &Group, at: usize) -> Vec<Told> {
    let mut told = Vec::new();
    for effect in &trio.told[at] {
        match effect {
            Effect::Decided { commands, .. } => {
                told.extend(commands.iter().map(|command| Told::Command(command.0.clone())));
            }
            Effect::ReadReady { read: READ, .. } => told.push(Told::Read),
            Effect::ReadReady { read: ASKED, .. } => told.push(Told::Answer),
            _ => {}
        }
    }
    told
}

/// Three of which one leads, and the two others.
fn elected() -> (Group, usize, [usize; 2]) {
    let (trio, leader) = Group::elected(3, &Setup::default());
    (trio, leader, [(leader + 1) % 3, (leader + 2) % 3])
}

fn asks(trio: &mut Group, at: usize) {
    trio.drivers[at].handle_end(ASKED).unwrap();
}

#[test]
fn a_command_that_the_leader_has_taken_is_waited_for() {
    let (mut trio, leader, [asker, other]) = elected();
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
    assert_eq!(told(&trio, asker), [Told::Read], "nothing is acknowledged that it would miss");
    asks(&mut trio, asker);
    trio.pass(3);
    assert_eq!(told(&trio, asker), [Told::Read], "but the command may be decided yet");
    trio.ways[leader][asker].push_back(accept);
    trio.held[leader][other] = false;
    trio.settle();
    assert_eq!(told(&trio, asker)[1..], [Told::Command(Bytes::from_static(b"x")), Told::Answer]);
}

#[test]
fn a_question_does_not_overtake_commands_that_waited_for_the_disk() {
    let (mut trio, leader, [asker, other]) = elected();
    // The asker's disk works on something.
    trio.drivers[asker].handle_link_up(server(other), Session(2));
    let turn = trio.drivers[asker].poll_turn().unwrap();
    trio.busy = Some((asker, turn));
    // Meanwhile it proposes, and then has reason to doubt.
    trio.drivers[asker].handle_propose(b"x".as_slice().into()).unwrap();
    asks(&mut trio, asker);
    let (_, turn) = trio.busy.take().unwrap();
    trio.finish(asker, turn);
    trio.turn(asker);
    let sent: Vec<&Frame> = trio.ways[asker][leader].iter().map(|(_, frame)| frame).collect();
    assert!(matches!(sent[..], [.., Frame::Forward { .. }, Frame::EndAsk { .. }]), "{sent:?}");
    trio.settle();
    assert_eq!(told(&trio, asker), [Told::Command(Bytes::from_static(b"x")), Told::Answer]);
}

#[test]
fn a_question_asks_first_on_the_way_that_commands_went() {
    let (mut trio, leader, [asker, other]) = elected();
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
    asks(&mut trio, asker);
    trio.pass(3);
    assert_eq!(told(&trio, asker), [], "the command may come yet");
    trio.held[asker][other] = false;
    trio.pass(3);
    assert_eq!(told(&trio, asker), [Told::Command(Bytes::from_static(b"x")), Told::Answer]);
}
