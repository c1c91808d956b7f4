//! One thread's view of a service: its endpoints beside their shared statistics.

use std::sync::Arc;

use route::Backend;

use super::stats::{Registry, Stats};

/// The endpoints of one backend value.
#[derive(Debug)]
pub(super) struct View {
    pub(super) backend: Arc<Backend>,
    pub(super) stats: Vec<Arc<Stats>>,
    /// Sums of weights up to and including each endpoint.
    sums: Vec<u64>,
}

impl View {
    pub(super) fn new(backend: &Arc<Backend>, registry: &Registry) -> View {
        let weights = backend.endpoints.iter().map(|endpoint| u64::from(endpoint.weight.max(1)));
        let sums = weights.scan(0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        View { backend: backend.clone(), stats: registry.of(&backend.endpoints), sums: sums.collect() }
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
