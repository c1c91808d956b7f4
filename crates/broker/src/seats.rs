//! Places for what a user, or an address, may have at a time: so many in all, so many each.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts against two limits.
#[derive(Debug)]
pub(crate) struct Seats<K> {
    total: usize,
    each: usize,
    taken: Mutex<(usize, HashMap<K, usize>)>,
}

/// A user of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct User(pub(crate) u32);

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.0)
    }
}

/// One place, free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat<K: Hash + Eq> {
    seats: Arc<Seats<K>>,
    holder: K,
}

impl<K: Hash + Eq + Copy + fmt::Display> Seats<K> {
    pub(crate) fn new(total: usize, each: usize) -> Arc<Seats<K>> {
        Arc::new(Seats { total, each, taken: Mutex::new((0, HashMap::new())) })
    }

    /// A place for somebody, or what there is too much of.
    pub(crate) fn take(self: &Arc<Self>, holder: K) -> Result<Seat<K>, String> {
        let (all, by_holder) = &mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if *all >= self.total {
            return Err(format!("{} at a time are allowed for all together", self.total));
        }
        let held = by_holder.get(&holder).copied().unwrap_or_default();
        if held >= self.each {
            return Err(format!("{} at a time are allowed for each, and {holder} has them", self.each));
        }
        by_holder.insert(holder, held + 1);
        *all += 1;
        Ok(Seat { seats: self.clone(), holder })
    }
}

impl<K: Hash + Eq> Drop for Seat<K> {
    fn drop(&mut self) {
        let (all, by_holder) = &mut *self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *all -= 1;
        if let Some(held) = by_holder.get_mut(&self.holder) {
            *held -= 1;
            if *held == 0 {
                by_holder.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_room_for_another() {
        let seats = Seats::new(3, 2);
        let [one, other] = [User(1), User(2)];
        let first = seats.take(one).unwrap();
        let _second = seats.take(one).unwrap();
        assert!(seats.take(one).unwrap_err().contains("user 1"));
        let _third = seats.take(other).unwrap();
        assert!(seats.take(other).unwrap_err().contains("all together"));
        drop(first);
        assert!(seats.take(other).is_ok());
    }
}
