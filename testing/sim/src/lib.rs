//! Seeded simulation of the consensus driver.
//!
//! One seed is one lifetime of a cluster: servers, disks, clocks, links, clients and an operator on one thread,
//! with every kind of fault, then a time without faults in which all must come together. The driver, its
//! storage and the core inside it are the real ones.
//!
//! What must hold is in `oracle` and `settle`: agreement, acknowledged means durable, reads never
//! stale, indexes dense and ascending, convergence after healing, watchers see the last value, queues bounded.
//! [`canary`] lists what must be noticed when it is broken; the tests see to it.

mod app;
mod apply;
pub mod canary;
mod client;
mod conn;
mod disk;
mod event;
mod faults;
mod host;
mod net;
mod operator;
mod oracle;
mod plan;
mod rng;
mod settle;
mod trace;
mod world;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use plan::Variant;
pub use trace::Trace;
pub use world::Counts;
use world::World;

/// A lifetime that ended badly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed that repeats it.
    pub seed: u64,
    /// Simulated time.
    pub at_us: u64,
    /// What was violated.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} at {:.3} ms: {}", self.seed, self.at_us as f64 / 1_000.0, self.what)
    }
}

/// Lives through one seed.
///
/// # Errors
/// [`Failure`], with the seed that repeats it.
pub fn live(seed: u64, variant: &Variant, trace: Trace) -> Result<Counts, Failure> {
    let mut world = World::new(seed, variant, trace);
    // The core asserts some of its own invariants; that it does not hold them is as bad as any violation.
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    let ended = lived.unwrap_or_else(|panic| Err(format!("panic: {}", words_of(panic.as_ref()))));
    ended.map_err(|what| Failure { seed, at_us: world.now(), what })
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

impl Counts {
    /// Adds another lifetime's.
    pub fn add(&mut self, more: &Self) {
        self.messages += more.messages;
        self.crashes += more.crashes;
        self.sessions += more.sessions;
        self.decided += more.decided;
        self.answered += more.answered;
        self.fetched += more.fetched;
        self.configured += more.configured;
    }
}
