//! Durable state as a value: the fold of every batch over nothing.
//!
//! The driver keeps the same image in memory and changes it only by the writes it journals, so what a restart
//! finds is by construction a prefix of what the driver held.
//!
//! *History* is every decided entry after the checkpoint. It lives in two places: in the core's log, and in
//! `side`, which holds what was fetched beside the core and what the core's log gave up. The core's log may
//! hold, past its decided index, entries that were never chosen; history never reads those.

use std::collections::VecDeque;

use omnipaxos::ballot_leader_election::Ballot;
use serde::{Deserialize, Serialize};

use crate::frame::entry_cost;
use crate::write::{Batch, Write};
use crate::{Command, Configuration, Identity, Index, Successor};

/// Everything that a server may not forget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Image {
    pub(crate) identity: Option<Identity>,
    pub(crate) configuration: Option<Configuration>,
    /// Whether this server was a member of an earlier configuration.
    pub(crate) served: bool,
    pub(crate) promise: Ballot,
    pub(crate) accepted: Ballot,
    pub(crate) seal: Option<Successor>,
    /// As the core counts: one more than the log's end when the stop-sign is decided too.
    pub(crate) decided: Index,
    pub(crate) log: Run,
    pub(crate) side: Run,
    pub(crate) checkpoint: Index,
    pub(crate) keep_from: Index,
}

/// Consecutive entries; empty, it still says where the next one goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Index before the first entry.
    pub(crate) before: Index,
    pub(crate) entries: VecDeque<Command>,
}

impl Run {
    fn empty_after(before: Index) -> Self {
        Self { before, entries: VecDeque::new() }
    }

    /// Index of the last entry, or of the one before the first.
    pub(crate) fn end(&self) -> Index {
        self.before + self.entries.len() as Index
    }

    pub(crate) fn get(&self, index: Index) -> Option<&Command> {
        let at = index.checked_sub(self.before)?.checked_sub(1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// Entries `from..=to`, or nothing at all when one is missing.
    pub(crate) fn copy(&self, from: Index, to: Index) -> Vec<Command> {
        if from > to || from <= self.before || to > self.end() {
            return Vec::new();
        }
        let start = (from - self.before - 1) as usize;
        let end = (to - self.before) as usize;
        self.entries.range(start..end).cloned().collect()
    }

    /// Removes everything up to `to`, which then counts as the index before the first.
    fn drop_to(&mut self, to: Index) {
        if to <= self.before {
            return;
        }
        let gone = (to - self.before).min(self.entries.len() as Index) as usize;
        self.entries.drain(..gone);
        self.before = to;
    }

    fn cut_after(&mut self, last: Index) {
        let keep = last.saturating_sub(self.before).min(self.entries.len() as Index) as usize;
        self.entries.truncate(keep);
    }
}

impl Image {
    /// Folds one batch.
    pub fn apply(&mut self, batch: &Batch) {
        for write in &batch.writes {
            self.apply_write(write);
        }
    }

    /// A batch that stands for all those before it: with it a log may begin anew. Its size is that of the
    /// entries still held, so the moment for it is after a checkpoint.
    pub fn restate(&self) -> Batch {
        Batch { writes: vec![Write::Restate(Box::new(self.clone()))] }
    }

    pub(crate) fn apply_write(&mut self, write: &Write) {
        match write {
            Write::Identity(identity) => self.identity = Some(*identity),
            Write::Restate(image) => self.clone_from(image),
            Write::Configure(configuration) => self.configure(configuration),
            Write::Promise(ballot) => self.promise = *ballot,
            Write::Accepted(ballot) => self.accepted = *ballot,
            Write::Append { at, entries } => {
                self.log.cut_after(at.saturating_sub(1));
                debug_assert_eq!(self.log.end() + 1, *at, "append leaves a gap");
                self.log.entries.extend(entries.iter().cloned());
            }
            Write::Seal(successor) => self.seal.clone_from(successor),
            Write::Decided(index) => self.decided = *index,
            Write::Compact(to) => {
                self.fold_to(*to);
                self.log.drop_to(*to);
            }
            Write::Side { at, entries } => {
                self.fold_to(at.saturating_sub(1));
                if self.side.entries.is_empty() {
                    self.side = Run::empty_after(at.saturating_sub(1));
                }
                debug_assert_eq!(self.side.end() + 1, *at, "history has a gap");
                self.side.entries.extend(entries.iter().cloned());
            }
            Write::Piece { .. } => {}
            Write::Install(index) => self.begin_history_after(*index),
            Write::Checkpoint { index, keep_from } => {
                self.checkpoint = *index;
                self.keep_from = *keep_from;
                self.side.drop_to((keep_from.saturating_sub(1)).min(self.side.end()));
            }
        }
    }

    fn configure(&mut self, next: &Configuration) {
        self.fold_to(next.base);
        self.log = Run::empty_after(next.base);
        self.promise = Ballot::default();
        self.accepted = Ballot::default();
        self.seal = None;
        self.decided = next.base;
        let before = self.configuration.replace(next.clone());
        self.served |= match (before, self.identity) {
            (Some(before), Some(me)) => before.contains(me.server),
            _ => false,
        };
    }

    fn begin_history_after(&mut self, index: Index) {
        self.checkpoint = index;
        self.keep_from = index + 1;
        self.side = Run::empty_after(index);
    }

    /// Copies what the log decided, up to `end`, to the side, because the log is about to lose it or the side
    /// is about to grow past it. Callers pass only indexes that are known to be decided.
    fn fold_to(&mut self, end: Index) {
        let first = match self.side.entries.is_empty() {
            true => self.keep_from.max(self.log.before + 1),
            false => self.side.end() + 1,
        };
        if first > end {
            return;
        }
        if self.side.entries.is_empty() {
            self.side = Run::empty_after(first - 1);
        }
        let decided = self.log.copy(first, end.min(self.log.end()));
        self.side.entries.extend(decided);
    }
}

/// Reading.
impl Image {
    /// Who this disk belongs to; nothing on an empty disk.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The newest configuration that this server has taken up.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    /// Whether the log holds a stop-sign: the members are about to change, or may be.
    pub fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// Last index of the newest durable checkpoint, 0 when there is none.
    pub fn checkpoint(&self) -> Index {
        self.checkpoint
    }

    /// Last index that is decided and on this disk, as an entry or inside the checkpoint.
    pub fn have(&self) -> Index {
        let side = if self.side.entries.is_empty() { 0 } else { self.side.end() };
        self.checkpoint.max(side).max(self.log_decided())
    }

    /// A decided entry, where it is still held.
    pub fn entry(&self, index: Index) -> Option<&Command> {
        if let Some(entry) = self.side.get(index) {
            return Some(entry);
        }
        if index <= self.log_decided() { self.log.get(index) } else { None }
    }

    /// First index to keep when at most `count` entries and `bytes` of cost are kept before `index + 1`.
    pub(crate) fn keep_before(&self, index: Index, count: u64, bytes: u64) -> Index {
        let (mut from, mut cost) = (index + 1, 0);
        while from > 1 && index + 1 - from < count {
            let Some(entry) = self.entry(from - 1) else { break };
            cost += entry_cost(entry);
            if cost > bytes {
                break;
            }
            from -= 1;
        }
        from
    }

    /// Cost of what the log holds beyond an index.
    pub(crate) fn log_cost_after(&self, index: Index) -> u64 {
        let before = usize::try_from(index.saturating_sub(self.log.before)).unwrap_or(usize::MAX);
        self.log.entries.iter().skip(before).map(entry_cost).sum()
    }

    fn log_decided(&self) -> Index {
        self.decided.min(self.log.end())
    }
}
