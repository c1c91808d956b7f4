//! Places for what a user may have at a time: so many in all, so many each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts against two limits.
#[derive(Debug)]
pub(crate) struct Seats {
    total: usize,
    per_user: usize,
    taken: Mutex<(usize, HashMap<u32, usize>)>,
}

/// One place, free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    uid: u32,
}

impl Seats {
    pub(crate) fn new(total: usize, per_user: usize) -> Arc<Seats> {
        Arc::new(Seats { total, per_user, taken: Mutex::default() })
    }

    /// A place for a user, or what there is too much of.
    pub(crate) fn take(self: &Arc<Self>, uid: u32) -> Result<Seat, String> {
        let (all, by_user) = &mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if *all >= self.total {
            return Err(format!("{} at a time are allowed for all users together", self.total));
        }
        let held = by_user.get(&uid).copied().unwrap_or_default();
        if held >= self.per_user {
            return Err(format!(
                "{} at a time are allowed for one user, and user {uid} has them",
                self.per_user
            ));
        }
        by_user.insert(uid, held + 1);
        *all += 1;
        Ok(Seat { seats: self.clone(), uid })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (all, by_user) = &mut *self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *all -= 1;
        if let Some(held) = by_user.get_mut(&self.uid) {
            *held -= 1;
            if *held == 0 {
                by_user.remove(&self.uid);
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
        let first = seats.take(1).unwrap();
        let _second = seats.take(1).unwrap();
        assert!(seats.take(1).unwrap_err().contains("user 1"));
        let _third = seats.take(2).unwrap();
        assert!(seats.take(2).unwrap_err().contains("all users"));
        drop(first);
        assert!(seats.take(2).is_ok());
    }
}
