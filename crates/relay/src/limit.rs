//! Places for connections: so many in all, so many per address.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelValue;
use prometheus_client::metrics::gauge::Gauge;

/// The table by address is cut into so many parts, each with a lock, so that threads rarely meet.
const PARTS: usize = 16;

/// Counts connections of all threads against the limits.
#[derive(Debug)]
pub struct Limits {
    total: usize,
    per_address: usize,
    taken: AtomicUsize,
    by_address: [Mutex<HashMap<IpAddr, usize>>; PARTS],
    hasher: RandomState,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Full {
    /// There are as many connections as there may be in all,
    Total,
    /// or from that address.
    Address,
    /// As many bytes wait for slow readers as may.
    Memory,
}

/// Bytes in our memory that wait for a slow reader, counted until this is dropped.
#[derive(Debug)]
pub struct Held {
    gauge: Gauge,
    count: i64,
}

impl Held {
    pub(crate) fn new(gauge: &Gauge, count: usize) -> Held {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        gauge.inc_by(count);
        Held { gauge: gauge.clone(), count }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.dec_by(self.count);
    }
}

/// What limits by address count: an IPv4 address, or the network of an IPv6 address, since whoever has one of those has 2^64.
pub fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// One connection's place, free again when dropped.
#[derive(Debug)]
pub struct Place {
    limits: Arc<Limits>,
    address: IpAddr,
}

impl Limits {
    /// At most `total` at once, at most `per_address` of them from one [`holder`] of addresses.
    pub fn new(total: usize, per_address: usize) -> Arc<Limits> {
        Arc::new(Limits {
            total,
            per_address,
            taken: AtomicUsize::new(0),
            by_address: Default::default(),
            hasher: RandomState::new(),
        })
    }

    /// A place for a connection from `address`.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        if self.taken.fetch_add(1, Relaxed) >= self.total {
            self.taken.fetch_sub(1, Relaxed);
            return Err(Full::Total);
        }
        let address = holder(address);
        let mut part = self.part(address).lock().unwrap_or_else(PoisonError::into_inner);
        let held = part.entry(address).or_default();
        if *held >= self.per_address {
            self.taken.fetch_sub(1, Relaxed);
            return Err(Full::Address);
        }
        *held += 1;
        Ok(Place { limits: self.clone(), address })
    }

    /// Places taken now.
    pub fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    fn part(&self, address: IpAddr) -> &Mutex<HashMap<IpAddr, usize>> {
        &self.by_address[self.hasher.hash_one(address) as usize % PARTS]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limits.taken.fetch_sub(1, Relaxed);
        let mut part = self.limits.part(self.address).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = part.get_mut(&self.address) {
            *held -= 1;
            if *held == 0 {
                part.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_holder() {
        let of = |text: &str| holder(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn both_limits_hold_and_places_come_free() {
        let limits = Limits::new(3, 2);
        let [a, b]: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let first = limits.enter(a).unwrap();
        let _second = limits.enter(a).unwrap();
        assert_eq!(limits.enter(a).unwrap_err(), Full::Address, "two of one address");
        let _third = limits.enter(b).unwrap();
        assert_eq!(limits.enter(b).unwrap_err(), Full::Total, "three in all");
        drop(first);
        assert!(limits.enter(a).is_ok());
        assert_eq!(limits.taken(), 2);
    }
}
