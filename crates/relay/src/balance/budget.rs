//! How many requests of a service may be sent again: so many percent of what is asked, and a few beside.

use crate::config::Config;

/// Seconds for which the reserve is saved up.
const SAVED: f64 = 10.0;

/// Credit of one service on one thread.
#[derive(Debug)]
pub(super) struct Budget {
    /// Credit for each request, and for each second.
    share: f64,
    reserve: f64,
    credit: f64,
    at_ns: u64,
}

impl Budget {
    pub(super) fn new(config: &Config, now_ns: u64) -> Budget {
        let reserve = f64::from(config.retry_reserve);
        let share = f64::from(config.retry_percent) / 100.0;
        Budget { share, reserve, credit: reserve * SAVED, at_ns: now_ns }
    }

    /// A request comes for the first time.
    pub(super) fn earn(&mut self) {
        // Bounded, so that a day of calm does not pay for a storm.
        self.credit = (self.credit + self.share).min(self.reserve.max(10.0) * SAVED);
    }

    /// Whether a request may be sent again.
    pub(super) fn spend(&mut self, now_ns: u64) -> bool {
        let elapsed = now_ns.saturating_sub(self.at_ns) as f64 / 1e9;
        self.at_ns = now_ns;
        self.credit += (self.reserve * elapsed).min((self.reserve * SAVED - self.credit).max(0.0));
        let may = self.credit >= 1.0;
        if may {
            self.credit -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_requests_and_a_reserve() {
        let config = Config { retry_percent: 20, retry_reserve: 1, ..Config::default() };
        let mut budget = Budget::new(&config, 0);
        let spent = |budget: &mut Budget, now| (0..1000).take_while(|_| budget.spend(now)).count();
        assert_eq!(spent(&mut budget, 0), 10, "what is saved up at first");
        (0..100).for_each(|_| budget.earn());
        assert!(spent(&mut budget, 0).abs_diff(20) <= 1);
        assert_eq!(spent(&mut budget, 3_000_000_000), 3);
        (0..1_000_000).for_each(|_| budget.earn());
        assert!(spent(&mut budget, 3_000_000_000) <= 100, "calm does not pay for a storm");
        let mut none = Budget::new(&Config { retry_percent: 0, retry_reserve: 0, ..config }, 0);
        none.earn();
        assert!(!none.spend(1_000_000_000_000));
    }
}
