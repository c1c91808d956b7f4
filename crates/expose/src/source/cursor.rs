//! The index of a blocking query, by the rules that Consul gives its clients.

use std::time::Duration;

/// Where a watch of one list stands.
#[derive(Debug, Default)]
pub struct Cursor {
    index: u64,
    failures: u32,
}

/// After the first failure; then half as much again each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause: a catalog that is back is heard soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Cursor {
    /// What to ask after; 0 asks for the list as it is.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// An answer came, with this index. The pause to make before the next question: an index that went
    /// backwards means another history, so the next question asks for all, and one that is 0 or stays
    /// where it is would make us spin.
    pub fn handle_answer(&mut self, index: u64) -> Duration {
        self.failures = 0;
        let went_back = index < self.index;
        let is_usable = index > 0 && !went_back;
        self.index = if is_usable { index } else { 0 };
        if is_usable { Duration::ZERO } else { FIRST_PAUSE }
    }

    /// No answer came. The pause before the next question, which asks for all: the history behind the old
    /// index may be gone.
    pub fn handle_failure(&mut self) -> Duration {
        self.index = 0;
        let pause = FIRST_PAUSE.mul_f64(1.5f64.powi(self.failures.min(20) as i32));
        self.failures += 1;
        pause.min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_goes_backwards_starts_over() {
        let mut cursor = Cursor::default();
        assert_eq!((cursor.handle_answer(15), cursor.index()), (Duration::ZERO, 15));
        assert_eq!((cursor.handle_answer(15), cursor.index()), (Duration::ZERO, 15));
        assert_eq!((cursor.handle_answer(3), cursor.index()), (FIRST_PAUSE, 0));
        assert_eq!((cursor.handle_answer(0), cursor.index()), (FIRST_PAUSE, 0));
        assert_eq!((cursor.handle_answer(3), cursor.index()), (Duration::ZERO, 3));
    }

    #[test]
    fn failures_forget_the_index_and_grow_the_pause_to_a_limit() {
        let mut cursor = Cursor::default();
        cursor.handle_answer(15);
        let pauses: Vec<_> = (0..30).map(|_| cursor.handle_failure()).collect();
        assert_eq!((pauses[0], pauses[29], cursor.index()), (FIRST_PAUSE, LONGEST_PAUSE, 0));
        assert!(pauses.is_sorted());
        cursor.handle_answer(2);
        assert_eq!(cursor.handle_failure(), FIRST_PAUSE);
    }
}
