//! Leaving in order: stop accepting, finish, go.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// Held by whoever decides that it is time.
#[derive(Debug)]
pub struct DrainTrigger {
    signal: watch::Sender<bool>,
    gone: mpsc::Receiver<()>,
}

/// Held by whoever has something to finish. Dropping the last clone says "finished".
#[derive(Debug, Clone)]
pub struct Drain {
    signal: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

/// A trigger with its first holder.
pub fn drain() -> (DrainTrigger, Drain) {
    let (signal, receiver) = watch::channel(false);
    let (alive, gone) = mpsc::channel(1);
    (DrainTrigger { signal, gone }, Drain { signal: receiver, _alive: alive })
}

impl DrainTrigger {
    /// Tells every holder to finish without waiting for them.
    pub fn start(&self) {
        self.signal.send_replace(true);
    }

    /// Waits until every holder has finished of its own accord, or `within` is over; true when all have.
    pub async fn idle(&mut self, within: Duration) -> bool {
        tokio::time::timeout(within, self.gone.recv()).await.is_ok()
    }

    /// Tells every holder to finish and waits until all have, or the deadline is over; true when all have.
    pub async fn finish(mut self, within: Duration) -> bool {
        self.start();
        self.idle(within).await
    }
}

impl Drain {
    /// Resolves when it is time to finish, also when the trigger is gone.
    pub async fn started(&self) {
        let _ = self.signal.clone().wait_for(|started| *started).await;
    }

    /// True once it is time to finish.
    pub fn is_started(&self) -> bool {
        *self.signal.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_last_holder() {
        let (trigger, holder) = drain();
        let other = holder.clone();
        let task = tokio::spawn(async move {
            other.started().await;
        });
        drop(holder);
        assert!(trigger.finish(Duration::from_secs(5)).await);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn who_has_finished_need_not_be_told() {
        let (mut trigger, holder) = drain();
        assert!(!trigger.idle(Duration::from_millis(1)).await);
        assert!(!holder.is_started(), "nobody was told");
        drop(holder);
        assert!(trigger.idle(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn gives_up_at_the_deadline() {
        let (trigger, _holder) = drain();
        assert!(!trigger.finish(Duration::from_millis(1)).await);
    }
}
