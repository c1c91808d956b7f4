//! Commands on their way to the log: one batch under way at a time, the rest gathers meanwhile. A burst of
//! transitions costs a few entries, and a slow disk makes batches larger instead of queues longer.

use std::pin::Pin;

use catalog::{Applied, Command, Outcome};
use store::{Store, SubmitError};

/// Most commands in one batch: with 4 KiB of output each, still far below the log's largest command.
const MAX_BATCH: usize = 128;

type Submitted = Result<Applied, SubmitError>;

/// Commands waiting and under way.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Vec<Command>,
    batch: Vec<Command>,
    in_flight: Option<Pin<Box<dyn Future<Output = Submitted> + Send>>>,
}

impl Outbox {
    pub(crate) fn push(&mut self, command: Command) {
        self.waiting.push(command);
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.batch.len()
    }

    /// Sends the next batch unless one is under way.
    pub(crate) fn flush(&mut self, store: &Store) {
        if self.in_flight.is_some() || self.waiting.is_empty() {
            return;
        }
        let rest = self.waiting.split_off(self.waiting.len().min(MAX_BATCH));
        self.batch = std::mem::replace(&mut self.waiting, rest);
        let command = Command::Batch(self.batch.clone());
        let store = store.clone();
        self.in_flight = Some(Box::pin(async move { store.propose(command).await }));
    }

    /// Resolves when the batch under way is decided, with its commands and what became of them; never when
    /// none is. May be dropped and called again.
    pub(crate) async fn delivered(&mut self) -> (Vec<Command>, Result<Vec<Outcome>, SubmitError>) {
        let Some(in_flight) = &mut self.in_flight else { return std::future::pending().await };
        let result = in_flight.await;
        self.in_flight = None;
        let outcomes = result.map(|applied| match applied.outcome {
            Outcome::Batch(outcomes) => outcomes,
            other => vec![other],
        });
        (std::mem::take(&mut self.batch), outcomes)
    }
}
