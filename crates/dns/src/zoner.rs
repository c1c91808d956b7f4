//! The thread that keeps the zone up to date.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use route::Facts;
use state::{Drain, Reader};
use store::View;

use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::zone::Zone;

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
    pub(crate) zone: Arc<ArcSwap<Zone>>,
    pub(crate) metrics: Metrics,
}

impl Zoner {
    /// The first zone, from what is known now.
    pub(crate) fn first(&self) {
        let started = Instant::now();
        let zone = self.plan.project(&self.views.now(), &self.facts.now());
        self.publish(zone, started);
    }

    /// Follows both states until it is time to leave.
    pub(crate) async fn run(mut self, drain: Drain) {
        let mut pause_until = Instant::now();
        loop {
            tokio::select! {
                view = self.views.next() => if view.is_none() { return },
                facts = self.facts.next() => if facts.is_none() { return },
                () = drain.started() => return,
            }
            tokio::time::sleep_until(pause_until.into()).await;
            let started = Instant::now();
            let (view, facts) = (self.views.now(), self.facts.now());
            let zone = self.plan.advance(&self.zone.load(), &view, &facts);
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
