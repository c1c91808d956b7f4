//! Each broken variant must be noticed: a simulator that lets one through is not testing what it says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use portolan_sim::{Trace, canary, live};

fn noticed(name: &str) {
    let canary = canary::all().into_iter().find(|canary| canary.name == name).unwrap();
    let found = (1..=canary.within).find_map(|seed| live(seed, &canary.variant, Trace::default()).err());
    match found {
        Some(failure) => println!("{name}: {failure}"),
        None => panic!("{name} went unnoticed in {} lifetimes", canary.within),
    }
}

macro_rules! canaries {
    ($($test:ident $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                noticed($name);
            }
        )*

        #[test]
        fn none_is_forgotten() {
            let tested = [$($name),*];
            for canary in canary::all() {
                assert!(tested.contains(&canary.name), "{} has no test", canary.name);
            }
        }
    };
}

canaries! {
    a_disk_that_does_not_sync_is_noticed "no-fsync",
    frames_out_of_order_are_noticed "reordering",
    frames_of_an_old_session_are_noticed "stale-frames",
    watchers_that_miss_a_change_are_noticed "deaf-watchers",
    delta_snapshots_are_noticed "delta-snapshots",
    a_read_without_the_floor_is_noticed "no-read-floor",
    a_read_without_a_majority_is_noticed "no-read-quorum",
    sessions_that_are_not_started_over_are_noticed "no-reconnect",
    a_leader_that_does_not_outbid_is_noticed "no-outbid",
    a_stall_that_nobody_resets_is_noticed "no-stall-reset",
    effects_that_do_not_wait_for_the_sync_are_noticed "send-before-sync",
    a_stop_sign_counted_twice_is_noticed "no-seal-correction",
    office_without_state_is_noticed "no-base",
    a_disk_that_forgot_and_is_believed_is_noticed "reused-identity",
}
