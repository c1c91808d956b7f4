//! Places for connections: so many in all, so many per address.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

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

/// One connection's place, free again when dropped.
#[derive(Debug)]
pub struct Place {
    limits: Arc<Limits>,
    address: IpAddr,
}

impl Limits {
    /// At most `total` at once, at most `per_address` of them from one address.
    pub fn new(total: usize, per_address: usize) -> Arc<Limits> {
        Arc::new(Limits {
            total,
            per_address,
            taken: AtomicUsize::new(0),
            by_address: Default::default(),
            hasher: RandomState::new(),
        })
    }

    /// A place for a connection from `address`, or `None` when a limit is reached.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        if self.taken.fetch_add(1, Relaxed) >= self.total {
            self.taken.fetch_sub(1, Relaxed);
            return None;
        }
        let mut part = self.part(address).lock().unwrap_or_else(PoisonError::into_inner);
        let held = part.entry(address).or_default();
        if *held >= self.per_address {
            self.taken.fetch_sub(1, Relaxed);
            return None;
        }
        *held += 1;
        Some(Place { limits: self.clone(), address })
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
    fn both_limits_hold_and_places_come_free() {
        let limits = Limits::new(3, 2);
        let [a, b]: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let first = limits.enter(a).unwrap();
        let _second = limits.enter(a).unwrap();
        assert!(limits.enter(a).is_none(), "two of one address");
        let _third = limits.enter(b).unwrap();
        assert!(limits.enter(b).is_none(), "three in all");
        drop(first);
        assert!(limits.enter(a).is_some());
        assert_eq!(limits.taken(), 2);
    }
}
