//! Which endpoint gets the next request.
//!
//! Each data thread has a [`Balancer`] of its own; statistics are shared by all threads and outlive changes
//! of the routes. Time is an argument, and so is the seed of the random numbers.

mod stats;
mod view;

use std::collections::HashMap;
use std::sync::Arc;

use route::Backend;

pub use stats::{Failure, Flight, Registry, Stats};

use crate::config::Policy;
use view::View;

/// Chooses endpoints for one thread.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
    registry: Arc<Registry>,
    /// By service name: the view, and what round robin owes to each endpoint. Rebuilt when the backend is
    /// another value than the one it was built for.
    views: HashMap<Arc<str>, (View, Vec<i64>)>,
    random: fastrand::Rng,
}

/// Services whose views a thread keeps before it starts anew.
const MOST_VIEWS: usize = 8192;

impl Balancer {
    /// A balancer that shares `registry`.
    pub fn new(policy: Policy, registry: Arc<Registry>, seed: u64) -> Balancer {
        Balancer { policy, registry, views: HashMap::new(), random: fastrand::Rng::with_seed(seed) }
    }

    /// Chooses an endpoint of `backend` that is not among `tried`, and counts the flight toward it. One that
    /// rests is chosen only where no other is left; `None` only when all were tried.
    pub fn pick(&mut self, backend: &Arc<Backend>, tried: &[usize], now_ns: u64) -> Option<(usize, Flight)> {
        if !self.views.get(&backend.service).is_some_and(|(view, _)| Arc::ptr_eq(&view.backend, backend)) {
            self.look_anew(backend);
        }
        let (view, owed) = self.views.get_mut(&backend.service)?;
        let rng = &mut self.random;
        let mut choose = |fits: &dyn Fn(usize) -> bool| match self.policy {
            Policy::PeakEwma => view.two_choices(rng, fits, |at| {
                view.stats[at].latency(now_ns).max(stats::FLOOR_NS) * (1.0 + view.load(at))
            }),
            Policy::LeastRequests => view.two_choices(rng, fits, |at| view.load(at)),
            Policy::RoundRobin => view.in_turn(owed, fits),
        };
        let untried = |at: usize| !tried.contains(&at);
        let awake = |at: usize| untried(at) && !view.stats[at].rests(now_ns);
        let at = choose(&awake).or_else(|| choose(&untried))?;
        Some((at, Flight::new(view.stats[at].clone(), now_ns)))
    }

    fn look_anew(&mut self, backend: &Arc<Backend>) {
        if self.views.len() >= MOST_VIEWS {
            self.views.clear();
        }
        let owed = vec![0; backend.endpoints.len()];
        self.views.insert(backend.service.clone(), (View::new(backend, &self.registry), owed));
    }
}

#[cfg(test)]
mod tests {
    use route::{Endpoint, Target};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn backend(weights: &[u16]) -> Arc<Backend> {
        let endpoint = |(at, weight): (usize, &u16)| Endpoint {
            node: "n".into(),
            id: format!("web-{at}").into(),
            target: Target::Ip(([127, 0, 0, 1], 1000 + at as u16).into()),
            weight: *weight,
            status: catalog::Status::Passing,
            tags: vec![],
            protocol: None,
        };
        Arc::new(Backend {
            service: "web".into(),
            endpoints: weights.iter().enumerate().map(endpoint).collect(),
            registered: weights.len(),
            virtual_ip: None,
            port: 80,
            index: 1,
        })
    }

    fn balancer(policy: Policy) -> Balancer {
        Balancer::new(policy, Arc::default(), 7)
    }

    fn shares(balancer: &mut Balancer, backend: &Arc<Backend>, picks: usize) -> Vec<usize> {
        let mut shares = vec![0; backend.endpoints.len()];
        for _ in 0..picks {
            let (at, _flight) = balancer.pick(backend, &[], SECOND).unwrap();
            shares[at] += 1;
        }
        shares
    }

    #[test]
    fn shares_follow_the_weights() {
        for policy in [Policy::PeakEwma, Policy::LeastRequests, Policy::RoundRobin] {
            let got = shares(&mut balancer(policy), &backend(&[1, 3, 4]), 8000);
            for (got, due) in got.iter().zip([1000usize, 3000, 4000]) {
                assert!(got.abs_diff(due) < 250, "{policy:?}: {got} instead of {due}");
            }
        }
    }

    #[test]
    fn round_robin_interleaves() {
        let backend = backend(&[1, 1, 2]);
        let mut balancer = balancer(Policy::RoundRobin);
        let order: Vec<_> = (0..4).map(|_| balancer.pick(&backend, &[], 0).unwrap().0).collect();
        assert_eq!(order, [2, 0, 1, 2]);
    }

    #[test]
    fn the_slow_one_gets_less() {
        let backend = backend(&[1, 1, 1]);
        let mut balancer = balancer(Policy::PeakEwma);
        loop {
            let (at, flight) = balancer.pick(&backend, &[], SECOND).unwrap();
            if at == 0 {
                flight.answered(SECOND + 300_000_000);
                break;
            }
        }
        let got = shares(&mut balancer, &backend, 900);
        assert!(got[0] < 30, "{got:?}");
    }

    #[test]
    fn the_busy_one_gets_less() {
        for policy in [Policy::PeakEwma, Policy::LeastRequests] {
            let backend = backend(&[1, 1]);
            let mut balancer = balancer(policy);
            let (busy, _held) = balancer.pick(&backend, &[], SECOND).unwrap();
            for _ in 0..20 {
                assert_ne!(balancer.pick(&backend, &[], SECOND).unwrap().0, busy, "{policy:?}");
            }
        }
    }

    #[test]
    fn a_fast_failure_does_not_attract() {
        let backend = backend(&[1, 1]);
        let mut balancer = balancer(Policy::PeakEwma);
        let (bad, flight) = balancer.pick(&backend, &[], SECOND).unwrap();
        flight.failed(SECOND, Failure::Answer);
        drop(flight);
        assert_eq!(shares(&mut balancer, &backend, 100)[bad], 0);
    }

    #[test]
    fn tried_ones_are_left_out_and_resting_ones_come_last() {
        for policy in [Policy::PeakEwma, Policy::LeastRequests, Policy::RoundRobin] {
            let backend = backend(&[1, 1, 1]);
            let mut balancer = balancer(policy);
            let (down, flight) = balancer.pick(&backend, &[], SECOND).unwrap();
            flight.failed(SECOND, Failure::Connect);
            assert_eq!(shares(&mut balancer, &backend, 200)[down], 0, "{policy:?}");
            let others: Vec<usize> = (0..3).filter(|at| *at != down).collect();
            let (at, _flight) = balancer.pick(&backend, &others, SECOND).unwrap();
            assert_eq!(at, down, "the last one left is tried although it rests");
            assert!(balancer.pick(&backend, &[0, 1, 2], SECOND).is_none());
        }
    }

    #[test]
    fn statistics_outlive_a_change_of_routes() {
        let old = backend(&[1, 1]);
        let mut balancer = balancer(Policy::PeakEwma);
        let (bad, flight) = balancer.pick(&old, &[], SECOND).unwrap();
        flight.failed(SECOND, Failure::Answer);
        drop(flight);
        let grown = backend(&[1, 1, 1]);
        assert_eq!(shares(&mut balancer, &grown, 300)[bad], 0);
    }

    #[test]
    fn an_empty_backend_has_none() {
        assert!(balancer(Policy::PeakEwma).pick(&backend(&[]), &[], 0).is_none());
    }
}
