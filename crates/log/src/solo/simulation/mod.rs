//! Lifetimes of a log on a simulated disk, one thread, one seed.
//!
//! A world is a chain of lives: open, verify, append and save for a while, end. Lives end in a crash, a
//! kill, a failed sync, a full disk, or cleanly, and at any operation in between. What was acknowledged must
//! be there at its index with its bytes; what is there beyond must be the whole batch that was under way;
//! nothing else. Between lives, copies of the disk are damaged (`damage`) to see what a start says.
//!
//! `PORTOLAN_SEEDS=n` runs n worlds in place of the default. A failure names its seed.

mod damage;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fastrand::Rng;

use super::format::Integrity;
use super::journal::Journal;
use super::names::Name;
use super::recover::{Recovered, recover};
use super::replay::Replay;
use super::saver::Saver;
use crate::disk::Disk;
use crate::sim::{Flaws, SimDisk};
use crate::{Checkpoint, Entry, Event, Index, LogError, events};

const SEGMENT: u64 = 32 << 10;
const LIVES: usize = 12;

/// What is broken on purpose, if anything.
#[derive(Clone, Copy, Default)]
struct Variant {
    flaws: Flaws,
    /// Sums are a constant.
    no_sum: bool,
    /// Salts are a constant.
    no_salt: bool,
    /// No damage is done to copies of the disk: what is broken must show in the log's own life.
    undamaged: bool,
}

impl Variant {
    fn integrity(self, seed: u64) -> Integrity {
        let rng = Mutex::new(Rng::with_seed(!seed));
        let salt = move || if self.no_salt { 7 } else { locked(&rng).u64(..) };
        let sum = if self.no_sum { |_, _: &[u8]| 0 } else { Integrity::default().sum };
        Integrity { sum, salt: Arc::new(salt) }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happened, so that a test can tell a world in which nothing did.
#[derive(Debug, Default)]
struct Stats {
    lives: u64,
    acknowledged: u64,
    resurrected: u64,
    cut: u64,
    checkpoints: u64,
    segments: u64,
    spares: u64,
    faults_at_start: u64,
    trials: u64,
    refused: u64,
    fell_back: u64,
    cut_by_damage: u64,
}

impl Stats {
    fn add(&mut self, other: &Self) {
        let fields = [
            (&mut self.lives, other.lives),
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.resurrected, other.resurrected),
            (&mut self.cut, other.cut),
            (&mut self.checkpoints, other.checkpoints),
            (&mut self.segments, other.segments),
            (&mut self.spares, other.spares),
            (&mut self.faults_at_start, other.faults_at_start),
            (&mut self.trials, other.trials),
            (&mut self.refused, other.refused),
            (&mut self.fell_back, other.fell_back),
            (&mut self.cut_by_damage, other.cut_by_damage),
        ];
        fields.into_iter().for_each(|(sum, n)| *sum += n);
    }
}

/// An opened log and all that it told its reader.
struct Life {
    journal: Arc<Mutex<Journal>>,
    saver: Saver,
    checkpoint: Option<Checkpoint>,
    entries: Vec<Entry>,
    warnings: Vec<String>,
}

impl Life {
    fn open(disk: &SimDisk, integrity: &Integrity) -> Result<Self, LogError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let Recovered { checkpoint, spans, journal, shelf, warnings, .. } =
            recover(&disk, integrity, SEGMENT)?;
        let base = checkpoint.as_ref().map_or(0, |c| c.index);
        let (sender, mut events) = events::channel();
        Replay { disk: &disk, integrity, events: &sender, base }.run(&spans)?;
        let mut entries = Vec::new();
        while let Ok(Event::Entries(more)) = events.try_recv() {
            entries.extend(more);
        }
        let saver = Saver::new(disk, integrity.clone(), shelf);
        Ok(Self { journal: Arc::new(Mutex::new(journal)), saver, checkpoint, entries, warnings })
    }

    fn base(&self) -> Index {
        self.checkpoint.as_ref().map_or(0, |c| c.index)
    }

    fn last(&self) -> Index {
        self.base() + self.entries.len() as u64
    }
}

/// What an observer outside knows must hold.
struct World {
    rng: Rng,
    disk: SimDisk,
    integrity: Integrity,
    acknowledged: Vec<Bytes>,
    /// Given to an append that did not answer with success.
    under_way: Vec<Bytes>,
    /// Newest checkpoint whose save answered with success.
    checkpoint: Index,
    made: u64,
    undamaged: bool,
    stats: Stats,
}

type Violation = String;

impl World {
    fn new(seed: u64, variant: Variant) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            disk: SimDisk::new(seed.wrapping_mul(31), variant.flaws),
            integrity: variant.integrity(seed),
            acknowledged: Vec::new(),
            under_way: Vec::new(),
            checkpoint: 0,
            made: 0,
            undamaged: variant.undamaged,
            stats: Stats::default(),
        }
    }

    fn run(seed: u64, variant: Variant) -> Result<Stats, Violation> {
        let mut world = Self::new(seed, variant);
        for life in 0..LIVES {
            world.live().map_err(|what| format!("seed {seed}, life {life}: {what}"))?;
        }
        Ok(world.stats)
    }

    fn live(&mut self) -> Result<(), Violation> {
        self.stats.lives += 1;
        let faulty = self.plan_faults();
        match Life::open(&self.disk, &self.integrity) {
            Ok(life) => {
                self.verify(&life)?;
                self.learn(&life);
                self.act(&life);
            }
            Err(LogError::Io { .. }) if faulty => self.stats.faults_at_start += 1,
            Err(error) => return Err(format!("refuses to start: {}", crate::error_chain(&error))),
        }
        if self.rng.u8(..4) == 0 {
            self.disk.kill();
        } else {
            self.disk.crash();
        }
        for name in self.disk.list().expect("no fault is left") {
            match Name::parse(&name) {
                Name::Segment(_) => self.stats.segments += 1,
                Name::Spare(_) => self.stats.spares += 1,
                _ => {}
            }
        }
        if self.undamaged { Ok(()) } else { damage::try_some(self) }
    }

    /// Chooses how this life may go wrong by itself.
    fn plan_faults(&mut self) -> bool {
        match self.rng.u8(..6) {
            0 | 1 => self.disk.set_fuse(self.rng.u64(1..150)),
            2 => self.disk.fail_sync_after(self.rng.u64(..20)),
            3 => self.disk.set_free(self.rng.usize(..80_000)),
            _ => return false,
        }
        true
    }

    /// Everything acknowledged is there; beyond it the whole batch under way, or nothing.
    fn verify(&self, life: &Life) -> Result<(), Violation> {
        if life.base() < self.checkpoint {
            return Err(format!("checkpoint {} is gone: found {}", self.checkpoint, life.base()));
        }
        self.verify_bytes(life)?;
        let (last, known) = (life.last(), self.acknowledged.len() as u64);
        if last < known {
            return Err(format!("{known} entries were acknowledged, {last} are there"));
        }
        Ok(())
    }

    /// What is there is right, however much it is.
    fn verify_bytes(&self, life: &Life) -> Result<(), Violation> {
        let base = life.base();
        if let Some(checkpoint) = &life.checkpoint
            && checkpoint.state != self.state(base)
        {
            return Err(format!("the state of checkpoint {base} is not what was saved"));
        }
        let known = self.acknowledged.len() as u64;
        for (expected, entry) in (base + 1..).zip(&life.entries) {
            if entry.index != expected {
                return Err(format!("index {} where {expected} is due", entry.index));
            }
            let place = usize::try_from(expected - 1).expect("small");
            let meant =
                self.acknowledged.get(place).or_else(|| self.under_way.get(place - self.acknowledged.len()));
            if meant != Some(&entry.payload) {
                return Err(format!("entry {expected} is not what was appended"));
            }
        }
        let beyond = life.last().saturating_sub(known);
        if beyond != 0 && beyond != self.under_way.len() as u64 {
            let all = self.under_way.len();
            return Err(format!("{beyond} of {all} entries of one batch are there"));
        }
        Ok(())
    }

    /// What was delivered counts from now on.
    fn learn(&mut self, life: &Life) {
        if life.last() > self.acknowledged.len() as u64 {
            self.acknowledged.append(&mut self.under_way);
            self.stats.resurrected += 1;
        } else if !self.under_way.is_empty() {
            self.stats.cut += 1;
        }
        self.under_way.clear();
        self.checkpoint = life.base();
    }

    /// Uses the log until something fails or enough was done.
    fn act(&mut self, life: &Life) {
        for _ in 0..self.rng.usize(..25) {
            let outcome = match self.rng.u8(..20) {
                0 => locked(&life.journal).seal(),
                1 | 2 => self.save(life),
                _ => self.append(life),
            };
            if outcome.is_err() {
                return;
            }
        }
        if self.rng.bool() {
            // As a clean close does. Its failure changes nothing that was promised.
            drop(locked(&life.journal).seal());
        }
    }

    fn append(&mut self, life: &Life) -> Result<(), LogError> {
        let batch = self.batch();
        let outcome = locked(&life.journal).append(&batch).map(|_| ());
        self.account(batch, outcome.is_ok());
        outcome
    }

    fn account(&mut self, batch: Vec<Bytes>, done: bool) {
        if done {
            self.stats.acknowledged += batch.len() as u64;
            self.acknowledged.extend(batch);
        } else {
            self.under_way = batch;
        }
    }

    /// Saves a checkpoint; appends go on while its state is written.
    fn save(&mut self, life: &Life) -> Result<(), LogError> {
        let known = self.acknowledged.len() as u64;
        if known == self.checkpoint {
            return Ok(());
        }
        let index = self.rng.u64(self.checkpoint + 1..=known);
        let state = self.state(index);
        let batches: Vec<Vec<Bytes>> = (0..self.rng.usize(..4)).map(|_| self.batch()).collect();
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let (journal, told) = (Arc::clone(&life.journal), Arc::clone(&outcomes));
        let meanwhile = batches.clone();
        let write = move |out: &mut dyn std::io::Write| {
            let (half, rest) = state.split_at(state.len() / 2);
            out.write_all(half)?;
            for batch in meanwhile {
                let outcome = locked(&journal).append(&batch).map(|_| ());
                let failed = outcome.is_err();
                locked(&told).push(outcome);
                if failed {
                    break;
                }
            }
            out.write_all(rest)
        };
        let saved = life.saver.save(index, Box::new(write));
        let outcomes = std::mem::take(&mut *locked(&outcomes));
        let mut appended = Ok(());
        for (batch, outcome) in batches.into_iter().zip(outcomes) {
            self.account(batch, outcome.is_ok());
            appended = outcome;
        }
        if matches!(saved, Ok(true)) {
            self.checkpoint = index;
            self.stats.checkpoints += 1;
        }
        // A log outlives a checkpoint that failed, but not an append that did.
        appended
    }

    fn batch(&mut self) -> Vec<Bytes> {
        (0..self.rng.usize(1..6)).map(|_| self.command()).collect()
    }

    /// Bytes that tell commands apart; at times, bytes that someone copied out of the log's own files.
    fn command(&mut self) -> Bytes {
        self.made += 1;
        let mut bytes = self.made.to_le_bytes().to_vec();
        let length = if self.rng.u8(..10) == 0 { self.rng.usize(..5000) } else { self.rng.usize(..300) };
        if self.rng.u8(..8) == 0 {
            let contents = self.disk.contents();
            let file = self.rng.choice(contents.values());
            let sectors = file.map(|f| f.chunks(512).skip(self.rng.usize(..f.len() / 512 + 1)).take(6));
            // So that, wherever the command lands, some copy lies at the start of a sector.
            bytes.resize(512 - 44, 1);
            bytes.extend(sectors.into_iter().flatten().flatten());
        } else {
            bytes.resize(8 + length, self.rng.u8(..));
        }
        bytes.into()
    }

    /// The state that stands for the first `index` entries.
    fn state(&self, index: Index) -> Bytes {
        let mut bytes = Vec::new();
        for payload in self.acknowledged.iter().take(usize::try_from(index).expect("small")) {
            bytes.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        }
        bytes.into()
    }
}

/// Runs worlds; the first violation, or what happened in all of them.
fn run_worlds(seeds: std::ops::Range<u64>, variant: Variant) -> Result<Stats, Violation> {
    let mut stats = Stats::default();
    for seed in seeds {
        stats.add(&World::run(seed, variant)?);
    }
    Ok(stats)
}

fn seeds(default: u64) -> u64 {
    std::env::var("PORTOLAN_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_acknowledged_is_ever_lost() {
    let stats =
        run_worlds(0..seeds(200), Variant::default()).unwrap_or_else(|violation| panic!("{violation}"));
    println!("{stats:?}");
    // Worlds in which nothing happens prove nothing.
    let happened =
        [stats.acknowledged, stats.resurrected, stats.cut, stats.checkpoints, stats.faults_at_start];
    assert!(happened.iter().all(|&n| n > 0), "{stats:?}");
    let tried = [stats.refused, stats.fell_back, stats.cut_by_damage];
    assert!(stats.segments > stats.lives && stats.spares > 0, "{stats:?}");
    assert!(tried.iter().all(|&n| n > 0), "{stats:?}");
}

/// A broken variant that the simulation must catch, or the simulation is worth nothing.
fn caught(flaws: Flaws, no_sum: bool, no_salt: bool) {
    let variant = Variant { flaws, no_sum, no_salt, undamaged: true };
    let violation = run_worlds(0..300, variant).expect_err("the simulation notices nothing");
    println!("{violation}");
}

#[test]
fn canary_without_syncs_is_caught() {
    caught(Flaws { no_sync: true, ..Flaws::default() }, false, false);
}

#[test]
fn canary_without_directory_syncs_is_caught() {
    caught(Flaws { no_dir_sync: true, ..Flaws::default() }, false, false);
}

#[test]
fn canary_that_does_not_settle_at_a_start_is_caught() {
    caught(Flaws { elide_equal_writes: true, ..Flaws::default() }, false, false);
}

#[test]
fn canary_without_sums_is_caught() {
    caught(Flaws::default(), true, false);
}

#[test]
fn canary_without_salts_is_caught() {
    caught(Flaws::default(), false, true);
}
