//! So many answers a second toward one network, and a short one now and then beyond that.
//!
//! A fixed table of moments, two for each network, by keyed hash: nobody can fill it, and who shares one moment with
//! a flooded network still has the other. When forged senders of the whole Internet fill it all the same, everybody
//! without a cookie is told to come by TCP.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::config::{Network, RateLimit};
use crate::guard::Now;

/// Moments in each half of the table.
const SLOTS: usize = 1 << 14;
/// How much may come at once before the rate counts.
const BURST_US: u64 = 1_000_000;

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is answered.
    Answer,
    /// It is told to come back in a way that proves who asks.
    Slip,
    /// Silence.
    Drop,
}

/// The limit of all threads.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// Microseconds that one answer takes up.
    interval: u64,
    slip: u32,
    limited: AtomicU32,
    prefixes: [u8; 2],
    exempt: Vec<Network>,
    hasher: RandomState,
    /// When each network will have been silent for long enough, in microseconds (the generic cell rate algorithm).
    slots: Box<[AtomicU64]>,
}

impl Limiter {
    /// `None` when there is no limit.
    pub(crate) fn new(config: &RateLimit) -> Option<Limiter> {
        let rate = u64::from(config.responses_per_second);
        (rate > 0).then(|| Limiter {
            interval: (1_000_000 / rate).max(1),
            slip: config.slip,
            limited: AtomicU32::new(0),
            prefixes: [config.ipv4_prefix.min(32), config.ipv6_prefix.min(128)],
            exempt: config.exempt.clone(),
            hasher: RandomState::new(),
            slots: (0..2 * SLOTS).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// Counts one answer toward `from`. Two threads that count at the same instant may count one: a limit need not be
    /// exact, and a lock would be what the flood takes hold of.
    pub(crate) fn judge(&self, from: IpAddr, now: Now) -> Verdict {
        let from = from.to_canonical();
        if self.exempt.iter().any(|network| network.contains(from)) {
            return Verdict::Answer;
        }
        let hash = self.hasher.hash_one(self.network(from));
        let places = [hash as usize % SLOTS, SLOTS + (hash >> 32) as usize % SLOTS];
        let busy = places.map(|place| self.busy_until(place, now.micros));
        if busy.iter().all(|until| until - now.micros > BURST_US) {
            return self.beyond();
        }
        for (place, until) in places.iter().zip(busy) {
            let until = (until + self.interval).min(now.micros + BURST_US + self.interval);
            self.slots[*place].store(until, Relaxed);
        }
        Verdict::Answer
    }

    /// Never before now. What lies further ahead than any limit reaches is from before the clock was set back.
    fn busy_until(&self, place: usize, now: u64) -> u64 {
        let until = self.slots[place].load(Relaxed);
        if until > now + BURST_US + self.interval { now } else { until.max(now) }
    }

    fn beyond(&self) -> Verdict {
        let number = self.limited.fetch_add(1, Relaxed);
        if self.slip > 0 && number.is_multiple_of(self.slip) { Verdict::Slip } else { Verdict::Drop }
    }

    fn network(&self, address: IpAddr) -> u128 {
        let (bits, prefix) = match address {
            // Beside every IPv6 address: no network there has such a number.
            IpAddr::V4(ip) => ((u128::from(u32::from(ip)) << 96) | 1, self.prefixes[0]),
            IpAddr::V6(ip) => (u128::from(ip), self.prefixes[1]),
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        (bits & mask) | u128::from(address.is_ipv4())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(responses_per_second: u32, slip: u32) -> Limiter {
        Limiter::new(&RateLimit { responses_per_second, slip, ..RateLimit::default() }).unwrap()
    }

    fn ask(limiter: &Limiter, from: &str, at_ms: u64) -> Verdict {
        limiter.judge(from.parse().unwrap(), Now { micros: 1_700_000_000_000_000 + at_ms * 1000 })
    }

    #[test]
    fn a_network_gets_its_rate_and_its_neighbours_theirs() {
        let limiter = limiter(10, 0);
        let answered = |from: &str, ms: std::ops::Range<u64>| {
            ms.filter(|at| ask(&limiter, from, *at) == Verdict::Answer).count()
        };
        // Eleven at once, and then ten a second.
        assert!((19..=22).contains(&answered("192.0.2.7", 0..1000)));
        assert!((9..=11).contains(&answered("192.0.2.200", 1000..2000)), "one network");
        assert!((19..=22).contains(&answered("192.0.3.7", 1000..2000)), "another one");
        assert!((19..=22).contains(&answered("2001:db8::1", 0..1000)));
        assert!((9..=11).contains(&answered("2001:db8:0:ff::1", 1000..2000)), "the same 56 bits");
        assert_eq!(ask(&limiter, "192.0.2.7", 60_000), Verdict::Answer, "it is forgotten");
    }

    #[test]
    fn some_of_the_rest_are_told_how_to_come_back() {
        let limiter = limiter(1, 2);
        let verdicts: Vec<Verdict> = (0..100).map(|_| ask(&limiter, "192.0.2.7", 0)).collect();
        let count = |what| verdicts.iter().filter(|verdict| **verdict == what).count();
        assert_eq!(count(Verdict::Answer) + count(Verdict::Slip) + count(Verdict::Drop), 100);
        assert!(count(Verdict::Answer) <= 2);
        assert!(count(Verdict::Slip).abs_diff(count(Verdict::Drop)) <= 1);
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nobody() {
        let limiter = limiter(1, 0);
        (0..10).for_each(|_| drop(Box::new(ask(&limiter, "192.0.2.7", 1_000_000))));
        assert_eq!(ask(&limiter, "192.0.2.7", 1_000_000), Verdict::Drop);
        assert_eq!(ask(&limiter, "192.0.2.7", 0), Verdict::Answer);
    }

    #[test]
    fn forged_senders_everywhere_leave_the_memory_as_it_is() {
        let limiter = limiter(1000, 2);
        for number in 0..200_000u32 {
            limiter.judge(IpAddr::V4((number << 8).into()), Now { micros: 1_700_000_000_000_000 });
        }
        assert_eq!(limiter.slots.len(), 2 * SLOTS);
        assert_eq!(ask(&limiter, "203.0.113.9", 0), Verdict::Answer, "others are still served");
    }

    #[test]
    fn listed_networks_are_not_limited() {
        let exempt = vec![Network::try_from("192.0.2.0/24".to_owned()).unwrap()];
        let config = RateLimit { responses_per_second: 1, exempt, ..RateLimit::default() };
        let limiter = Limiter::new(&config).unwrap();
        assert!((0..100).all(|_| ask(&limiter, "192.0.2.7", 0) == Verdict::Answer));
        assert!(Limiter::new(&RateLimit { responses_per_second: 0, ..config }).is_none());
    }
}
