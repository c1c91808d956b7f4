//! Handshakes in progress: each costs a signature, so there are only so many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::metrics::Metrics;

/// Counts handshakes of all threads against a limit.
#[derive(Debug)]
pub struct Handshakes {
    most: AtomicUsize,
    now: AtomicUsize,
    metrics: Metrics,
}

/// One handshake in progress; over when dropped.
#[derive(Debug)]
pub struct Handshake {
    of: Arc<Handshakes>,
    done: bool,
}

impl Handshakes {
    /// At most so many at once.
    pub fn new(most: usize, metrics: &Metrics) -> Arc<Handshakes> {
        Arc::new(Handshakes { most: most.into(), now: AtomicUsize::new(0), metrics: metrics.clone() })
    }

    /// Another limit.
    pub fn allow(&self, most: usize) {
        self.most.store(most, Relaxed);
    }

    /// Room for one more, if there is.
    pub fn begin(self: &Arc<Self>) -> Option<Handshake> {
        if self.now.fetch_add(1, Relaxed) >= self.most.load(Relaxed) {
            self.now.fetch_sub(1, Relaxed);
            self.metrics.handshakes_refused.inc();
            return None;
        }
        self.metrics.handshakes_now.inc();
        Some(Handshake { of: self.clone(), done: false })
    }
}

impl Handshake {
    /// It went well.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.of.now.fetch_sub(1, Relaxed);
        let metrics = &self.of.metrics;
        metrics.handshakes_now.dec();
        if self.done {
            metrics.handshakes.inc()
        } else {
            metrics.handshakes_failed.inc()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_at_once() {
        let handshakes = Handshakes::new(2, &Metrics::default());
        let (first, _second) = (handshakes.begin().unwrap(), handshakes.begin().unwrap());
        assert!(handshakes.begin().is_none());
        first.done();
        assert!(handshakes.begin().is_some());
        assert_eq!(handshakes.metrics.handshakes.get(), 1);
        assert_eq!(handshakes.metrics.handshakes_refused.get(), 1);
    }
}
