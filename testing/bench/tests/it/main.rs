//! One daemon under all kinds of load, over its public interfaces.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking, like tests"
)]

mod daemon;
mod floods;
mod mixed;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Each of these tests loads the machine; they take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds from the environment, or the short form.
fn seconds(variable: &str, short: u64) -> Duration {
    let said = std::env::var(variable).ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(said.unwrap_or(short))
}
