//! What a leader holds undecided is bounded. Nothing else counts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod support;

use bytes::Bytes;
use portolan_paxos::{Effect, Setup};
use support::Group;

/// Each counts as 40 bytes.
fn command() -> Bytes {
    Bytes::from_static(&[7; 32])
}

/// Room for five of those.
fn setup() -> Setup {
    Setup { undecided_bytes: 200, ..Setup::default() }
}

fn handed(group: &Group, at: usize) -> usize {
    let counted = |effect: &Effect| match effect {
        Effect::Decided { commands, .. } => commands.len(),
        _ => 0,
    };
    group.told[at].iter().map(counted).sum()
}

#[test]
fn a_leader_takes_no_more_than_it_has_room_for() {
    let (mut group, leader) = Group::elected(3, &setup());
    for _ in 0..5 {
        group.drivers[leader].handle_propose(command()).unwrap();
    }
    assert!(group.drivers[leader].handle_propose(command()).is_err());
    group.settle();
    group.drivers[leader].handle_propose(command()).unwrap();
}

/// A server was handed commands beside the core, which has them in its log and does not know that they are decided.
/// Then it leads. They filled its window for ever: they are not handed over again, and only that made room.
#[test]
fn what_was_handed_over_beside_the_core_takes_no_room() {
    let (mut group, old) = Group::elected(5, &setup());
    // The one who will lead: the highest of the others. One who knows what is decided, and two who do not.
    let others: Vec<usize> = (0..5).filter(|at| *at != old).collect();
    let [knows, c, d, new] = others[..] else { panic!("{others:?}") };
    for _ in 0..5 {
        group.drivers[old].handle_propose(command()).unwrap();
    }
    group.turn(old);
    // All take them into their logs, and one only hears that they are decided.
    let uninformed = [c, d, new];
    for to in [c, d, new, knows] {
        group.deliver(old, to);
    }
    uninformed.iter().for_each(|to| group.held[old][*to] = true);
    group.settle();
    assert_eq!((handed(&group, knows), handed(&group, new)), (5, 0));
    for to in uninformed {
        group.ways[old][to].clear();
        group.held[old][to] = false;
    }
    // Who cannot reach the leader asks him who knows.
    group.part(old, new);
    group.pass_until(200, |group| handed(group, new) == 5);
    assert_eq!(group.leader_seen_by(new), Some(old));
    // It is elected by those whose cores know no more than its own does.
    for other in [knows, c, d] {
        group.part(old, other);
    }
    for (from, to) in [(knows, c), (knows, d), (knows, new), (c, d), (d, c)] {
        group.held[from][to] = true;
    }
    // It is asked for something before its core knows.
    let electors = [c, d];
    electors.iter().for_each(|to| group.held[new][*to] = true);
    for _ in 0..200 {
        if group.leader_seen_by(new) == Some(new) {
            break;
        }
        group.pass(1);
        for to in electors {
            group.deliver(new, to);
        }
        group.settle();
    }
    assert_eq!(group.leader_seen_by(new), Some(new));
    group.drivers[new].handle_propose(command()).unwrap();
    electors.iter().for_each(|to| group.held[new][*to] = false);
    group.settle();
    for round in 2..=10 {
        group.drivers[new].handle_propose(command()).unwrap();
        group.settle();
        assert_eq!(handed(&group, new), 5 + round);
    }
}
