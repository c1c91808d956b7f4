//! Memory that was freed goes back to the kernel when the daemon comes to rest.
//!
//! What a busy time frees lies in holes between what lives, in a heap for each thread, and the C library keeps it
//! for itself: after 100,000 registrations a third of the memory is such holes, after a flood of connections more than
//! half. Looking through all of it takes milliseconds in which nobody gets any, so it is done when few ask.

use std::time::Duration;

use state::{Drain, Reader};
use store::View;
use sys::process;

/// Between two looks. The registry is at rest when nothing was decided from one to the next.
const LOOK: Duration = Duration::from_secs(1);
/// The daemon is at rest when it took less of a processor meanwhile.
const RESTING: Duration = Duration::from_millis(50);
/// So many decisions, or so much work of whatever kind, are worth the look through all memory.
const DECISIONS: u64 = 1000;
const WORK: Duration = Duration::from_millis(500);

/// How far things are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Done {
    index: u64,
    work: Duration,
}

impl Done {
    fn now(reader: &Reader<View>) -> Done {
        Done { index: reader.now().index(), work: process::time_taken() }
    }

    /// Whether memory is worth giving back, with what was so at the last look and when it was given back last.
    fn is_worth(self, last: Done, given_back: Done) -> bool {
        let registry = self.index == last.index && self.index >= given_back.index + DECISIONS;
        registry || (self.work < last.work + RESTING && self.work >= given_back.work + WORK)
    }
}

/// Runs until the drain.
pub(crate) async fn run(reader: Reader<View>, drain: Drain) {
    // What is replayed at the start was decided before, and has taken memory all the same.
    let mut given_back = Done { index: 0, work: Duration::ZERO };
    let mut last = given_back;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = drain.started() => return,
        }
        let mut now = Done::now(&reader);
        if now.is_worth(last, given_back) {
            // It fails only when the runtime shuts down.
            let _ = tokio::task::spawn_blocking(process::give_free_memory_back).await;
            now = Done::now(&reader);
            given_back = now;
        }
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_after_work_and_at_rest() {
        let done = |index, ms| Done { index, work: Duration::from_millis(ms) };
        let never = done(0, 0);
        assert!(
            done(1000, 900).is_worth(done(1000, 0), never),
            "the registry rests, whatever else is going on"
        );
        assert!(!done(1000, 900).is_worth(done(999, 0), never));
        assert!(done(7, 700).is_worth(done(6, 690), never), "little was done, and much before");
        assert!(!done(7, 700).is_worth(done(6, 600), never), "busy");
        assert!(!done(7, 700).is_worth(done(7, 700), done(0, 400)), "not worth it");
    }
}
