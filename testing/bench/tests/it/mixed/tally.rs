//! What went through, and what did not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Failures that are kept word by word.
const KEPT: usize = 10;

#[derive(Default)]
struct Count {
    good: AtomicU64,
    bad: AtomicU64,
    first: Mutex<Vec<String>>,
}

/// Counts by kind.
pub(crate) struct Tally(BTreeMap<&'static str, Count>);

impl Tally {
    pub(crate) fn new(kinds: &[&'static str]) -> Tally {
        Tally(kinds.iter().map(|kind| (*kind, Count::default())).collect())
    }

    pub(crate) fn note(&self, kind: &str, outcome: Result<(), String>) {
        let count = &self.0[kind];
        match outcome {
            Ok(()) => drop(count.good.fetch_add(1, Relaxed)),
            Err(why) => {
                count.bad.fetch_add(1, Relaxed);
                let mut first = count.first.lock().unwrap();
                if first.len() < KEPT {
                    first.push(why);
                }
            }
        }
    }

    pub(crate) fn of(&self, kind: &str) -> (u64, u64, Vec<String>) {
        let count = &self.0[kind];
        (count.good.load(Relaxed), count.bad.load(Relaxed), count.first.lock().unwrap().clone())
    }

    pub(crate) fn report(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (kind, count)| {
            let (good, bad) = (count.good.load(Relaxed), count.bad.load(Relaxed));
            writeln!(text, "{kind}: {good} went through, {bad} failed").unwrap();
            text
        })
    }
}
