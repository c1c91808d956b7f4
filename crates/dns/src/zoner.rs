//! The thread that keeps the zone up to date.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use catalog::exposure;
use route::{Facts, Policy, Routes};
use state::{Drain, Reader};
use store::View;

use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::zone::Zone;
use crate::zone::indoors::Indoors;

/// Shortest time between two zones. What changes meanwhile is in the next one.
const PAUSE: Duration = Duration::from_millis(1);
/// Longest such time.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// A projection that took long is followed by a pause this many times as long, so that services with very
/// many instances under heavy change cost a third of a core and not a whole one. Not more: what piles up
/// during a pause makes the next projection longer, and the pauses must not grow out of that.
const PAUSE_FACTOR: u32 = 2;

/// Reads states and publishes zones.
pub(crate) struct Zoner {
    pub(crate) plan: Plan,
    pub(crate) views: Reader<View>,
    pub(crate) facts: Reader<Facts>,
    pub(crate) routes: Reader<Routes>,
    pub(crate) indoors: Reader<exposure::Indoors>,
    pub(crate) zone: Arc<ArcSwap<Zone>>,
    pub(crate) metrics: Metrics,
}

fn is_same(policy: &Option<Arc<Policy>>, routes: &Routes) -> bool {
    policy.as_ref().is_some_and(|policy| Arc::ptr_eq(policy, routes.policy()))
}

impl Zoner {
    /// The first zone, from what is known now.
    pub(crate) fn first(&self) {
        let started = Instant::now();
        let zone = self.plan.project(&self.views.now(), &self.facts.now());
        let redirected = self.plan.redirected(self.routes.now().policy());
        let indoors = Indoors::new(&self.indoors.now());
        self.publish(Zone { redirected, indoors, ..zone }, started);
    }

    /// Follows both states until it is time to leave.
    pub(crate) async fn run(mut self, drain: Drain) {
        let mut pause_until = Instant::now();
        let mut policy: Option<Arc<Policy>> = None;
        let mut redirected = None;
        let mut told = self.indoors.now();
        let mut indoors = Indoors::new(&told);
        loop {
            tokio::select! {
                view = self.views.next() => if view.is_none() { return },
                facts = self.facts.next() => if facts.is_none() { return },
                routes = self.routes.next() => match routes {
                    None => return,
                    // Routes change with every service, which is in the snapshot too.
                    Some(routes) if is_same(&policy, &routes) => continue,
                    Some(_) => {}
                },
                // Who exposes nothing tells nothing, and may be gone.
                Some(_) = self.indoors.next() => {}
                () = drain.started() => return,
            }
            tokio::time::sleep_until(pause_until.into()).await;
            let started = Instant::now();
            let (view, facts) = (self.views.now(), self.facts.now());
            let routes = self.routes.now();
            if !is_same(&policy, &routes) {
                redirected = self.plan.redirected(routes.policy());
                policy = Some(routes.policy().clone());
            }
            let zone = self.plan.advance(&self.zone.load(), &view, &facts);
            if !Arc::ptr_eq(&told, &self.indoors.now()) {
                told = self.indoors.now();
                indoors = Indoors::new(&told);
            }
            let zone = Zone { redirected: redirected.clone(), indoors: indoors.clone(), ..zone };
            let took = self.publish(zone, started);
            pause_until = Instant::now() + (took * PAUSE_FACTOR).clamp(PAUSE, LONGEST_PAUSE);
        }
    }

    fn publish(&self, zone: Zone, started: Instant) -> Duration {
        let (index, services) = (zone.index(), zone.services());
        self.zone.store(Arc::new(zone));
        let took = started.elapsed();
        self.metrics.projected(index, services, took);
        took
    }
}
