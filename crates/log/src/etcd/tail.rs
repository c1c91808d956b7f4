//! Following the order: paged ranges to catch up, and a watch as the hint that there is more.
//!
//! Nothing is believed because a stream said so. Every transaction raises the version of the key `head` by one, so
//! that version counts batches without a gap: batches are handed over only once the count agrees with the version
//! that `head` had at the revision of the last of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::client::{CallError, Client, Watch};
use super::shared::{Batch, Place, Shared};
use super::state;
use super::wire::{Blob, KeyValue, RangeRequest, WatchCreate, WatchLine, WatchRequest, decode_batch};
use super::{Keys, backoff};
use crate::events::EventSender;
use crate::{Checkpoint, Entry, Event, Index, LogError};

/// Batches asked for at a time.
const PAGE: usize = 64;
/// How long the tail believes that nothing happens because the watch says nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So often in a row the count may disagree before the log is called damaged: a deletion that is under way and a
/// checkpoint that is not written yet look alike for a moment.
const DISAGREEMENTS: u32 = 20;

/// Why following stops for a moment, or for good.
pub(super) enum Fault {
    Call(CallError),
    /// The count disagrees: something is missing.
    Gap(String),
    /// What is there cannot be read: no retry helps.
    Final(LogError),
}

impl From<CallError> for Fault {
    fn from(cause: CallError) -> Self {
        Self::Call(cause)
    }
}

pub(super) struct Tail {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Client,
    pub(super) watcher: Box<dyn Fn() -> Client + Send>,
    pub(super) keys: Arc<Keys>,
    pub(super) events: EventSender,
    pub(super) proposer: u64,
    pub(super) place: Place,
    /// Entries counted so far, those that a checkpoint already contained included.
    pub(super) counted: Index,
    pub(super) replayed: bool,
}

impl Tail {
    /// Runs until it is dropped, or the log cannot be followed any more.
    pub(super) async fn run(mut self) -> LogError {
        let (mut attempt, mut gaps) = (0, 0);
        loop {
            let version = self.place.version;
            let fault = match self.follow().await {
                Ok(never) => match never {},
                Err(fault) => fault,
            };
            if self.place.version > version {
                (attempt, gaps) = (0, 0);
            }
            match fault {
                Fault::Final(error) => return error,
                Fault::Call(error) => {
                    let before = std::mem::replace(&mut self.shared.progress().cut_off, true);
                    match before {
                        true => tracing::debug!("follow the log: {error}"),
                        false => tracing::warn!("the order cannot be followed, and is waited for: {error}"),
                    }
                }
                Fault::Gap(what) if gaps >= DISAGREEMENTS => {
                    let reason = format!("entries are missing in etcd under {}: {what}", self.keys.order);
                    return LogError::Settings { reason };
                }
                Fault::Gap(what) => {
                    gaps += 1;
                    tracing::debug!("follow the log: {what}");
                }
            }
            backoff(attempt).await;
            attempt += 1;
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Fault> {
        self.catch_up().await?;
        if !std::mem::replace(&mut self.replayed, true) {
            self.events.send(Event::Replayed);
        }
        let mut watch = self.watch().await?;
        loop {
            tokio::select! {
                line = watch.next() => {
                    let line = line?;
                    if line.error.is_some() || line.result.canceled {
                        // Compacted, or a server that leaves: catching up does not need the watch.
                        self.catch_up().await?;
                        watch = self.watch().await?;
                    } else if !self.take_hint(line)? {
                        self.catch_up().await?;
                    }
                }
                () = self.shared.poke.notified() => self.catch_up().await?,
                () = tokio::time::sleep(LOOK_EVERY) => self.catch_up().await?,
            }
        }
    }

    async fn watch(&self) -> Result<Watch, Fault> {
        let request = WatchRequest {
            create_request: WatchCreate {
                key: Blob::text(&self.keys.order),
                range_end: Blob::prefix_end(&self.keys.order),
                start_revision: (self.place.revision + 1).to_string(),
            },
        };
        Ok((self.watcher)().watch(&request).await?)
    }

    /// Takes what a message of the watch brings, as far as it continues the count. False when one has to look.
    fn take_hint(&mut self, line: WatchLine) -> Result<bool, Fault> {
        let mut revisions: BTreeMap<u64, (Option<KeyValue>, Option<u64>)> = BTreeMap::new();
        for event in line.result.events {
            let put = event.kind.as_deref().is_none_or(|kind| kind == "PUT");
            let revision = event.kv.mod_revision;
            if !put || revision <= self.place.revision {
                continue;
            }
            let both = revisions.entry(revision).or_default();
            match *event.kv.key.0 == *self.keys.head.as_bytes() {
                true => both.1 = Some(event.kv.version),
                false => both.0 = Some(event.kv),
            }
        }
        for both in revisions.into_values() {
            match both {
                (Some(batch), Some(version)) if version == self.place.version + 1 => {
                    self.hand_over(vec![batch])?;
                }
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Page by page, each counted against `head` as it was then.
    async fn catch_up(&mut self) -> Result<(), Fault> {
        if self.place.version == 0 || !self.replayed {
            self.restore_newer().await?;
        }
        loop {
            let head = self.client.range(&RangeRequest::one(&self.keys.head)).await?;
            self.shared.progress().cut_off = false;
            let version = head.kvs.first().map_or(0, |head| head.version);
            if version <= self.place.version {
                return Ok(());
            }
            let mut request = RangeRequest::prefix(&self.keys.log);
            request.min_mod_revision = Some((self.place.revision + 1).to_string());
            request.limit = Some(PAGE.to_string());
            let page = self.client.range(&request).await?;
            self.check_and_hand_over(page.kvs).await?;
        }
    }

    async fn check_and_hand_over(&mut self, batches: Vec<KeyValue>) -> Result<(), Fault> {
        let Some(revision) = batches.last().map(|batch| batch.mod_revision) else {
            return self.missing("`head` counts batches that are not there").await;
        };
        let mut request = RangeRequest::one(&self.keys.head);
        request.revision = Some(revision.to_string());
        let then = match self.client.range(&request).await {
            Ok(then) => then.kvs.first().map_or(0, |head| head.version),
            Err(error) if error.is_compacted() => return self.hand_over_all().await,
            Err(error) => return Err(error.into()),
        };
        let expected = self.place.version + batches.len() as u64;
        if then != expected {
            return self
                .missing(&format!("{expected} batches up to revision {revision} and not {then}"))
                .await;
        }
        self.hand_over(batches)
    }

    /// `head`'s past is compacted away: everything is fetched at one revision, and counted against the present.
    async fn hand_over_all(&mut self) -> Result<(), Fault> {
        let head = self.client.range(&RangeRequest::one(&self.keys.head)).await?;
        let Some(head) = head.kvs.into_iter().next() else { return self.missing("`head` is gone").await };
        let mut request = RangeRequest::prefix(&self.keys.log);
        request.min_mod_revision = Some((self.place.revision + 1).to_string());
        // No later than what `head` counted: batches stay as they are, and later ones come with the next look.
        request.max_mod_revision = Some(head.mod_revision.to_string());
        let all = self.client.range(&request).await?.kvs;
        let expected = self.place.version + all.len() as u64;
        if head.version != expected {
            let what =
                format!("{expected} batches and not {}, at revision {}", head.version, head.mod_revision);
            return self.missing(&what).await;
        }
        self.hand_over(all)
    }

    /// Batches are missing: a checkpoint may stand for them.
    async fn missing(&mut self, what: &str) -> Result<(), Fault> {
        if self.restore_newer().await? { Ok(()) } else { Err(Fault::Gap(what.to_owned())) }
    }

    /// Goes on from the newest checkpoint if it is ahead.
    async fn restore_newer(&mut self) -> Result<bool, Fault> {
        let Some((meta, state)) = state::load(&mut self.client, &self.keys, self.place.last).await? else {
            return Ok(false);
        };
        self.place = Place { version: meta.version, revision: meta.revision, last: meta.index };
        self.counted = meta.base;
        {
            let mut progress = self.shared.progress();
            progress.batches.clear();
            (progress.last, progress.checkpoint, progress.bytes) = (meta.index, meta.index, 0);
        }
        self.events.send(Event::Restore(Checkpoint { index: meta.index, state }));
        self.shared.place.send_replace(self.place);
        Ok(true)
    }

    fn hand_over(&mut self, batches: Vec<KeyValue>) -> Result<(), Fault> {
        for batch in batches {
            let name = String::from_utf8_lossy(&batch.key.0).into_owned();
            let payloads = decode_batch(batch.value.0).ok_or_else(|| {
                let reason = format!("etcd's key {name} holds no batch that this version can read");
                Fault::Final(LogError::Settings { reason })
            })?;
            let (first, count) = (self.counted + 1, payloads.len() as u64);
            let bytes: usize = payloads.iter().map(bytes::Bytes::len).sum();
            let entries = (first..).zip(payloads).map(|(index, payload)| Entry { index, payload });
            let entries: Vec<Entry> = entries.filter(|entry| entry.index > self.place.last).collect();
            self.counted += count;
            self.place = Place {
                version: self.place.version + 1,
                revision: batch.mod_revision,
                last: self.place.last.max(self.counted),
            };
            {
                let mut progress = self.shared.progress();
                progress.last = self.place.last;
                progress.bytes += bytes as u64;
                let Place { version, revision, .. } = self.place;
                progress.batches.push_back(Batch { first, count, version, revision });
            }
            if self.keys.is_of(&name, self.proposer) {
                self.shared.handed_over(usize::try_from(count).unwrap_or(usize::MAX), bytes);
            }
            if !entries.is_empty() {
                self.events.send(Event::Entries(entries));
            }
            self.shared.place.send_replace(self.place);
        }
        Ok(())
    }
}
