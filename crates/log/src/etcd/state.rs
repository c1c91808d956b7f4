//! Checkpoints in etcd: chunks under a name of their own, and one key that says which of them counts.
//!
//! A checkpoint is read back and compared before that key is changed, and only then do the batches go that it stands
//! for: first what nobody needs is there, then what nobody needs is gone.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::client::{CallError, Client};
use super::shared::Progress;
use super::tail::Fault;
use super::wire::{Blob, Compare, Op, RangeRequest, TxnRequest};
use super::{Keys, backoff};
use crate::{Checkpoint, Index, LogError};

/// Bytes of a chunk: etcd takes requests of 1.5 MiB unless told otherwise.
const CHUNK: usize = 512 << 10;
/// Keys deleted in one transaction: etcd takes 128 operations unless told otherwise.
const DELETIONS: usize = 100;
/// How often a call is repeated before a save is given up.
const ATTEMPTS: u32 = 8;

/// What the one key says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Last entry in the state.
    pub(super) index: Index,
    /// Entries, batches and revision before the first batch that is still needed. The state may contain its first
    /// entries.
    pub(super) base: Index,
    pub(super) version: u64,
    pub(super) revision: u64,
    /// Names the chunks.
    id: String,
    chunks: u64,
    bytes: u64,
    crc32c: u32,
}

/// Where a checkpoint at `index` lies in the order; nothing when the batches that say it are gone, as they are
/// behind a newer checkpoint.
pub(super) fn locate(progress: &Progress, index: Index) -> Option<(Index, u64, u64)> {
    let mut before = None;
    for batch in &progress.batches {
        let last = batch.first + batch.count - 1;
        if last == index {
            return Some((index, batch.version, batch.revision));
        }
        if batch.first <= index && index < last {
            // In its midst: the batch stays.
            return Some((batch.first - 1, batch.version - 1, before.unwrap_or(batch.revision - 1)));
        }
        before = Some(batch.revision);
    }
    None
}

/// The newest checkpoint, if it is ahead of entry `last`.
pub(super) async fn load(
    client: &mut Client,
    keys: &Keys,
    last: Index,
) -> Result<Option<(Meta, Bytes)>, Fault> {
    let Some((meta, _)) = newest(client, keys).await? else { return Ok(None) };
    if meta.index <= last {
        return Ok(None);
    }
    match fetch(client, keys, &meta).await? {
        Some(state) => Ok(Some((meta, state))),
        // Replaced while it was read, or not what was written.
        None => Err(Fault::Gap(format!("the checkpoint at {} does not read back whole", meta.index))),
    }
}

/// The newest checkpoint and the revision at which it became that, 0 when there is none.
async fn newest(client: &mut Client, keys: &Keys) -> Result<Option<(Meta, u64)>, Fault> {
    let answer = client.range(&RangeRequest::one(&keys.meta)).await?;
    let Some(found) = answer.kvs.into_iter().next() else { return Ok(None) };
    let meta = serde_json::from_slice(&found.value.0).map_err(|cause| {
        let reason = format!("etcd's key {} holds no checkpoint of this version: {cause}", keys.meta);
        Fault::Final(LogError::Settings { reason })
    })?;
    Ok(Some((meta, found.mod_revision)))
}

async fn fetch(client: &mut Client, keys: &Keys, meta: &Meta) -> Result<Option<Bytes>, CallError> {
    let mut state = BytesMut::new();
    for number in 0..meta.chunks {
        let answer = client.range(&RangeRequest::one(&keys.chunk(&meta.id, number))).await?;
        let Some(chunk) = answer.kvs.into_iter().next() else { return Ok(None) };
        if state.len() as u64 + chunk.value.0.len() as u64 > meta.bytes {
            return Ok(None);
        }
        state.extend_from_slice(&chunk.value.0);
    }
    let whole = state.len() as u64 == meta.bytes && crc32c::crc32c(&state) == meta.crc32c;
    Ok(whole.then(|| state.freeze()))
}

/// Saves a state that stands for everything up to `place` (entries, batches, revision) and contains `index`.
///
/// # Errors
/// When etcd cannot be reached for long, or what was written does not read back. The checkpoint before still counts.
pub(super) async fn save(
    client: &mut Client,
    keys: &Keys,
    (index, place): (Index, (Index, u64, u64)),
    state: Bytes,
) -> Result<(), LogError> {
    for attempt in 0.. {
        let error = match try_save(client, keys, (index, place), &state).await {
            Ok(()) => return Ok(()),
            Err(Fault::Final(error)) => return Err(error),
            Err(Fault::Call(error)) => error.to_string(),
            Err(Fault::Gap(what)) => what,
        };
        if attempt >= ATTEMPTS {
            let cause = std::io::Error::other(error);
            return Err(LogError::io(
                "save in etcd",
                format!("checkpoint {index} under {}", keys.root),
                cause,
            ));
        }
        backoff(attempt).await;
    }
    Ok(())
}

async fn try_save(
    client: &mut Client,
    keys: &Keys,
    (index, (base, version, revision)): (Index, (Index, u64, u64)),
    state: &Bytes,
) -> Result<(), Fault> {
    let before = newest(client, keys).await?;
    if before.as_ref().is_some_and(|(known, _)| known.index >= index) {
        return Ok(());
    }
    let id = format!("{:016x}", crate::solo::format::random());
    let chunks = state.chunks(CHUNK).len() as u64;
    let (bytes, crc32c) = (state.len() as u64, crc32c::crc32c(state));
    let meta = Meta { index, base, version, revision, id, chunks, bytes, crc32c };
    put_chunks(client, keys, &meta, state).await?;
    let compare = match &before {
        Some((_, revision)) => Compare::changed_at(&keys.meta, *revision),
        None => Compare::absent(&keys.meta),
    };
    let value = serde_json::to_vec(&meta).map_err(|cause| Fault::Gap(cause.to_string()))?;
    let put = Op::Put { key: Blob::text(&keys.meta), value: Blob(value.into()) };
    let won = client.txn(&TxnRequest { compare: vec![compare], success: vec![put] }).await?.succeeded;
    let superfluous = match (won, &before) {
        (true, Some((old, _))) => Some(&old.id),
        (true, None) => None,
        (false, _) => Some(&meta.id),
    };
    if let Some(id) = superfluous {
        delete_chunks(client, keys, id).await?;
    }
    if !won {
        return Err(Fault::Gap("another node saved a checkpoint at the same moment".to_owned()));
    }
    delete_batches(client, keys, meta.revision).await.map_err(Fault::Call)
}

/// Puts the first checkpoint of an order in place, of entries that never were batches here; done before is done.
pub(super) async fn begin(client: &mut Client, keys: &Keys, saved: &Checkpoint) -> Result<(), Fault> {
    if newest(client, keys).await?.is_some() {
        return Ok(());
    }
    let (index, state) = (saved.index, &saved.state);
    let (id, chunks) = ("begun".to_owned(), state.chunks(CHUNK).len() as u64);
    let (bytes, crc32c) = (state.len() as u64, crc32c::crc32c(state));
    let meta = Meta { index, base: index, version: 0, revision: 0, id, chunks, bytes, crc32c };
    put_chunks(client, keys, &meta, state).await?;
    let value = serde_json::to_vec(&meta).map_err(|cause| Fault::Gap(cause.to_string()))?;
    let put = Op::Put { key: Blob::text(&keys.meta), value: Blob(value.into()) };
    let compare = vec![Compare::absent(&keys.meta)];
    client.txn(&TxnRequest { compare, success: vec![put] }).await?;
    Ok(())
}

/// Writes the state and reads it back.
async fn put_chunks(client: &mut Client, keys: &Keys, meta: &Meta, state: &Bytes) -> Result<(), Fault> {
    for (number, chunk) in (0..).zip(state.chunks(CHUNK)) {
        let (key, value) = (Blob::text(&keys.chunk(&meta.id, number)), Blob(Bytes::copy_from_slice(chunk)));
        let put = TxnRequest { compare: Vec::new(), success: vec![Op::Put { key, value }] };
        client.txn(&put).await?;
    }
    if fetch(client, keys, meta).await?.as_ref() != Some(state) {
        return Err(Fault::Gap(format!(
            "the checkpoint at {} does not read back as it was written",
            meta.index
        )));
    }
    Ok(())
}

async fn delete_chunks(client: &mut Client, keys: &Keys, id: &str) -> Result<(), CallError> {
    let prefix = keys.chunks(id);
    let (key, range_end) = (Blob::text(&prefix), Some(Blob::prefix_end(&prefix)));
    let delete = Op::Delete { key, range_end };
    client.txn(&TxnRequest { compare: Vec::new(), success: vec![delete] }).await.map(drop)
}

/// Oldest first, so that what is left is without a gap whenever this ends.
async fn delete_batches(client: &mut Client, keys: &Keys, revision: u64) -> Result<(), CallError> {
    loop {
        let mut request = RangeRequest::prefix(&keys.log);
        request.max_mod_revision = Some(revision.to_string());
        request.limit = Some(DELETIONS.to_string());
        request.keys_only = true;
        let found = client.range(&request).await?;
        if found.kvs.is_empty() {
            return Ok(());
        }
        let delete = |kv: super::wire::KeyValue| Op::Delete { key: kv.key, range_end: None };
        let success = found.kvs.into_iter().map(delete).collect();
        client.txn(&TxnRequest { compare: Vec::new(), success }).await?;
        if !found.more {
            return Ok(());
        }
    }
}
