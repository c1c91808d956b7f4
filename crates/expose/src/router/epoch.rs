//! The clock that routers tell with every answer: one that went back has forgotten what it held (RFC 6887
//! section 8.5, RFC 6886 section 3.6).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a router told last, and when.
#[derive(Debug, Default)]
pub(super) struct Epoch(Mutex<Option<(u32, Instant)>>);

impl Epoch {
    /// True unless the router began anew since it was heard last. Its clock may run slower than ours by an
    /// eighth, and two seconds of rounding.
    pub(super) fn continues(&self, seconds: u32, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace((seconds, now));
        before.is_none_or(|(told, at)| {
            let passed = now.duration_since(at);
            let least = Duration::from_secs(told.into()) + passed * 7 / 8;
            Duration::from_secs(seconds.into()) + Duration::from_secs(2) >= least
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_went_back_is_noticed_and_a_slow_one_is_not() {
        let (epoch, start) = (Epoch::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(epoch.continues(1000, at(0)));
        assert!(epoch.continues(1060, at(60)));
        assert!(epoch.continues(1112, at(120)));
        assert!(!epoch.continues(5, at(180)));
        assert!(epoch.continues(65, at(240)));
    }
}
