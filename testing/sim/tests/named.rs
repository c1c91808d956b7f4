//! Seeds that found something, by what they found. The defect is gone; the lifetime stays.
//!
//! A change to the simulator gives a seed another lifetime. Then these are seeds like any other, and what each
//! found is held by the test that the fix brought with it, where there is one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use portolan_sim::{Trace, Variant, live};

fn ends_well(seed: u64) {
    if let Err(failure) = live(seed, &Variant::default(), Trace::default()) {
        panic!("{failure}");
    }
}

/// omnipaxos counts a stop-sign among the shared entries and sets it again: the log seems one too long.
#[test]
fn seed_95_a_stop_sign_counted_twice() {
    ends_well(95);
}

/// A follower that only follows pulled from another that only follows, and both waited.
#[test]
fn seed_21_two_followers_follow_each_other() {
    ends_well(21);
}

/// The last frame may overdraw its credit; the debt was forgotten, and the queue grew with each overdraft.
#[test]
fn seed_75_credit_overdrawn_and_forgotten() {
    ends_well(75);
}

/// What a deposed leader had proposed counted against the window for ever, and it refused everything after.
#[test]
fn seed_412_a_window_full_of_what_was_overwritten() {
    ends_well(412);
}

/// A server that had only ever joined was told that it may be switched off.
#[test]
fn seed_1556_a_joiner_is_let_go() {
    ends_well(1556);
}

/// A log in one message larger than what may wait: the session was reset for ever.
#[test]
fn seed_1665_a_message_larger_than_the_waiting_room() {
    ends_well(1665);
}

/// A new leader counted what a checkpoint had brought it as undecided, and refused everything after.
#[test]
fn seed_800009836_a_window_full_of_what_was_handed_over() {
    ends_well(800_009_836);
}
