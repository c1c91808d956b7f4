//! Which endpoint gets the next request.
//!
//! Each data thread has a [`Balancer`] of its own; statistics are shared by all threads and outlive changes
//! of the routes. Time is an argument, and so is the seed of the random numbers.

mod budget;
mod health;
mod stats;
mod view;

use std::collections::HashMap;
use std::sync::Arc;

use route::Backend;

pub use stats::{Failure, Flight, Registry, Stats};

use crate::config::{Config, Policy};
use budget::Budget;
pub(crate) use health::Rules;
use view::View;

/// Chooses endpoints for one thread.
#[derive(Debug)]
pub struct Balancer {
    config: Config,
    slow_start_ns: u64,
    registry: Arc<Registry>,
    /// By service name; rebuilt when the backend is another value than the one it was built for.
    views: HashMap<Arc<str>, Known>,
    random: fastrand::Rng,
}

/// What is known of one service.
#[derive(Debug)]
struct Known {
    view: View,
    /// What round robin owes to each endpoint.
    owed: Vec<i64>,
    budget: Budget,
}

/// A key that always leads to the same endpoint, of what a client shows.
pub fn key(bytes: &[u8]) -> u64 {
    view::hash(bytes.iter().copied())
}

/// Services whose views a thread keeps before it starts anew.
const MOST_VIEWS: usize = 8192;

impl Balancer {
    /// A balancer that shares `registry`.
    pub fn new(config: Config, registry: Arc<Registry>, seed: u64) -> Balancer {
        let slow_start_ns = u64::try_from(config.slow_start.as_nanos()).unwrap_or(u64::MAX);
        let random = fastrand::Rng::with_seed(seed);
        Balancer { config, slow_start_ns, registry, views: HashMap::new(), random }
    }

    /// Chooses an endpoint of `backend` that is not among `tried`, and counts the flight toward it; with a `key`, the
    /// one that it belongs to. One that rests or answers badly is chosen only where no other is left; `None` only
    /// when all were tried.
    pub fn pick(
        &mut self,
        backend: &Arc<Backend>,
        tried: &[usize],
        key: Option<u64>,
        now_ns: u64,
    ) -> Option<(usize, Flight)> {
        if !self.views.get(&backend.service).is_some_and(|known| Arc::ptr_eq(&known.view.backend, backend)) {
            self.look_anew(backend, now_ns);
        }
        let Known { view, owed, budget } = self.views.get_mut(&backend.service)?;
        if tried.is_empty() {
            budget.earn();
        }
        let cold = cold(view, &mut self.random, self.slow_start_ns, now_ns);
        let rng = &mut self.random;
        let mut choose = |fits: &dyn Fn(usize) -> bool| match self.config.balance {
            _ if let Some(key) = key => view.by_key(key, fits),
            Policy::PeakEwma => view.two_choices(rng, fits, |at| {
                view.stats[at].latency(now_ns).max(stats::FLOOR_NS) * (1.0 + view.load(at))
            }),
            Policy::LeastRequests => view.two_choices(rng, fits, |at| view.load(at)),
            Policy::RoundRobin => view.in_turn(owed, fits),
        };
        let untried = |at: usize| !tried.contains(&at);
        let awake = |at: usize| untried(at) && !view.stats[at].rests(now_ns);
        let well = |at: usize| {
            awake(at) && (!view.stats[at].is_away(now_ns) || view.panics(now_ns, self.config.panic_percent))
        };
        let at = match cold {
            Some(cold) => choose(&|at| well(at) && !cold[at]).or_else(|| choose(&well)),
            None => choose(&well),
        };
        let at = at.or_else(|| choose(&awake)).or_else(|| choose(&untried))?;
        Some((at, Flight::new(view.stats[at].clone(), now_ns)))
    }

    /// Whether a request that was sent may be sent again; counts it.
    pub fn may_repeat(&mut self, backend: &Arc<Backend>, now_ns: u64) -> bool {
        self.views.get_mut(&backend.service).is_some_and(|known| known.budget.spend(now_ns))
    }

    fn look_anew(&mut self, backend: &Arc<Backend>, now_ns: u64) {
        if self.views.len() >= MOST_VIEWS {
            self.views.clear();
        }
        let view = View::new(backend, &self.registry);
        let before = self.views.remove(&backend.service);
        let budget = before.map(|before| {
            view.welcome(&before.view, now_ns);
            before.budget
        });
        let known = Known {
            view,
            owed: vec![0; backend.endpoints.len()],
            budget: budget.unwrap_or_else(|| Budget::new(&self.config, now_ns)),
        };
        self.views.insert(backend.service.clone(), known);
    }
}

/// Which endpoints are passed over this time because they are warming up; mostly there are none.
fn cold(view: &View, rng: &mut fastrand::Rng, slow_start_ns: u64, now_ns: u64) -> Option<Vec<bool>> {
    let warmth = |stats: &Arc<Stats>| stats.warmth(now_ns, slow_start_ns);
    let any = slow_start_ns > 0 && view.stats.iter().any(|stats| warmth(stats) < 1.0);
    any.then(|| view.stats.iter().map(|stats| rng.f64() >= warmth(stats)).collect())
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

    fn balancer(balance: Policy) -> Balancer {
        with(Config { balance, ..Config::default() })
    }

    fn with(config: Config) -> Balancer {
        let registry = Registry::new(Rules::new(&config));
        Balancer::new(config, Arc::new(registry), 7)
    }

    fn shares(balancer: &mut Balancer, backend: &Arc<Backend>, picks: usize) -> Vec<usize> {
        let mut shares = vec![0; backend.endpoints.len()];
        for _ in 0..picks {
            let (at, _flight) = balancer.pick(backend, &[], None, SECOND).unwrap();
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
        let order: Vec<_> = (0..4).map(|_| balancer.pick(&backend, &[], None, 0).unwrap().0).collect();
        assert_eq!(order, [2, 0, 1, 2]);
    }

    #[test]
    fn the_slow_one_gets_less() {
        let backend = backend(&[1, 1, 1]);
        let mut balancer = balancer(Policy::PeakEwma);
        loop {
            let (at, flight) = balancer.pick(&backend, &[], None, SECOND).unwrap();
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
            let (busy, _held) = balancer.pick(&backend, &[], None, SECOND).unwrap();
            for _ in 0..20 {
                assert_ne!(balancer.pick(&backend, &[], None, SECOND).unwrap().0, busy, "{policy:?}");
            }
        }
    }

    #[test]
    fn a_fast_failure_does_not_attract() {
        let backend = backend(&[1, 1]);
        let mut balancer = balancer(Policy::PeakEwma);
        let (bad, flight) = balancer.pick(&backend, &[], None, SECOND).unwrap();
        flight.failed(SECOND, Failure::Answer);
        drop(flight);
        assert_eq!(shares(&mut balancer, &backend, 100)[bad], 0);
    }

    #[test]
    fn tried_ones_are_left_out_and_resting_ones_come_last() {
        for policy in [Policy::PeakEwma, Policy::LeastRequests, Policy::RoundRobin] {
            let backend = backend(&[1, 1, 1]);
            let mut balancer = balancer(policy);
            let (down, flight) = balancer.pick(&backend, &[], None, SECOND).unwrap();
            flight.failed(SECOND, Failure::Connect);
            assert_eq!(shares(&mut balancer, &backend, 200)[down], 0, "{policy:?}");
            let others: Vec<usize> = (0..3).filter(|at| *at != down).collect();
            let (at, _flight) = balancer.pick(&backend, &others, None, SECOND).unwrap();
            assert_eq!(at, down, "the last one left is tried although it rests");
            assert!(balancer.pick(&backend, &[0, 1, 2], None, SECOND).is_none());
        }
    }

    #[test]
    fn statistics_outlive_a_change_of_routes() {
        let old = backend(&[1, 1]);
        let mut balancer = balancer(Policy::PeakEwma);
        let (bad, flight) = balancer.pick(&old, &[], None, SECOND).unwrap();
        flight.failed(SECOND, Failure::Answer);
        drop(flight);
        let grown = backend(&[1, 1, 1]);
        assert_eq!(shares(&mut balancer, &grown, 300)[bad], 0);
    }

    #[test]
    fn an_empty_backend_has_none() {
        assert!(balancer(Policy::PeakEwma).pick(&backend(&[]), &[], None, 0).is_none());
        assert!(balancer(Policy::PeakEwma).pick(&backend(&[]), &[], Some(1), 0).is_none());
    }

    /// Has `at` answer badly until it is left alone.
    fn send_away(balancer: &mut Balancer, backend: &Arc<Backend>, at: usize) {
        let others: Vec<usize> = (0..backend.endpoints.len()).filter(|other| *other != at).collect();
        loop {
            let (_, flight) = balancer.pick(backend, &others, None, SECOND).unwrap();
            if flight.failed(SECOND, Failure::Answer) {
                return;
            }
        }
    }

    #[test]
    fn one_that_answers_badly_is_left_alone_but_never_too_many() {
        for policy in [Policy::PeakEwma, Policy::LeastRequests, Policy::RoundRobin] {
            let backend = backend(&[1, 1, 1, 1]);
            let mut balancer = balancer(policy);
            send_away(&mut balancer, &backend, 0);
            send_away(&mut balancer, &backend, 1);
            let got = shares(&mut balancer, &backend, 200);
            assert_eq!((got[0], got[1]), (0, 0), "{policy:?}");
            send_away(&mut balancer, &backend, 2);
            let later = SECOND + 100_000_000;
            let mut got = [0; 4];
            for _ in 0..2000 {
                got[balancer.pick(&backend, &[], None, later).unwrap().0] += 1;
            }
            // Three of four would leave all to one: so nobody is left alone, and only cost tells.
            match policy {
                Policy::PeakEwma => assert!(got[3] > 800, "{policy:?}: {got:?}"),
                _ => assert!(got.iter().all(|got| *got > 300), "{policy:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_key_keeps_its_endpoint_and_moves_only_when_it_must() {
        let (old, grown) = (backend(&[1, 1, 1, 1]), backend(&[1, 1, 1, 1, 1]));
        let mut balancer = balancer(Policy::PeakEwma);
        let at = |balancer: &mut Balancer, backend: &Arc<Backend>, key: u64, tried: &[usize]| {
            balancer.pick(backend, tried, Some(super::key(&key.to_be_bytes())), SECOND).unwrap().0
        };
        let first: Vec<usize> = (0..1000).map(|key| at(&mut balancer, &old, key, &[])).collect();
        for (endpoint, due) in (0..4).map(|endpoint| (endpoint, 250)) {
            let got = first.iter().filter(|at| **at == endpoint).count();
            assert!(got.abs_diff(due) < 60, "{got} of 1000 at {endpoint}");
        }
        let again: Vec<usize> = (0..1000).map(|key| at(&mut balancer, &grown, key, &[])).collect();
        let moved = first.iter().zip(&again).filter(|(before, after)| before != after);
        assert!(moved.clone().all(|(_, after)| *after == 4), "only to the new one");
        assert!(moved.count().abs_diff(200) < 60);
        for key in 0..100 {
            let next = at(&mut balancer, &old, key, &[first[key as usize]]);
            assert_ne!(next, first[key as usize]);
            assert_eq!(next, at(&mut balancer, &old, key, &[first[key as usize]]), "and always the same");
        }
    }

    #[test]
    fn keys_follow_the_weights() {
        let backend = backend(&[1, 3]);
        let mut balancer = balancer(Policy::PeakEwma);
        let heavy = (0..4000u32)
            .filter(|key| {
                let key = super::key(&key.to_be_bytes());
                balancer.pick(&backend, &[], Some(key), SECOND).unwrap().0 == 1
            })
            .count();
        assert!(heavy.abs_diff(3000) < 150, "{heavy} of 4000 where 3000 are due");
    }

    #[test]
    fn a_newcomer_begins_slowly() {
        let slow_start = std::time::Duration::from_secs(10);
        for balance in [Policy::PeakEwma, Policy::LeastRequests, Policy::RoundRobin] {
            let mut balancer = with(Config { slow_start, balance, ..Config::default() });
            let got = shares(&mut balancer, &backend(&[1, 1]), 200);
            assert!(got.iter().all(|got| *got > 50), "those that are there first are warm: {got:?}");
            let grown = backend(&[1, 1, 1]);
            let mut at = |now: u64| {
                let third = |_: &usize| balancer.pick(&grown, &[], None, now).unwrap().0 == 2;
                (0..3000).filter(third).count()
            };
            let (cold, warm) = (at(SECOND + 1), at(12 * SECOND));
            assert!(cold < 250 && (800..1200).contains(&warm), "{balance:?}: {cold}, then {warm}");
        }
    }
}
