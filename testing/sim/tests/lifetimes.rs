//! Lifetimes that must end well. `cargo run -p portolan-sim --profile fast -- --seeds N --from S` lives through
//! as many as one likes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use portolan_sim::{Counts, Failure, Trace, Variant, live};

fn all_end_well(seeds: impl Iterator<Item = u64>, variant: &Variant) -> Counts {
    let mut sum = Counts::default();
    for seed in seeds {
        match live(seed, variant, Trace::default()) {
            Ok(counts) => sum.add(&counts),
            Err(failure) => panic!("{failure}"),
        }
    }
    sum
}

#[test]
fn five_hundred_lifetimes_violate_nothing() {
    let sum = all_end_well(1..501, &Variant::default());
    // And they were worth living: all of it happened.
    assert!(sum.crashes > 500, "{sum:?}");
    assert!(sum.decided > 50_000, "{sum:?}");
    assert!(sum.answered > 5_000, "{sum:?}");
    assert!(sum.fetched > 5_000, "{sum:?}");
    assert!(sum.configured > 1_000, "{sum:?}");
}

#[test]
fn every_size_and_every_change_of_members() {
    for founders in [1, 2, 3, 5, 7] {
        let variant = Variant { founders: Some(founders), membership: Some(true), ..Variant::default() };
        let seeds = founders as u64 * 10_000;
        all_end_well(seeds..seeds + 40, &variant);
    }
}

/// No session may lose a frame and go on. If one does all the same, the watchdogs see to it.
#[test]
fn sessions_that_lose_frames_are_started_over() {
    all_end_well(1..101, &Variant { lossy: true, ..Variant::default() });
}

#[test]
fn a_seed_is_a_lifetime() {
    for seed in [7, 95, 319] {
        let twice: [Result<Counts, Failure>; 2] =
            std::array::from_fn(|_| live(seed, &Variant::default(), Trace::default()));
        assert_eq!(twice[0], twice[1]);
    }
}
