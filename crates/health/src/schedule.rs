//! When each check is due. Pure; time is an argument.
//!
//! Every check has a phase of its own, a hash of its name over its interval, so that ten thousand checks
//! with one interval are spread evenly over it, in the same way after every start. A check that ran late
//! or long comes next at its phase: the schedule never drifts and nothing is made up for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Handle of a scheduled thing, chosen by the caller.
pub type Ticket = u64;

/// Tickets by the time they are due.
#[derive(Debug)]
pub struct Schedule {
    origin: Instant,
    due: BinaryHeap<Reverse<(Instant, Ticket)>>,
}

impl Schedule {
    /// Nothing yet. All phases count from `origin`.
    pub fn new(origin: Instant) -> Schedule {
        Schedule { origin, due: BinaryHeap::new() }
    }

    /// Schedules the next run after `now` at the phase of `name`.
    pub fn next(&mut self, ticket: Ticket, name: &str, interval: Duration, now: Instant) {
        let at = at_phase(self.origin, phase(name, interval), interval, now);
        self.due.push(Reverse((at, ticket)));
    }

    /// Schedules a first run soon: within `within`, spread by name. For a check that somebody just
    /// registered and waits for.
    pub fn soon(&mut self, ticket: Ticket, name: &str, within: Duration, now: Instant) {
        self.due.push(Reverse((now + phase(name, within), ticket)));
    }

    /// When the next ticket is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes a ticket that is due at `now`, with the time it was due.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Ticket, Instant)> {
        if self.next_due()? > now {
            return None;
        }
        self.due.pop().map(|Reverse((at, ticket))| (ticket, at))
    }
}

/// The first instant after `now` that lies at `phase` of an interval counted from `origin`.
fn at_phase(origin: Instant, phase: Duration, interval: Duration, now: Instant) -> Instant {
    let interval = interval.max(Duration::from_millis(1)).as_nanos();
    let elapsed = now.saturating_duration_since(origin).as_nanos();
    let phase = phase.as_nanos();
    let rounds = if elapsed < phase { 0 } else { (elapsed - phase) / interval + 1 };
    let nanos = u64::try_from(phase + rounds * interval).unwrap_or(u64::MAX);
    origin + Duration::from_nanos(nanos)
}

/// A fixed share of `interval`, spread evenly over names.
fn phase(name: &str, interval: Duration) -> Duration {
    // FNV-1a, then a multiplication that mixes it into the upper half (Fibonacci hashing).
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let share = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let nanos = (interval.as_nanos() * u128::from(share)) >> 32;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[test]
    fn runs_stay_at_their_phase_however_late_they_are() {
        let origin = Instant::now();
        let mut schedule = Schedule::new(origin);
        schedule.next(1, "web-1", INTERVAL, origin);
        let (_, first) = schedule.pop_due(origin + INTERVAL).unwrap();
        let mut expected = first;
        for lateness in [0, 3, 9_999, 10, 25_000] {
            let now = expected + Duration::from_millis(lateness);
            schedule.next(1, "web-1", INTERVAL, now);
            let (_, at) = schedule.pop_due(now + INTERVAL).unwrap();
            assert_eq!((at - first).as_nanos() % INTERVAL.as_nanos(), 0);
            assert!(at > now && at <= now + INTERVAL);
            expected = at;
        }
    }

    #[test]
    fn ten_thousand_checks_are_spread_evenly() {
        let origin = Instant::now();
        let mut schedule = Schedule::new(origin);
        for number in 0..10_000 {
            schedule.next(number, &format!("service:web-{number}"), INTERVAL, origin);
        }
        let mut per_slice = [0u32; 100];
        let mut now = origin;
        while let Some(at) = schedule.next_due().filter(|at| *at <= origin + INTERVAL) {
            now = now.max(at);
            schedule.pop_due(now).unwrap();
            let slice = (at - origin).as_nanos() * 100 / INTERVAL.as_nanos();
            per_slice[(slice as usize).min(99)] += 1;
        }
        assert_eq!(per_slice.iter().sum::<u32>(), 10_000);
        let (least, most) = (per_slice.iter().min().unwrap(), per_slice.iter().max().unwrap());
        assert!(*least > 50 && *most < 160, "{least} to {most} in a hundredth of the interval");
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let origin = Instant::now();
        let mut schedule = Schedule::new(origin);
        assert_eq!(schedule.pop_due(origin + INTERVAL), None);
        schedule.soon(7, "web-1", Duration::from_secs(1), origin);
        let at = schedule.next_due().unwrap();
        assert!(at < origin + Duration::from_secs(1));
        assert_eq!(schedule.pop_due(at - Duration::from_nanos(1)), None);
        assert_eq!(schedule.pop_due(at), Some((7, at)));
    }
}
