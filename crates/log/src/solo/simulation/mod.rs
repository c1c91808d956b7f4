//! Lifetimes of a log on a simulated disk, one thread, one seed.
//!
//! A world is a chain of lives: open, verify, append and save for a while, end. Lives end in a crash, a
//! kill, a failed sync, a full disk, or cleanly, and at any operation in between. Batches are written while
//! others are being synced, and those syncs end in any order. What was acknowledged must be there at its index
//! with its bytes; what is there beyond must be whole batches that were under way, in their order; nothing else. Between lives, copies of the disk are damaged (`damage`) to see what a start says.
//!
//! `PORTOLAN_SEEDS=n` runs n worlds in place of the default. A failure names its seed.

mod damage;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fastrand::Rng;

use super::flights::{Flight, Flights, Ticket};
use super::format::Integrity;
use super::journal::Journal;
use super::lane::Lane;
use super::names::Name;
use super::recover::{Recovered, recover};
use super::replay::Replay;
use super::saver::Saver;
use crate::disk::Disk;
use crate::sim::{Flaws, SimDisk};
use crate::{Checkpoint, Entry, Event, Index, LogError, events};

const SEGMENT: u64 = 48 << 10;
const LIVES: usize = 12;
const LANES: usize = 4;

/// What is broken on purpose, if anything.
#[derive(Clone, Copy, Default)]
struct Variant {
    flaws: Flaws,
    /// Sums are a constant.
    no_sum: bool,
    /// Salts are a constant.
    no_salt: bool,
    /// A batch is acknowledged, with all before it, when its own sync is done.
    hasty: bool,
    /// Each batch says that all before it is synced.
    boastful: bool,
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
    overlapped: u64,
    out_of_order: u64,
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
            (&mut self.overlapped, other.overlapped),
            (&mut self.out_of_order, other.out_of_order),
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
    /// Ways to the disk, each with the batch that it must sync.
    lanes: Vec<(Lane, Option<Ticket>)>,
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
        let lanes = (0..LANES).map(|_| (Lane::new(Arc::clone(&disk)), None)).collect();
        let saver = Saver::new(disk, integrity.clone(), shelf);
        Ok(Self { journal: Arc::new(Mutex::new(journal)), saver, lanes, checkpoint, entries, warnings })
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
    /// Written, or begun, and not acknowledged, in order.
    under_way: VecDeque<Vec<Bytes>>,
    flights: Flights,
    /// Newest checkpoint whose save answered with success.
    checkpoint: Index,
    made: u64,
    variant: Variant,
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
            under_way: VecDeque::new(),
            flights: Flights::new(0),
            checkpoint: 0,
            made: 0,
            variant,
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
            Ok(mut life) => {
                self.verify(&life)?;
                self.learn(&life);
                self.act(&mut life);
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
        if self.variant.undamaged { Ok(()) } else { damage::try_some(self) }
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

    /// Everything acknowledged is there; beyond it whole batches that were under way, or nothing.
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
            let begun = || self.under_way.iter().flatten().nth(place - self.acknowledged.len());
            let meant = self.acknowledged.get(place).or_else(begun);
            if meant != Some(&entry.payload) {
                return Err(format!("entry {expected} is not what was appended"));
            }
        }
        let mut beyond = life.last().saturating_sub(known);
        for batch in &self.under_way {
            if beyond == 0 {
                break;
            }
            let all = batch.len() as u64;
            beyond =
                beyond.checked_sub(all).ok_or(format!("{beyond} of {all} entries of one batch are there"))?;
        }
        if beyond == 0 { Ok(()) } else { Err(format!("{beyond} entries that nobody appended")) }
    }

    /// What was delivered counts from now on.
    fn learn(&mut self, life: &Life) {
        while life.last() > self.acknowledged.len() as u64 {
            self.acknowledged.extend(self.under_way.pop_front().unwrap_or_default());
            self.stats.resurrected += 1;
        }
        self.stats.cut += u64::from(!self.under_way.is_empty());
        self.under_way.clear();
        self.flights = Flights::new(locked(&life.journal).horizon());
        self.checkpoint = life.base();
    }

    /// Uses the log until something fails or enough was done.
    fn act(&mut self, life: &mut Life) {
        for _ in 0..self.rng.usize(..80) {
            let outcome = match self.rng.u8(..50) {
                0 => self.seal(life),
                1 | 2 => self.quiet(life).and_then(|()| self.save(life)),
                3..22 => self.sync_one(life),
                _ => self.append(life),
            };
            if outcome.is_err() {
                return self.stragglers(life);
            }
        }
        if self.rng.bool() {
            // As a clean close does. Its failure changes nothing that was promised.
            drop(self.seal(life));
        }
    }

    fn seal(&mut self, life: &mut Life) -> Result<(), LogError> {
        self.quiet(life)?;
        let outcome = locked(&life.journal).seal();
        self.flights.set_horizon(locked(&life.journal).horizon());
        outcome
    }

    fn append(&mut self, life: &mut Life) -> Result<(), LogError> {
        let batch = self.batch();
        if !locked(&life.journal).has_room_for(&batch, self.flights.horizon()) {
            self.quiet(life)?;
            let outcome = locked(&life.journal).append(&batch).map(|_| ());
            self.flights.set_horizon(locked(&life.journal).horizon());
            self.account(batch, outcome.is_ok());
            return outcome;
        }
        let Some(free) = life.lanes.iter_mut().find(|(_, ticket)| ticket.is_none()) else {
            return self.sync_one(life);
        };
        self.under_way.push_back(batch.clone());
        self.stats.overlapped += u64::from(!self.flights.is_empty());
        let synced = self.flights.synced().filter(|_| !self.variant.boastful);
        let place = (synced, self.flights.horizon());
        let flight = locked(&life.journal).write(&mut free.0, batch, place)?;
        free.1 = Some(self.flights.depart(flight));
        Ok(())
    }

    /// Ends one of the syncs under way. One that fails never lands.
    fn sync_one(&mut self, life: &mut Life) -> Result<(), LogError> {
        let busy = life.lanes.iter_mut().filter(|(_, ticket)| ticket.is_some());
        let Some((lane, ticket)) = self.rng.choice(busy.collect::<Vec<_>>()) else { return Ok(()) };
        let Some(ticket) = ticket.take() else { return Ok(()) };
        lane.sync()?;
        let landed =
            if self.variant.hasty { self.flights.land_up_to(ticket) } else { self.flights.land(ticket) };
        self.stats.out_of_order += u64::from(landed.is_empty());
        for Flight { payloads, .. } in landed {
            assert_eq!(self.under_way.pop_front().as_ref(), Some(&payloads), "acknowledged in order");
            self.account(payloads, true);
        }
        Ok(())
    }

    /// One thread met a failure; others end their syncs before they hear of it.
    fn stragglers(&mut self, life: &mut Life) {
        while life.lanes.iter().any(|(_, ticket)| ticket.is_some()) && self.rng.u8(..8) > 0 {
            drop(self.sync_one(life));
        }
    }

    /// Ends all of them, for something that is done alone.
    fn quiet(&mut self, life: &mut Life) -> Result<(), LogError> {
        while life.lanes.iter().any(|(_, ticket)| ticket.is_some()) {
            self.sync_one(life)?;
        }
        Ok(())
    }

    fn account(&mut self, batch: Vec<Bytes>, done: bool) {
        if done {
            self.stats.acknowledged += batch.len() as u64;
            self.acknowledged.extend(batch);
        } else {
            self.under_way.push_back(batch);
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
        self.flights.set_horizon(locked(&life.journal).horizon());
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
        if self.rng.bool() {
            // Alike, so that one fits exactly where another was lost.
            self.made += 1;
            return vec![Bytes::copy_from_slice(&self.made.to_le_bytes())];
        }
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
    assert!(stats.overlapped > stats.lives && stats.out_of_order > stats.lives, "{stats:?}");
    assert!(happened.iter().all(|&n| n > 0), "{stats:?}");
    let tried = [stats.refused, stats.fell_back, stats.cut_by_damage];
    assert!(stats.segments > stats.lives && stats.spares > 0, "{stats:?}");
    assert!(tried.iter().all(|&n| n > 0), "{stats:?}");
}

/// A broken variant that the simulation must catch, or the simulation is worth nothing.
fn caught(variant: Variant) {
    let variant = Variant { undamaged: true, ..variant };
    let violation = run_worlds(0..300, variant).expect_err("the simulation notices nothing");
    println!("{violation}");
}

fn caught_on(flaws: Flaws) {
    caught(Variant { flaws, ..Variant::default() });
}

#[test]
fn canary_without_syncs_is_caught() {
    caught_on(Flaws { no_sync: true, ..Flaws::default() });
}

#[test]
fn canary_without_directory_syncs_is_caught() {
    caught_on(Flaws { no_dir_sync: true, ..Flaws::default() });
}

#[test]
fn canary_that_does_not_settle_at_a_start_is_caught() {
    caught_on(Flaws { elide_equal_writes: true, ..Flaws::default() });
}

#[test]
fn canary_that_leaves_batches_behind_a_lost_one_is_caught() {
    caught_on(Flaws { elide_zeros: true, ..Flaws::default() });
}

#[test]
fn canary_whose_lanes_share_the_news_of_a_failed_sync_is_caught() {
    caught_on(Flaws { fail_once: true, ..Flaws::default() });
}

#[test]
fn canary_that_acknowledges_out_of_order_is_caught() {
    caught(Variant { hasty: true, ..Variant::default() });
}

#[test]
fn canary_that_takes_all_before_a_batch_for_synced_is_caught() {
    caught(Variant { boastful: true, ..Variant::default() });
}

#[test]
fn canary_without_sums_is_caught() {
    caught(Variant { no_sum: true, ..Variant::default() });
}

#[test]
fn canary_without_salts_is_caught() {
    caught(Variant { no_salt: true, ..Variant::default() });
}
