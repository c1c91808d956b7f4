//! Checks that a history of concurrent operations could have happened one at a time.
//!
//! A history is *linearizable* when every operation can be given one moment between its call and its return
//! such that, taken in the order of those moments, each answers what a single copy would have answered. An
//! operation whose answer never came (a time limit, a cut connection) may have taken effect at any moment
//! after its call, or never.
//!
//! [`Recorder`] takes a history down while it happens. [`check`] and [`check_keys`] search for such an order,
//! after Wing and Gong's algorithm with the cache of Lowe: configurations (what has been placed, and the state
//! that this left) that were visited once are not visited again. What one copy would answer is a [`Model`];
//! [`Register`] is that of one key of a key-value store.
//!
//! Absent on purpose: time limits. A search that would take too long ends by a bound on configurations and
//! says [`Verdict::Undecided`], the same on every machine.

mod history;
mod model;
mod placing;
mod search;

pub use history::{Operation, Pending, Recorder};
pub use model::{Answer, Ask, Model, Register};
pub use search::{Verdict, check};

use std::collections::BTreeMap;
use std::fmt::Debug;

/// Configurations that one search may visit unless told otherwise. At some 100 bytes each.
pub const DEFAULT_BOUND: usize = 2_000_000;

/// Checks each key by itself: a history is linearizable exactly when that of every key is.
///
/// Answers the first key that is not, with its verdict, or how many keys are fine.
///
/// # Errors
/// The key and its verdict.
pub fn check_keys<K, M>(
    model: &M,
    history: impl IntoIterator<Item = (K, Operation<M::Ask, M::Answer>)>,
    bound: usize,
) -> Result<usize, (K, Verdict)>
where
    K: Ord + Clone + Debug,
    M: Model,
{
    let mut keys: BTreeMap<K, Vec<_>> = BTreeMap::new();
    for (key, operation) in history {
        keys.entry(key).or_default().push(operation);
    }
    for (key, operations) in &keys {
        match check(model, operations, bound) {
            Verdict::Linearizable => {}
            verdict => return Err((key.clone(), verdict)),
        }
    }
    Ok(keys.len())
}
