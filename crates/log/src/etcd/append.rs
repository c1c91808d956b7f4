//! Appending: one transaction for all that waits, one at a time, repeated until it is known to be done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::{CallError, Client};
use super::shared::Shared;
use super::wire::{Blob, Compare, Op, TxnRequest, encode_batch};
use super::{Keys, backoff};

/// After this much time without news of a transaction that was done, the tail is asked to look.
const NEWS: Duration = Duration::from_millis(100);

pub(super) struct Appender {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Client,
    pub(super) keys: Arc<Keys>,
    /// Drawn for this life: no two ever write the same keys.
    pub(super) proposer: u64,
    pub(super) batch_bytes: usize,
}

impl Appender {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        for sequence in 1u64.. {
            let payloads = self.wait_for_work().await;
            let key = self.keys.batch(self.proposer, sequence);
            let start = Instant::now();
            self.append(&key, encode_batch(&payloads)).await;
            let mut progress = self.shared.progress();
            progress.calls += 1;
            progress.call_us += u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            drop(progress);
            self.expect_news();
        }
    }

    async fn wait_for_work(&self) -> Vec<Bytes> {
        loop {
            let payloads = self.shared.take(self.batch_bytes);
            if !payloads.is_empty() {
                return payloads;
            }
            self.shared.work.notified().await;
        }
    }

    /// The key is absent until the transaction is done, and then there until a checkpoint stands for it: so it may
    /// be repeated after any silence, and is done once. Should another node save a checkpoint and delete the key
    /// between an answer that was lost and the next attempt, the batch is decided twice: whoever applies commands
    /// must recognise that, as on the other engines of several hosts.
    async fn append(&mut self, key: &str, value: Bytes) {
        let put = |key: &str, value: Bytes| Op::Put { key: Blob::text(key), value: Blob(value) };
        let request = TxnRequest {
            compare: vec![Compare::absent(key)],
            success: vec![put(key, value), put(&self.keys.head, Bytes::copy_from_slice(key.as_bytes()))],
        };
        for attempt in 0.. {
            match self.client.txn(&request).await {
                // Not succeeded: it was done by an attempt whose answer was lost.
                Ok(_) => {
                    self.shared.progress().cut_off = false;
                    return;
                }
                Err(error) => {
                    self.shared.progress().cut_off = true;
                    match &error {
                        CallError::Refused { .. } => tracing::warn!("append to the log: {error}"),
                        CallError::Unreachable { .. } => tracing::debug!("append to the log: {error}"),
                    }
                    backoff(attempt).await;
                }
            }
        }
    }

    /// The watch is only a hint: if it does not bring what was just written, the tail looks for itself.
    fn expect_news(&self) {
        let shared = Arc::clone(&self.shared);
        let before = *shared.place.borrow();
        tokio::spawn(async move {
            tokio::time::sleep(NEWS).await;
            if *shared.place.borrow() == before {
                shared.poke.notify_one();
            }
        });
    }
}
