//! From `solo` to `paxos`, killed at every step.

use std::io::Write;
use std::path::Path;

use super::*;
use crate::paxos::take_over::{Step, take_over_in_steps};
use crate::solo;

const SAVED: u64 = 60;
const LAST: u64 = 100;

fn command(i: u64) -> Bytes {
    Bytes::from(format!("command {i} {}", "x".repeat(usize::try_from(i % 700).expect("small"))))
}

fn old(dir: &Path) -> solo::Config {
    let mut config = solo::Config::new(dir.join("log"));
    config.segment_bytes = 64 << 10;
    config.max_command_bytes = 4096;
    config.max_batch_bytes = 8 << 10;
    config
}

fn new(dir: &Path) -> Config {
    small(dir.join("order"), 1, Begin::Never)
}

fn write_old(dir: &Path) {
    let (log, mut events) = solo::open(&old(dir)).expect("it opens");
    for i in 1..=LAST {
        log.append(command(i)).expect("room");
        while log.status().last_index < i {
            events.blocking_recv().expect("the stream goes on");
        }
        if i == SAVED {
            let state = Box::new(|out: &mut dyn Write| out.write_all(b"the state at sixty"));
            wait(log.save_checkpoint(SAVED, state)).expect("saved");
        }
    }
    wait(log.close());
}

/// Opens the new log; it must hold what the old one held, and take more.
fn check_new(dir: &Path) {
    let node = Node::start(&Network::new(), &new(dir)).expect("it opens");
    node.see(|seen| {
        assert_eq!((seen.base, seen.last()), (SAVED, LAST));
        let expected: Vec<Bytes> = (SAVED + 1..=LAST).map(command).collect();
        assert_eq!(seen.entries, expected);
    });
    assert_eq!(node.log.states.load(SAVED).expect("it is there"), "the state at sixty");
    node.log.append(command(LAST + 1)).expect("room");
    until("it is decided", || node.last() == LAST + 1);
    node.close();
    assert!(!dir.join("log").exists(), "the old log cannot be opened any more");
}

#[test]
fn indexes_go_on_and_doing_it_twice_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    write_old(dir.path());
    let first = take_over(&old(dir.path()), &new(dir.path())).expect("it is taken over");
    assert_eq!(first.last, LAST);
    let again = take_over(&old(dir.path()), &new(dir.path())).expect("it was taken over");
    assert_eq!(again, first);
    check_new(dir.path());
    let mut other = new(dir.path());
    other.server = server(2);
    let refused = take_over(&old(dir.path()), &other).expect_err("it is another server's");
    assert!(refused.to_string().contains("never handed on"), "{refused}");
}

#[test]
fn killed_at_any_step_it_is_completed_by_the_next_attempt() {
    for kill in [
        Step::Begun,
        Step::Recorded,
        Step::Built,
        Step::ReadBack,
        Step::Renamed,
        Step::SetAside,
        Step::Cleared,
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        write_old(dir.path());
        for attempt in 0..2 {
            let mut stop = |step| match step == kill {
                true => Err(LogError::Stopped { reason: "killed".to_owned() }),
                false => Ok(()),
            };
            let outcome = take_over_in_steps(&old(dir.path()), &new(dir.path()), &mut stop);
            // After the move a second attempt does not come by the earlier steps again.
            let passed = matches!(kill, Step::Renamed | Step::SetAside) && attempt == 1;
            assert_eq!(outcome.is_ok(), passed, "{kill:?}, attempt {attempt}");
            let (old_there, new_there) = (dir.path().join("log").is_dir(), new(dir.path()).dir.is_dir());
            assert!(old_there || new_there, "{kill:?}: one of the two always counts");
        }
        take_over(&old(dir.path()), &new(dir.path())).expect("it is completed");
        check_new(dir.path());
    }
}

#[test]
fn an_open_log_is_not_taken_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _events) = solo::open(&old(dir.path())).expect("it opens");
    let refused = take_over(&old(dir.path()), &new(dir.path()));
    assert!(matches!(refused, Err(LogError::InUse { .. })), "{refused:?}");
    wait(log.close());
}

#[test]
fn without_an_old_log_an_empty_order_begins() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(take_over(&old(dir.path()), &new(dir.path())).expect("it begins").last, 0);
    let node = Node::start(&Network::new(), &new(dir.path())).expect("it opens");
    node.log.append(command(1)).expect("room");
    until("it is decided", || node.last() == 1);
    node.close();
}
