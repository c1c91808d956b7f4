//! Rounds of registering what stands in files: whoever asks for one may wait until it is over.

use tokio::sync::watch;

/// How many rounds were asked for, and how many of those are over.
#[derive(Default)]
pub(crate) struct Rounds {
    asked: watch::Sender<u64>,
    over: watch::Sender<u64>,
}

impl Rounds {
    /// Asks for another.
    pub(crate) fn ask(&self) {
        self.asked.send_modify(|asked| *asked += 1);
    }

    /// How many were asked for, for who carries them out: the count as it is when a round begins is what the round
    /// is for.
    pub(crate) fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// A round is over that began when so many were asked for.
    pub(crate) fn done(&self, asked: u64) {
        self.over.send_replace(asked);
    }

    /// Resolves once what was asked for until now is over.
    pub(crate) async fn over(&self) {
        let wanted = *self.asked.borrow();
        // The sender is ours.
        let _ = self.over.subscribe().wait_for(|over| *over >= wanted).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn who_asks_for_a_round_waits_for_one_that_began_later() {
        let mut context = Context::from_waker(Waker::noop());
        let rounds = Rounds::default();
        let mut asked = rounds.asked();
        let before = *asked.borrow_and_update();
        rounds.ask();
        let mut over = pin!(rounds.over());
        assert!(over.as_mut().poll(&mut context).is_pending());
        rounds.done(before);
        assert!(over.as_mut().poll(&mut context).is_pending(), "that one had begun already");
        assert!(asked.has_changed().unwrap());
        rounds.done(*asked.borrow_and_update());
        assert!(over.as_mut().poll(&mut context).is_ready());
    }
}
