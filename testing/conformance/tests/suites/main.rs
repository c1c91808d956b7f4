//! Clients and suites of theirs that take a while. They are one program so that they run side by side: most of them wait
//! for clocks of their own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod at_hand;
mod consul_template;
mod go_api;
mod patroni;
mod py_consul;
mod rs_consul;
mod schemathesis;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use portolan_conformance::score::Outcomes;

/// Runs each piece of a suite, so many at once, and adds up what came of them.
fn side_by_side<T: Sync>(at_once: usize, pieces: &[T], run: impl Fn(&T) -> Outcomes + Sync) -> Outcomes {
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Outcomes::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = run(piece);
                    outcomes.lock().unwrap().extend(found);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}
