//! When to try again what was refused, before the next refresh would: soon, then later and later.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// After the first refusal; then twice as long each time.
const FIRST: Duration = Duration::from_secs(1);

/// The next try.
pub(crate) struct Again {
    longest: Duration,
    pause: Duration,
    at: Option<Instant>,
}

impl Again {
    /// None yet. From `longest` on, refreshes are soon enough.
    pub(crate) fn new(longest: Duration) -> Again {
        Again { longest, pause: FIRST, at: None }
    }

    /// Something was refused at this time, or nothing.
    pub(crate) fn after(&mut self, now: Instant, is_refused: bool) {
        if !is_refused {
            (self.pause, self.at) = (FIRST, None);
        } else if self.at.is_none_or(|at| at <= now) {
            self.at = (self.pause < self.longest).then(|| now + self.pause);
            self.pause = (self.pause * 2).min(self.longest);
        }
    }

    /// Resolves when it is time; never when there is none.
    pub(crate) async fn due(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_the_refresh_and_begins_anew() {
        let mut again = Again::new(Duration::from_secs(10));
        let (mut now, mut pauses) = (Instant::now(), Vec::new());
        again.after(now, true);
        while let Some(at) = again.at {
            pauses.push((at - now).as_secs());
            // In between something else happened, and it was refused still.
            again.after(now, true);
            assert_eq!(again.at, Some(at));
            now = at;
            again.after(now, true);
        }
        assert_eq!(pauses, [1, 2, 4, 8]);
        again.after(now, false);
        again.after(now, true);
        assert_eq!(again.at, Some(now + FIRST));
    }
}
