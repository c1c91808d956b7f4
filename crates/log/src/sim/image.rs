//! One simulated file: what processes see, and what the platter holds.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

/// Who wrote: one opening of a file.
pub(super) type Handle = u64;

/// The unit that is written whole or not at all.
pub(super) const SECTOR: usize = 512;

/// Which of the sectors that were never synced reach the platter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Luck {
    /// None of them.
    None,
    /// All of them.
    All,
    /// Those before a random one: a torn tail.
    Prefix,
    /// Each by the toss of a coin: written in another order.
    Some,
}

impl Luck {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        [Self::None, Self::All, Self::Prefix, Self::Some][rng.usize(..4)]
    }

    /// Picks from `n` things in order.
    pub(super) fn pick(self, rng: &mut Rng, n: usize) -> Vec<bool> {
        let first = rng.usize(..=n);
        let chosen = |i| match self {
            Self::None => false,
            Self::All => true,
            Self::Prefix => i < first,
            Self::Some => rng.bool(),
        };
        (0..n).map(chosen).collect()
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    seen: Vec<u8>,
    platter: Vec<u8>,
    /// Sectors of `seen` that the system would still write, and through which handles they were written.
    dirty: BTreeMap<usize, BTreeSet<Handle>>,
    /// Handles through which something was written that a failed sync lost; each is told once.
    failed: BTreeSet<Handle>,
}

impl Image {
    pub(super) fn seen(&self) -> &[u8] {
        &self.seen
    }

    pub(super) fn write(&mut self, handle: Handle, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            self.dirty.entry(sector).or_default().insert(handle);
        }
    }

    /// Whether these very bytes can be read there.
    pub(super) fn holds(&self, offset: usize, bytes: &[u8]) -> bool {
        self.seen.get(offset..offset + bytes.len()) == Some(bytes)
    }

    pub(super) fn resize(&mut self, length: usize) {
        self.seen.resize(length, 0);
    }

    /// What was written through `handle` reaches the platter; of the rest only what is in the same sectors.
    /// A real `fdatasync` covers the whole file as it was when the call was made; what another thread
    /// writes meanwhile, or wrote just before, is not to be leant upon. False when this handle is to be told
    /// of a sync that failed elsewhere.
    pub(super) fn sync(&mut self, handle: Handle) -> bool {
        if self.failed.remove(&handle) {
            return false;
        }
        let (own, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.dirty).into_iter().partition(|(_, by)| by.contains(&handle));
        self.dirty = own;
        self.settle(Luck::All, &mut Rng::with_seed(0));
        self.dirty = others;
        true
    }

    /// A sync through `handle` fails: some of what waits reaches the platter, and the system takes all of it
    /// for written. Other handles that lost something are told at their next sync.
    pub(super) fn fail(&mut self, handle: Handle, luck: Luck, rng: &mut Rng) {
        self.failed.extend(self.dirty.values().flatten().filter(|&&by| by != handle));
        self.settle(luck, rng);
    }

    /// Nobody hears of lost writes any more.
    pub(super) fn forget_failures(&mut self) {
        self.failed.clear();
    }

    /// Some of it reaches the platter, and the system believes that all of it did.
    pub(super) fn settle(&mut self, luck: Luck, rng: &mut Rng) {
        let dirty = std::mem::take(&mut self.dirty);
        let picked = luck.pick(rng, dirty.len());
        let grown = self.seen.len().saturating_sub(self.platter.len());
        let length = match luck {
            Luck::All => self.seen.len(),
            Luck::None => self.platter.len(),
            Luck::Prefix | Luck::Some => self.platter.len() + rng.usize(..=grown),
        };
        self.platter.resize(length, 0);
        for (sector, _) in dirty.into_keys().zip(picked).filter(|(_, picked)| *picked) {
            let from = (sector * SECTOR).min(length);
            let to = (from + SECTOR).min(length).min(self.seen.len());
            if from < to {
                self.platter[from..to].copy_from_slice(&self.seen[from..to]);
            }
        }
    }

    /// The power fails: what is on the platter is what there is.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        self.settle(Luck::draw(rng), rng);
        self.failed.clear();
        self.seen.clone_from(&self.platter);
    }

    /// Changes a byte behind the back of everyone.
    pub(super) fn damage(&mut self, offset: usize, change: impl Fn(u8) -> u8) {
        for bytes in [&mut self.seen, &mut self.platter] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte = change(*byte);
            }
        }
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.seen.truncate(length);
        self.platter.truncate(length);
        self.dirty.retain(|sector, _| sector * SECTOR < length);
    }
}
