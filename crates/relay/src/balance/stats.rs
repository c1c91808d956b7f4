//! What is known of one endpoint, shared by all threads and kept while routes change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use route::{Endpoint, Target};

use super::health::{Health, Rules};

/// Latencies lose a share of 1 - 1/e of their weight in this time.
const DECAY_NS: f64 = 10e9;
/// Differences below this are noise: endpoints that answer faster count as equally fast.
pub(super) const FLOOR_NS: f64 = 1e6;
/// What the first failure counts as, in latency; each further one in a row doubles it, up to 64 times.
const PENALTY_NS: f64 = 50e6;
/// How long an endpoint rests after the first refused connection; each further one in a row doubles it.
const REST_NS: u64 = 100_000_000;
/// Longest rest.
const LONGEST_REST_NS: u64 = 10_000_000_000;

/// How a request or connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection. The endpoint rests.
    Connect,
    /// It was reached and answered badly. It costs more for a while, so that an endpoint which fails fast
    /// does not attract traffic.
    Answer,
}

/// Statistics of one endpoint. All fields are hints: relaxed order, lost updates do no harm.
#[derive(Debug, Default)]
pub struct Stats {
    in_flight: AtomicU32,
    latency_ns: AtomicU64,
    updated_ns: AtomicU64,
    failures: AtomicU32,
    rests_until_ns: AtomicU64,
    /// When it joined a service that had others, and the routes' index then.
    joined_ns: AtomicU64,
    joined_index: AtomicU64,
    health: Health,
}

impl Stats {
    fn new(rules: Rules) -> Stats {
        Stats { health: Health::new(rules), ..Stats::default() }
    }

    /// It joins a service that has others, by the routes of `index`. Every thread says so when it sees it.
    pub(super) fn joins(&self, now_ns: u64, index: u64) {
        if self.joined_index.swap(index, Relaxed) != index {
            self.joined_ns.store(now_ns.max(1), Relaxed);
        }
    }

    /// The share of its traffic that it should get, when it may take `slow_start_ns` to warm up: from a twentieth to 1.
    pub(super) fn warmth(&self, now_ns: u64, slow_start_ns: u64) -> f64 {
        let joined = self.joined_ns.load(Relaxed);
        let age = now_ns.saturating_sub(joined);
        match joined == 0 || age >= slow_start_ns {
            true => 1.0,
            false => (age as f64 / slow_start_ns as f64).max(0.05),
        }
    }

    /// True while it should be left alone because it answers badly.
    pub fn is_away(&self, now_ns: u64) -> bool {
        self.health.is_away(now_ns)
    }

    /// Requests and connections on their way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// True while it should be left alone because connecting failed.
    pub fn rests(&self, now_ns: u64) -> bool {
        self.rests_until_ns.load(Relaxed) > now_ns
    }

    /// Peak latency, decayed to now, in nanoseconds.
    pub fn latency(&self, now_ns: u64) -> f64 {
        let latency = self.latency_ns.load(Relaxed) as f64;
        latency * decay(now_ns.saturating_sub(self.updated_ns.load(Relaxed)))
    }

    /// A peak counts at once, a fall gradually.
    fn observe(&self, now_ns: u64, sample_ns: f64) {
        let kept = decay(now_ns.saturating_sub(self.updated_ns.load(Relaxed)));
        let before = self.latency_ns.load(Relaxed) as f64;
        let after = match sample_ns > before * kept {
            true => sample_ns,
            false => before * kept + sample_ns * (1.0 - kept),
        };
        self.latency_ns.store(after as u64, Relaxed);
        self.updated_ns.store(now_ns, Relaxed);
    }

    fn succeeded(&self, now_ns: u64, took_ns: u64) {
        self.observe(now_ns, took_ns as f64);
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            self.rests_until_ns.store(0, Relaxed);
        }
    }

    /// True when it is left alone from now on because of how it answers.
    fn failed(&self, now_ns: u64, failure: Failure) -> bool {
        let run = self.failures.fetch_add(1, Relaxed);
        let doubled = run.min(6);
        self.observe(now_ns, PENALTY_NS * f64::from(1u32 << doubled));
        if failure == Failure::Connect {
            let rest = (REST_NS << doubled).min(LONGEST_REST_NS);
            self.rests_until_ns.store(now_ns.saturating_add(rest), Relaxed);
            return false;
        }
        self.health.went_badly(now_ns, run + 1)
    }
}

fn decay(elapsed_ns: u64) -> f64 {
    (-(elapsed_ns as f64) / DECAY_NS).exp()
}

/// One request or connection on its way; counted until dropped.
#[derive(Debug)]
pub struct Flight {
    stats: Arc<Stats>,
    started_ns: u64,
}

impl Flight {
    /// Counts one more toward `stats`.
    pub(super) fn new(stats: Arc<Stats>, now_ns: u64) -> Flight {
        stats.in_flight.fetch_add(1, Relaxed);
        stats.health.is_asked(now_ns);
        Flight { stats, started_ns: now_ns }
    }

    /// The connection stands. Its time is no latency of the service, but it ends a run of refusals.
    pub fn connected(&self, now_ns: u64) {
        if self.stats.rests_until_ns.load(Relaxed) != 0 {
            self.stats.succeeded(now_ns, now_ns.saturating_sub(self.started_ns));
        }
    }

    /// The answer began.
    pub fn answered(&self, now_ns: u64) {
        self.stats.succeeded(now_ns, now_ns.saturating_sub(self.started_ns));
        self.stats.health.went_well(now_ns);
    }

    /// It failed. True when the endpoint is left alone from now on.
    pub fn failed(&self, now_ns: u64, failure: Failure) -> bool {
        self.stats.failed(now_ns, failure)
    }

    /// The endpoint's statistics; their address identifies the endpoint among all threads.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.stats.in_flight.fetch_sub(1, Relaxed);
    }
}

type Key = (Arc<str>, Arc<str>, Target);

/// Statistics of all endpoints. Threads look here only when the routes of a service changed.
#[derive(Debug, Default)]
pub struct Registry {
    rules: Rules,
    known: Mutex<HashMap<Key, Arc<Stats>>>,
}

/// When the registry has grown to twice this and to twice the last remainder, unused entries go.
const PRUNE_ABOVE: usize = 1024;

impl Registry {
    /// A registry of endpoints that are left alone by these rules.
    pub(crate) fn new(rules: Rules) -> Registry {
        Registry { rules, known: Mutex::default() }
    }

    /// Statistics of these endpoints, in their order.
    pub fn of(&self, endpoints: &[Endpoint]) -> Vec<Arc<Stats>> {
        // A plain lock: taken when a service changes, held for a few hash lookups.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PRUNE_ABOVE && known.len() == known.capacity() {
            known.retain(|_, stats| Arc::strong_count(stats) > 1);
        }
        let key = |e: &Endpoint| (e.node.clone(), e.id.clone(), e.target.clone());
        let fresh = || Arc::new(Stats::new(self.rules));
        endpoints.iter().map(|endpoint| known.entry(key(endpoint)).or_insert_with(fresh).clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let stats = Stats::default();
        stats.succeeded(SECOND, 1_000_000);
        stats.succeeded(SECOND, 80_000_000);
        assert!((stats.latency(SECOND) - 80e6).abs() < 1e3);
        stats.succeeded(SECOND + 1, 1_000_000);
        assert!(stats.latency(SECOND + 1) > 79e6, "one good answer does not wash away a peak");
        assert!(stats.latency(61 * SECOND) < 1e6);
    }

    #[test]
    fn failures_cost_and_refusals_rest() {
        let stats = Stats::default();
        stats.failed(SECOND, Failure::Answer);
        assert!(stats.latency(SECOND) >= PENALTY_NS - 1.0 && !stats.rests(SECOND));
        stats.failed(SECOND, Failure::Connect);
        assert!(stats.rests(SECOND) && !stats.rests(2 * SECOND));
        for _ in 0..20 {
            stats.failed(SECOND, Failure::Connect);
        }
        assert!(stats.rests(7 * SECOND) && !stats.rests(12 * SECOND), "a rest is bounded");
        stats.succeeded(SECOND, 1000);
        assert!(!stats.rests(SECOND));
    }

    #[test]
    fn counts_what_is_on_its_way() {
        let stats = Arc::new(Stats::default());
        let (a, b) = (Flight::new(stats.clone(), 0), Flight::new(stats.clone(), 0));
        assert_eq!(stats.in_flight(), 2);
        drop(a);
        drop(b);
        assert_eq!(stats.in_flight(), 0);
    }
}
