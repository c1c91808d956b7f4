//! One thread's view of a service: its endpoints beside their shared statistics.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

use route::{Backend, Endpoint};

use super::stats::{Registry, Stats};

/// A hash that stays the same over versions: FNV-1a of 64 bits, then mixed.
pub(super) fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    mix(bytes
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The endpoints of one backend value.
#[derive(Debug)]
pub(super) struct View {
    pub(super) backend: Arc<Backend>,
    pub(super) stats: Vec<Arc<Stats>>,
    /// Sums of weights up to and including each endpoint.
    sums: Vec<u64>,
    /// All weigh the same.
    even: bool,
    /// Of node and instance: their places for the hash, the same on every node and after every start.
    places: Vec<u64>,
    /// Whether so many are left alone that nobody is, as of when.
    panics: Cell<(bool, u64)>,
}

/// How long it holds whether nobody is left alone.
const PANIC_HOLDS_NS: u64 = 50_000_000;

impl View {
    pub(super) fn new(backend: &Arc<Backend>, registry: &Registry) -> View {
        let weights = backend.endpoints.iter().map(|endpoint| u64::from(endpoint.weight.max(1)));
        let sums = weights.scan(0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        let even = backend.endpoints.windows(2).all(|two| two[0].weight == two[1].weight);
        let place = |endpoint: &Endpoint| hash(endpoint.node.bytes().chain([0]).chain(endpoint.id.bytes()));
        View {
            stats: registry.of(&backend.endpoints),
            sums: sums.collect(),
            even,
            places: backend.endpoints.iter().map(place).collect(),
            panics: Cell::new((false, 0)),
            backend: backend.clone(),
        }
    }

    /// Tells endpoints that `before` did not have that they are new.
    pub(super) fn welcome(&self, before: &View, now_ns: u64) {
        let known: HashSet<*const Stats> = before.stats.iter().map(Arc::as_ptr).collect();
        for stats in
            self.stats.iter().filter(|stats| !known.is_empty() && !known.contains(&Arc::as_ptr(stats)))
        {
            stats.joins(now_ns, self.backend.index);
        }
    }

    /// True when more than so many percent are left alone: then leaving them alone would burden the others too much.
    pub(super) fn panics(&self, now_ns: u64, percent: u32) -> bool {
        let (panics, at) = self.panics.get();
        if at != 0 && now_ns.saturating_sub(at) < PANIC_HOLDS_NS {
            return panics;
        }
        let away = self.stats.iter().filter(|stats| stats.is_away(now_ns)).count() as u64;
        let panics = away * 100 > self.stats.len() as u64 * u64::from(percent);
        self.panics.set((panics, now_ns.max(1)));
        panics
    }

    /// The endpoint that `key` belongs to (rendezvous hashing: the highest of one draw for each, by weight). When one
    /// leaves or joins, only its own keys move; and there is no ring to build.
    pub(super) fn by_key(&self, key: u64, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let draw = |at: &usize| mix(self.places[*at] ^ key);
        let fitting = self.all().filter(|at| fits(*at));
        if self.even {
            return fitting.max_by_key(draw);
        }
        // -w / ln(u) of a uniform u gives shares by weight.
        let score = |at: usize| {
            let uniform = (draw(&at) as f64 + 1.0) / (u64::MAX as f64 + 2.0);
            -(self.weight(at) as f64) / uniform.ln()
        };
        fitting.map(|at| (at, score(at))).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
    }

    fn weight(&self, at: usize) -> u64 {
        u64::from(self.backend.endpoints[at].weight.max(1))
    }

    fn all(&self) -> std::ops::Range<usize> {
        0..self.stats.len()
    }

    /// A random endpoint by weight among those that fit.
    fn random(&self, rng: &mut fastrand::Rng, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let total = *self.sums.last()?;
        // Mostly all fit, and then the first draw does.
        for _ in 0..4 {
            let mark = rng.u64(0..total);
            let at = self.sums.partition_point(|sum| *sum <= mark);
            if fits(at) {
                return Some(at);
            }
        }
        let fitting = || self.all().filter(|at| fits(*at));
        let mut mark = rng.u64(0..fitting().map(|at| self.weight(at)).sum::<u64>().max(1));
        fitting().find(|at| match mark.checked_sub(self.weight(*at)) {
            None => true,
            Some(left) => {
                mark = left;
                false
            }
        })
    }

    /// The cheaper of two random ones. The first drawn wins a tie, so that shares follow the weights where
    /// cost does not tell.
    pub(super) fn two_choices(
        &self,
        rng: &mut fastrand::Rng,
        fits: impl Fn(usize) -> bool,
        cost: impl Fn(usize) -> f64,
    ) -> Option<usize> {
        let first = self.random(rng, &fits)?;
        let Some(second) = self.random(rng, |at| at != first && fits(at)) else { return Some(first) };
        Some(if cost(second) < cost(first) { second } else { first })
    }

    /// Smooth weighted round robin: everyone is credited by weight, and the most owed pays for all.
    pub(super) fn in_turn(&self, owed: &mut [i64], fits: impl Fn(usize) -> bool) -> Option<usize> {
        let mut total = 0;
        for at in self.all().filter(|at| fits(*at)) {
            owed[at] += self.weight(at) as i64;
            total += self.weight(at) as i64;
        }
        let fitting = self.all().filter(|at| fits(*at));
        let best = fitting.max_by_key(|at| (owed[*at], std::cmp::Reverse(*at)))?;
        owed[best] -= total;
        Some(best)
    }

    /// Flights toward one endpoint for each unit of the mean weight.
    pub(super) fn load(&self, at: usize) -> f64 {
        let mean = self.sums.last().copied().unwrap_or(1) as f64 / self.stats.len().max(1) as f64;
        f64::from(self.stats[at].in_flight()) * mean / self.weight(at) as f64
    }
}
