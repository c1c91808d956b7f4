//! How many requests are let through: a bucket for each client, refilled as time goes by.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Rate;

/// The buckets are in so many parts with a lock each, so that threads rarely meet.
const PARTS: usize = 16;
/// Most buckets of a part. Beyond that one is forgotten for each that is made: memory is bounded, and a client that
/// is forgotten gets a full bucket.
const MOST: usize = 8192;
/// How often a full part is gone through at most: that takes its time.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Counts requests of one route.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Requests for each second, and at once.
    rate: f64,
    burst: f64,
    started: Instant,
    parts: [Mutex<Part>; PARTS],
}

#[derive(Debug, Default)]
struct Part {
    buckets: HashMap<u64, Bucket>,
    /// When it was last looked for buckets that are full again.
    swept: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Duration,
}

impl Meter {
    pub(crate) fn new(rate: &Rate) -> Meter {
        Meter {
            rate: f64::from(rate.requests) / rate.per.as_secs_f64(),
            burst: f64::from(rate.burst.unwrap_or(rate.requests)),
            started: Instant::now(),
            parts: Default::default(),
        }
    }

    /// Takes one from the bucket of `key`; when it is empty, how long until there is one again.
    pub(crate) fn take(&self, key: u64) -> Result<(), Duration> {
        self.take_at(key, self.started.elapsed())
    }

    fn take_at(&self, key: u64, now: Duration) -> Result<(), Duration> {
        let mut part = self.parts[key as usize % PARTS].lock().unwrap_or_else(PoisonError::into_inner);
        if part.buckets.len() >= MOST && !part.buckets.contains_key(&key) {
            self.forget(&mut part, now);
        }
        let bucket = part.buckets.entry(key).or_insert(Bucket { left: self.burst, at: now });
        *bucket = self.refilled(*bucket, now);
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.rate));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    fn refilled(&self, bucket: Bucket, now: Duration) -> Bucket {
        let passed = now.saturating_sub(bucket.at).as_secs_f64();
        Bucket { left: (bucket.left + passed * self.rate).min(self.burst), at: now.max(bucket.at) }
    }

    /// Those that are full again tell nothing; else one has to go.
    fn forget(&self, part: &mut Part, now: Duration) {
        if now.saturating_sub(part.swept) >= SWEEP_EVERY {
            part.swept = now;
            part.buckets.retain(|_, bucket| self.refilled(*bucket, now).left < self.burst);
        }
        if part.buckets.len() >= MOST
            && let Some(any) = part.buckets.keys().next().copied()
        {
            part.buckets.remove(&any);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(requests: u32, burst: u32) -> Meter {
        let per = Duration::from_secs(1);
        Meter::new(&Rate { requests, per, burst: Some(burst), by: Default::default() })
    }

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let meter = meter(2, 3);
        let taken = |key, now| {
            (0..100).take_while(|_| meter.take_at(key, Duration::from_millis(now)).is_ok()).count()
        };
        assert_eq!(taken(1, 0), 3);
        assert_eq!(meter.take_at(1, Duration::ZERO), Err(Duration::from_millis(500)));
        assert_eq!(taken(2, 0), 3, "others have their own");
        assert_eq!(taken(1, 1000), 2);
        assert_eq!(taken(1, 60_000), 3);
    }

    #[test]
    fn many_clients_need_bounded_memory() {
        let meter = meter(1, 1);
        for key in 0..(PARTS * MOST * 2) as u64 {
            meter.take_at(key, Duration::ZERO).unwrap();
        }
        let held: usize = meter.parts.iter().map(|part| part.lock().unwrap().buckets.len()).sum();
        assert!(held <= PARTS * MOST, "{held}");
    }
}
