//! From `solo` to `etcd`: the order goes on where it stood, with the same indexes.
//!
//! First one key says whose beginning this is, and no other hand-over under the prefix passes it. Then come the newest
//! checkpoint and the entries after it, each step repeated as often as it takes: the keys are the same every time. The
//! log that is handed over stays as it is; whoever calls puts it aside afterwards.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::client::{CallError, Client};
use super::tail::Fault;
use super::wire::{Blob, Compare, Op, RangeRequest, TxnRequest, encode_batch};
use super::{Config, Keys, backoff, state};
use crate::disk::{Directory, Disk};
use crate::solo::format::Integrity;
use crate::solo::recover::{self, Recovered};
use crate::solo::replay;
use crate::{Checkpoint, Index, LogError, solo};

/// How long etcd may be silent before the hand-over is given up for now.
const PATIENCE: Duration = Duration::from_secs(30);

/// The proposer of batches that come from elsewhere: none that is drawn has this number.
const FROM_SOLO: u64 = 0;

/// What was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Last index of the order then.
    pub last: Index,
}

/// Makes the log in `from.dir` the beginning of the order in etcd. `id` names this hand-over; whoever comes back after
/// an interruption must bring the same. Without a log there an empty order is begun.
///
/// # Errors
/// [`LogError::Settings`] when another order stands under the prefix, or etcd cannot be reached for too long;
/// [`LogError::InUse`] and [`LogError::Damaged`] of the log that is handed over.
pub async fn take_over(from: &solo::Config, to: &Config, id: &str) -> Result<Begun, LogError> {
    let own = from.clone();
    let batch_bytes = to.max_batch_bytes;
    let reading = tokio::task::spawn_blocking(move || read(&own, batch_bytes)).await;
    let found = reading.map_err(|cause| refused(format!("read the log that is handed over: {cause}")))??;
    let mut hand = Hand { client: Client::new(to.access()?), keys: Keys::new(&to.prefix) };
    match tokio::time::timeout(PATIENCE, hand.over(&found, id)).await {
        Ok(done) => done.map(|()| Begun { last: found.last }),
        Err(_) => {
            Err(refused(format!("etcd took no hand-over of the order within {} s", PATIENCE.as_secs())))
        }
    }
}

fn refused(reason: String) -> LogError {
    LogError::Settings { reason }
}

/// A log of one node.
#[derive(Default)]
struct Found {
    checkpoint: Option<Checkpoint>,
    batches: Vec<Vec<Bytes>>,
    last: Index,
}

fn read(from: &solo::Config, batch_bytes: usize) -> Result<Found, LogError> {
    if !from.dir.is_dir() {
        return Ok(Found::default());
    }
    let disk: Arc<dyn Disk> = Arc::new(Directory::open(&from.dir)?);
    let _lock = disk.lock()?;
    let integrity = Integrity::default();
    let Recovered { checkpoint, spans, .. } = recover::recover(&disk, &integrity, from.segment_bytes)?;
    let base = checkpoint.as_ref().map_or(0, |saved| saved.index);
    let mut found = Found { checkpoint, batches: Vec::new(), last: base };
    let mut room = 0;
    for span in &spans {
        let mut take = |entries: Vec<crate::Entry>| {
            for entry in entries.into_iter().filter(|entry| entry.index > base) {
                let bytes = entry.payload.len() + 4;
                if bytes > room || found.batches.is_empty() {
                    found.batches.push(Vec::new());
                    room = batch_bytes;
                }
                room = room.saturating_sub(bytes);
                found.last = entry.index;
                found.batches.last_mut().into_iter().for_each(|batch| batch.push(entry.payload.clone()));
            }
            Ok(true)
        };
        replay::walk(&*disk, &integrity, span, &mut take)?;
    }
    Ok(found)
}

struct Hand {
    client: Client,
    keys: Keys,
}

impl Hand {
    async fn over(&mut self, found: &Found, id: &str) -> Result<(), LogError> {
        self.claim(id).await?;
        if let Some(saved) = &found.checkpoint {
            self.save(saved).await?;
        }
        for (sequence, batch) in (1..).zip(&found.batches) {
            let key = self.keys.batch(FROM_SOLO, sequence);
            let puts = vec![put(&key, encode_batch(batch)), put(&self.keys.head, key.clone().into())];
            self.insist(&TxnRequest { compare: vec![Compare::absent(&key)], success: puts }).await;
        }
        Ok(())
    }

    /// Nobody else begins an order here from now on.
    async fn claim(&mut self, id: &str) -> Result<(), LogError> {
        let empty = [&self.keys.begun, &self.keys.head, &self.keys.meta].map(|key| Compare::absent(key));
        let claim = put(&self.keys.begun, Bytes::copy_from_slice(id.as_bytes()));
        if self.insist(&TxnRequest { compare: empty.into(), success: vec![claim] }).await {
            return Ok(());
        }
        for attempt in 0.. {
            match self.client.range(&RangeRequest::one(&self.keys.begun)).await {
                Ok(known) if known.kvs.first().is_some_and(|kv| *kv.value.0 == *id.as_bytes()) => break,
                Ok(_) => {
                    return Err(refused(format!(
                        "etcd holds another order under {} already: give this cluster a prefix of its own",
                        self.keys.root
                    )));
                }
                Err(error) => again(attempt, &error).await,
            }
        }
        Ok(())
    }

    async fn save(&mut self, saved: &Checkpoint) -> Result<(), LogError> {
        for attempt in 0.. {
            match state::begin(&mut self.client, &self.keys, saved).await {
                Ok(()) => break,
                Err(Fault::Call(error)) => again(attempt, &error).await,
                Err(Fault::Gap(what)) => tracing::debug!("hand the order over to etcd: {what}"),
                Err(Fault::Final(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Until it is answered; whether it was done now.
    async fn insist(&mut self, request: &TxnRequest) -> bool {
        let mut attempt = 0;
        loop {
            match self.client.txn(request).await {
                Ok(answer) => return answer.succeeded,
                Err(error) => again(attempt, &error).await,
            }
            attempt += 1;
        }
    }
}

async fn again(attempt: u32, error: &CallError) {
    tracing::warn!("hand the order over to etcd: {error}; trying again");
    backoff(attempt).await;
}

fn put(key: &str, value: Bytes) -> Op {
    Op::Put { key: Blob::text(key), value: Blob(value) }
}
