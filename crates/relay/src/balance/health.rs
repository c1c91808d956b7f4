//! When an endpoint that answers badly is left alone, and how it comes back.
//!
//! Two triggers: a run of failures, and a share of failures among the answers of ten seconds. An endpoint that was
//! left alone comes back on probation: one request a second until one goes well; a failure sends it away for twice
//! as long.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::config::Config;

/// Answers that are counted together.
const WINDOW_NS: u64 = 10_000_000_000;
/// Answers in a window below which its share of failures says nothing.
const ENOUGH: u32 = 20;
/// On probation it is asked so often. By the clock and not by what is under way: a connection may stay for days.
const PROBE_EVERY_NS: u64 = 1_000_000_000;
/// Longest absence.
const LONGEST_NS: u64 = 60_000_000_000;

/// When to leave an endpoint alone.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    run: u32,
    percent: u32,
    first_ns: u64,
}

impl Rules {
    /// As configured.
    pub(crate) fn new(config: &Config) -> Rules {
        let first_ns = u64::try_from(config.eject_for.as_nanos()).unwrap_or(LONGEST_NS).min(LONGEST_NS);
        Rules { run: config.eject_after, percent: config.eject_percent, first_ns }
    }
}

/// How one endpoint answered lately. Hints, as everything beside it.
#[derive(Debug, Default)]
pub(super) struct Health {
    rules: Rules,
    window_ns: AtomicU64,
    answers: AtomicU32,
    bad: AtomicU32,
    /// So often in a row.
    sent_away: AtomicU32,
    until_ns: AtomicU64,
    probation: AtomicBool,
    /// When it was asked last on probation.
    asked_ns: AtomicU64,
}

impl Health {
    pub(super) fn new(rules: Rules) -> Health {
        Health { rules, ..Health::default() }
    }

    /// True while it should be left alone; on probation, when it was asked a moment ago.
    pub(super) fn is_away(&self, now_ns: u64) -> bool {
        let asked = || now_ns.saturating_sub(self.asked_ns.load(Relaxed)) < PROBE_EVERY_NS;
        self.until_ns.load(Relaxed) > now_ns || (self.probation.load(Relaxed) && asked())
    }

    /// It was chosen.
    pub(super) fn is_asked(&self, now_ns: u64) {
        if self.probation.load(Relaxed) {
            self.asked_ns.store(now_ns, Relaxed);
        }
    }

    pub(super) fn went_well(&self, now_ns: u64) {
        self.count(now_ns, false);
        if self.probation.load(Relaxed) && self.until_ns.load(Relaxed) <= now_ns {
            self.probation.store(false, Relaxed);
            self.sent_away.store(0, Relaxed);
        }
    }

    /// It failed, `run` times in a row with this one. True when it is left alone from now on.
    pub(super) fn went_badly(&self, now_ns: u64, run: u32) -> bool {
        let (answers, bad) = self.count(now_ns, true);
        let Rules { run: most, percent, first_ns } = self.rules;
        let by_run = most > 0 && run >= most;
        let by_share = percent > 0
            && answers >= ENOUGH
            && u64::from(bad) * 100 > u64::from(answers) * u64::from(percent);
        if !(by_run || by_share || self.probation.load(Relaxed)) || self.until_ns.load(Relaxed) > now_ns {
            return false;
        }
        let times = self.sent_away.fetch_add(1, Relaxed).min(16);
        let absence = first_ns.saturating_mul(1 << times).min(LONGEST_NS);
        self.until_ns.store(now_ns.saturating_add(absence), Relaxed);
        self.probation.store(true, Relaxed);
        self.answers.store(0, Relaxed);
        self.bad.store(0, Relaxed);
        true
    }

    /// Plain loads and stores: a lost count does no harm, and this is on the way of every answer.
    fn count(&self, now_ns: u64, bad: bool) -> (u32, u32) {
        let fresh = now_ns.saturating_sub(self.window_ns.load(Relaxed)) < WINDOW_NS;
        let (answers, failed) = match fresh {
            true => (self.answers.load(Relaxed), self.bad.load(Relaxed)),
            false => {
                self.window_ns.store(now_ns, Relaxed);
                self.bad.store(0, Relaxed);
                (0, 0)
            }
        };
        let (answers, failed) = (answers.saturating_add(1), failed + u32::from(bad));
        self.answers.store(answers, Relaxed);
        if bad {
            self.bad.store(failed, Relaxed);
        }
        (answers, failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn health() -> Health {
        Health::new(Rules::new(&Config::default()))
    }

    #[test]
    fn a_run_of_failures_sends_it_away_and_probation_brings_it_back() {
        let health = health();
        assert!(!(1..7).any(|run| health.went_badly(SECOND, run)));
        assert!(health.went_badly(SECOND, 7));
        assert!(health.is_away(5 * SECOND));
        assert!(!health.is_away(7 * SECOND));
        health.is_asked(7 * SECOND);
        assert!(health.is_away(7 * SECOND + SECOND / 2), "one at a time");
        assert!(!health.is_away(8 * SECOND), "whatever became of it");
        health.went_well(7 * SECOND);
        assert!(!health.is_away(7 * SECOND));
    }

    #[test]
    fn failing_on_probation_doubles_the_absence_up_to_a_minute() {
        let health = health();
        assert!(health.went_badly(SECOND, 7));
        assert!(health.went_badly(7 * SECOND, 8), "one failure is enough now");
        assert!(health.is_away(16 * SECOND) && !health.is_away(18 * SECOND));
        let mut now = 18 * SECOND;
        for _ in 0..40 {
            assert!(health.went_badly(now, 9));
            now += 61 * SECOND;
            assert!(!health.is_away(now));
        }
    }

    #[test]
    fn a_large_share_of_failures_sends_it_away_without_a_run() {
        let health = health();
        let mut away = false;
        for at in 0..40 {
            match at % 3 {
                0 => health.went_well(SECOND + at),
                _ => away |= health.went_badly(SECOND + at, 1),
            }
        }
        assert!(away);
        let few = self::health();
        assert!(!(0..15).any(|at| few.went_badly(SECOND + at, 1)), "too few to tell");
    }

    #[test]
    fn zeros_switch_it_off() {
        let config = Config { eject_after: 0, eject_percent: 0, ..Config::default() };
        let health = Health::new(Rules::new(&config));
        assert!(!(1..1000).any(|run| health.went_badly(SECOND, run)));
    }
}
