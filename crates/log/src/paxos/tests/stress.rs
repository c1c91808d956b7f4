//! Real threads under random faults: links cut, held and delayed, power lost at any operation of a disk, restarts,
//! checkpoints. What one node was told, every node must be told, at the same place; whoever broke that is named.
//!
//! `PORTOLAN_STRESS_S=n` runs n seconds in place of the default, `PORTOLAN_STRESS_SEED=n` another seed. Threads
//! make no two runs alike: a seed only chooses the faults.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::*;
use crate::sim::{Flaws, SimDisk};

/// Servers are 1 to 3; the fourth node follows.
const NODES: u64 = 4;

/// What anybody was ever told.
#[derive(Default)]
struct Oracle {
    order: Vec<u64>,
    violations: Vec<String>,
}

impl Oracle {
    fn check(&mut self, who: u64, at: usize, name: u64) {
        match self.order.get(at) {
            None if at == self.order.len() => self.order.push(name),
            Some(known) if *known == name => {}
            other => {
                let said = format!("node {who} has {name:x} at {}, others {other:x?}", at + 1);
                self.violations.push(said);
            }
        }
    }
}

/// One life of one node.
struct Life {
    log: Arc<Paxos>,
    applied: Arc<Mutex<Vec<u64>>>,
    reader: JoinHandle<()>,
    /// Proposed in this life and not seen yet.
    waiting: Arc<Mutex<BTreeSet<u64>>>,
    sent: u64,
}

struct World {
    network: Network,
    disks: BTreeMap<u64, (SimDisk, SimDisk)>,
    lives: BTreeMap<u64, Life>,
    oracle: Arc<Mutex<Oracle>>,
    acknowledged: Arc<Mutex<u64>>,
    names: u64,
    rng: Rng,
    power_cuts: u64,
}

fn name(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("a command starts with its name"))
}

impl World {
    fn new(seed: u64, flaws: Flaws) -> Self {
        let disk = |number: u64| {
            let disk = |kind| SimDisk::new(seed * 100 + number * 2 + kind, flaws);
            (number, (disk(0), disk(1)))
        };
        let mut world = Self {
            network: Network::new(),
            disks: (1..=NODES).map(disk).collect(),
            lives: BTreeMap::new(),
            oracle: Arc::default(),
            acknowledged: Arc::default(),
            names: 0,
            rng: Rng::with_seed(seed),
            power_cuts: 0,
        };
        (1..=NODES).for_each(|number| world.start(number));
        world
    }

    fn start(&mut self, number: u64) {
        let begin =
            if number == NODES { Begin::Join } else { Begin::FoundWith((1..NODES).map(identity).collect()) };
        let mut config = small(PathBuf::new(), number, begin);
        config.close_patience = Duration::from_millis(50);
        let (records, states) = self.disks[&number].clone();
        let (transport, links) = self.network.attach(server(number));
        let opened = open_on((Arc::new(records), Arc::new(states)), &config, transport, links);
        let (log, mut events) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let said = format!("node {number} does not start: {}", crate::error_chain(&error));
                return self.oracle.lock().expect("no panic").violations.push(said);
            }
        };
        let (oracle, acknowledged) = (Arc::clone(&self.oracle), Arc::clone(&self.acknowledged));
        let (applied, waiting) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(BTreeSet::new())));
        let (applies, waits) = (Arc::clone(&applied), Arc::clone(&waiting));
        let reader = std::thread::spawn(move || {
            while let Some(event) = events.blocking_recv() {
                let mut applied = applies.lock().expect("no panic");
                let before = take(event, &mut applied);
                let mut oracle = oracle.lock().expect("no panic");
                for (at, name) in applied.iter().enumerate().skip(before) {
                    oracle.check(number, at, *name);
                    if waits.lock().expect("no panic").remove(name) {
                        *acknowledged.lock().expect("no panic") += 1;
                    }
                }
            }
        });
        self.lives.insert(number, Life { log, applied, reader, waiting, sent: 0 });
    }

    /// The power of one host fails, at some operation of its disk, and what was not synced is lost.
    fn cut_power(&mut self, number: u64) {
        let Some(life) = self.lives.remove(&number) else { return };
        self.power_cuts += 1;
        let (records, states) = &self.disks[&number];
        records.set_fuse(self.rng.u64(1..40));
        states.set_fuse(self.rng.u64(1..40));
        let start = Instant::now();
        while life.log.status().stopped.is_none() && start.elapsed() < Duration::from_millis(50) {
            drop(life.log.append(vec![0; 8].into()));
            std::thread::sleep(Duration::from_millis(1));
        }
        self.network.detach(server(number));
        records.set_fuse(0);
        states.set_fuse(0);
        wait(life.log.close());
        drop(life.log);
        life.reader.join().expect("no panic");
        records.crash();
        states.crash();
    }

    fn append(&mut self) {
        for (number, life) in &mut self.lives {
            while life.waiting.lock().expect("no panic").len() < 20 {
                self.names += 1;
                life.sent += 1;
                let name = number << 48 | self.names;
                let mut payload = name.to_le_bytes().to_vec();
                payload.resize(8 + self.rng.usize(..400), 1);
                life.waiting.lock().expect("no panic").insert(name);
                if life.log.append(payload.into()).is_err() {
                    life.waiting.lock().expect("no panic").remove(&name);
                    break;
                }
            }
        }
    }

    fn save(&self, number: u64) {
        let Some(life) = self.lives.get(&number) else { return };
        let applied = life.applied.lock().expect("no panic").clone();
        let state: Vec<u8> = applied.iter().flat_map(|name| name.to_le_bytes()).collect();
        // Not waited for: whatever comes next may come in the middle of it.
        drop(life.log.save_checkpoint(applied.len() as u64, Box::new(move |out| out.write_all(&state))));
    }

    fn fault(&mut self) {
        let (a, b) = (self.rng.u64(1..=NODES), self.rng.u64(1..=NODES));
        match self.rng.u8(..12) {
            0 | 1 if a != b => self.network.cut(server(a), server(b)),
            2 => self.network.isolate(server(a)),
            3 | 4 => self.network.heal_all(),
            5 if a != b => self.network.hold(server(a), server(b)),
            6 => self.network.delay(Duration::from_millis(self.rng.u64(..4))),
            7 | 8 => self.cut_power(a),
            9 | 10 => self.save(a),
            _ => {
                let down: Vec<u64> = (1..=NODES).filter(|number| !self.lives.contains_key(number)).collect();
                down.into_iter().for_each(|number| self.start(number));
            }
        }
    }

    fn violated(&self) -> Option<String> {
        self.oracle.lock().expect("no panic").violations.first().cloned()
    }

    /// Faults for a while; the first violation ends it.
    fn run(&mut self, time: Duration) -> Option<String> {
        let start = Instant::now();
        while start.elapsed() < time && self.violated().is_none() {
            for _ in 0..self.rng.u8(1..12) {
                self.append();
                std::thread::sleep(Duration::from_millis(self.rng.u64(1..8)));
            }
            self.fault();
        }
        self.violated()
    }

    /// Everything works again: all nodes come to know all that anybody was told.
    fn settle(&mut self) {
        self.network.heal_all();
        self.network.delay(Duration::ZERO);
        for number in 1..=NODES {
            if !self.lives.contains_key(&number) {
                self.start(number);
            }
        }
        let nobody_waits =
            |world: &Self| world.lives.values().all(|life| life.waiting.lock().expect("no panic").is_empty());
        until("everything proposed by a living node is decided", || {
            nobody_waits(self) || self.violated().is_some()
        });
        let told = self.oracle.lock().expect("no panic").order.len();
        until("every node knows all that anybody was told", || {
            let knows = |life: &Life| life.applied.lock().expect("no panic").len() >= told;
            self.lives.values().all(knows) || self.violated().is_some()
        });
    }

    fn close(&mut self) {
        for (_, life) in std::mem::take(&mut self.lives) {
            wait(life.log.close());
            life.reader.join().expect("no panic");
        }
    }
}

/// Folds an event into what a node applied. Answers from where on it is new.
fn take(event: Event, applied: &mut Vec<u64>) -> usize {
    let before = applied.len();
    match event {
        Event::Restore(checkpoint) => {
            *applied = checkpoint.state.chunks(8).map(name).collect();
            assert_eq!(applied.len() as u64, checkpoint.index);
            return 0;
        }
        Event::Entries(entries) => {
            for entry in entries {
                applied.push(name(&entry.payload));
                assert_eq!(applied.len() as u64, entry.index, "indexes are dense");
            }
        }
        Event::Replayed | Event::Stopped(_) => {}
    }
    before
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|set| set.parse().ok()).unwrap_or(default)
}

#[test]
fn nothing_that_anybody_was_told_is_lost_or_told_otherwise() {
    let seed = setting("PORTOLAN_STRESS_SEED", 1);
    let time = Duration::from_secs(setting("PORTOLAN_STRESS_S", 8));
    let mut world = World::new(seed, Flaws::default());
    let violation = world.run(time);
    assert_eq!(violation, None, "seed {seed}");
    world.settle();
    assert_eq!(world.violated(), None, "seed {seed}, after all was well again");
    let order = world.oracle.lock().expect("no panic").order.clone();
    let mut once = order.clone();
    once.sort_unstable();
    once.dedup();
    let acknowledged = *world.acknowledged.lock().expect("no panic");
    println!(
        "{} decided, {} of them again, {acknowledged} acknowledged to who proposed them, {} power cuts",
        order.len(),
        order.len() - once.len(),
        world.power_cuts
    );
    assert!(acknowledged > 100 && world.power_cuts > 0, "something happened at all");
    world.close();
}

/// The canary: on disks that do not sync the test above must fail.
#[test]
fn disks_that_lie_are_caught() {
    for seed in 1..=20 {
        let mut world = World::new(seed, Flaws { no_sync: true, ..Flaws::default() });
        let violation = world.run(Duration::from_secs(5));
        world.network.heal_all();
        for number in 1..=NODES {
            world.cut_power(number);
        }
        if violation.is_some() {
            return;
        }
    }
    panic!("nobody noticed that nothing was ever synced");
}
