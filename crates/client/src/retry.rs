//! How long to wait before trying again.

use std::time::Duration;

/// Waits that double from one try to the next, each spread at random so that clients do not come in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    most: Duration,
}

const FIRST: Duration = Duration::from_millis(100);

impl Backoff {
    pub(crate) fn up_to(most: Duration) -> Backoff {
        Backoff { next: FIRST.min(most), most }
    }

    pub(crate) fn reset(&mut self) {
        self.next = FIRST.min(self.most);
    }

    /// The next wait: between half and all of what it has grown to.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(self.most);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// `time` give or take a tenth.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.9 + fastrand::f64() / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_start_over() {
        let most = Duration::from_secs(2);
        let mut backoff = Backoff::up_to(most);
        let waits: Vec<_> = (0..8).map(|_| backoff.wait()).collect();
        assert!(waits[0] >= Duration::from_millis(50) && waits[0] <= Duration::from_millis(100));
        assert!(waits[7] >= most / 2 && waits[7] <= most);
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }
}
