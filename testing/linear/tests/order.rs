//! Three stores on three engines in this process: keys stay linearizable while links are cut, frames held up and
//! servers killed. The same with daemons is in `testing/netns`; this finds faults of the order itself sooner.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use catalog::{Command, command::KvCommand};
use log::Log;
use log::LogError;
use log::paxos::{self, Begin, Config, Identity, Paxos, ServerId};
use log::transport::memory::Network;
use portolan_linear::{Answer, Ask, DEFAULT_BOUND, Recorder, Register, check_keys};
use store::{Store, SubmitError};
use tokio::runtime::Runtime;

const LIMIT: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(2);

/// A server's place, which outlives its lives.
struct Server {
    number: u64,
    dir: PathBuf,
    lives: u64,
    live: Arc<RwLock<Option<Store>>>,
    log: Option<Arc<Paxos>>,
}

impl Server {
    fn start(&mut self, runtime: &Runtime, network: &Network, begin: Begin) {
        self.lives += 1;
        let id = ServerId(self.number);
        let mut config = Config::new(&self.dir, id).beginning(begin);
        config.close_patience = Duration::ZERO;
        let opened = peers::until(LIMIT, "the directory to be free", || {
            let (transport, links) = network.attach(id);
            match paxos::open(&config, transport, links) {
                Ok(opened) => Some(opened),
                Err(LogError::InUse { .. }) => None,
                Err(error) => panic!("open server {}: {error:?}", self.number),
            }
        });
        let (log, events) = opened.unwrap();
        let mut config = store::Config::new(&format!("n{}", self.number));
        config.least_epoch = self.lives;
        let store = runtime.block_on(store::open(config, log.clone(), events)).unwrap();
        (self.log, *self.live.write().unwrap()) = (Some(log), Some(store));
    }

    /// As if its process had been killed, as far as the others can tell.
    fn kill(&mut self, network: &Network) {
        network.detach(ServerId(self.number));
        *self.live.write().unwrap() = None;
        // Closing begins with the call, and nobody waits for its end but the next life.
        drop(self.log.take().map(|log| log.close()));
    }
}

struct Client {
    number: usize,
    server: Arc<RwLock<Option<Store>>>,
    shared: Arc<Shared>,
    rng: fastrand::Rng,
}

struct Shared {
    recorder: Recorder<u64, Ask, Answer>,
    next_value: AtomicU64,
    written: [AtomicU64; 3],
    stop: AtomicBool,
    origin: Instant,
}

impl Client {
    async fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let store = self.server.read().unwrap().clone();
            let Some(store) = store else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            // New keys now and then: the cost of a check grows with the unknown outcomes on one key.
            let key = self.shared.origin.elapsed().as_secs() / 2 * 4 + self.rng.u64(..3);
            let value = self.shared.next_value.fetch_add(1, Ordering::Relaxed);
            match self.rng.u8(..8) {
                0..=2 => drop(self.read(&store, key).await),
                3..=4 => self.write(&store, key, Ask::Write(value), None).await,
                5 => self.write(&store, key, Ask::Delete, None).await,
                _ => {
                    if let Some((from, index)) = self.read(&store, key).await {
                        self.write(&store, key, Ask::Swap { from, to: value }, Some(index)).await;
                    }
                }
            }
            // As a client over a socket would.
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    async fn read(&self, store: &Store, key: u64) -> Option<(u64, u64)> {
        let pending = self.shared.recorder.call(self.number, key, Ask::Read);
        let view = tokio::time::timeout(PATIENCE, store.barrier()).await.ok()?.ok()?;
        let entry = view.key(&key.to_string());
        let found = entry.map_or((0, 0), |entry| {
            (std::str::from_utf8(&entry.value).unwrap().parse().unwrap(), entry.modify_index)
        });
        pending.returned(Answer::Value(found.0));
        Some(found)
    }

    async fn write(&self, store: &Store, key: u64, ask: Ask, cas: Option<u64>) {
        let pending = self.shared.recorder.call(self.number, key, ask);
        let key = key.to_string().into();
        let command = match ask {
            Ask::Delete => KvCommand::Delete { key, cas },
            Ask::Write(value) | Ask::Swap { to: value, .. } => {
                KvCommand::Set { key, value: Bytes::from(value.to_string()), flags: 0, cas }
            }
            Ask::Read => return,
        };
        match tokio::time::timeout(PATIENCE, store.submit(Command::Kv(command))).await {
            Ok(Ok(_)) => pending.returned(Answer::Done),
            Ok(Err(SubmitError::Refused(_))) => pending.returned(Answer::Refused),
            // Nobody knows.
            Ok(Err(_)) | Err(_) => return,
        }
        self.shared.written[self.number % 3].fetch_add(1, Ordering::Relaxed);
    }
}

fn progress(shared: &Shared, servers: &[usize]) {
    for server in servers {
        let goal = shared.written[*server].load(Ordering::Relaxed) + 20;
        let what = format!("writes through server {server}");
        let there = || (shared.written[*server].load(Ordering::Relaxed) >= goal).then_some(());
        peers::until(LIMIT, &what, there).unwrap();
    }
}

fn identity(number: u64) -> Identity {
    Identity { server: ServerId(number), disk: 1000 + number }
}

/// Breaks something, waits for progress of those who should have it, and makes it whole.
fn break_something(
    rng: &mut fastrand::Rng,
    runtime: &Runtime,
    network: &Network,
    servers: &mut [Server],
    shared: &Shared,
) {
    let victim = rng.usize(..3);
    let others: Vec<usize> = (0..3).filter(|at| *at != victim).collect();
    let id = |at: usize| ServerId(at as u64 + 1);
    match rng.u8(..6) {
        0 => network.isolate(id(victim)),
        1 => others.iter().for_each(|other| network.hold(id(victim), id(*other))),
        2 => others.iter().for_each(|other| network.hold(id(*other), id(victim))),
        3 => network.delay(Duration::from_millis(rng.u64(1..20))),
        4 => {
            servers[victim].kill(network);
            progress(shared, &others);
            servers[victim].start(runtime, network, Begin::Never);
        }
        _ => {
            servers.iter_mut().for_each(|server| server.kill(network));
            servers.iter_mut().for_each(|server| server.start(runtime, network, Begin::Never));
        }
    }
    progress(shared, &others);
    network.delay(Duration::ZERO);
    network.heal_all();
    progress(shared, &[0, 1, 2]);
}

#[test]
fn keys_are_linearizable_on_three_engines_whatever_breaks() {
    let seed = std::env::var("PORTOLAN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("PORTOLAN_SEED={seed}: the schedule; threads make of it what they will");
    let mut rng = fastrand::Rng::with_seed(seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (folder, network) = (tempfile::tempdir().unwrap(), Network::new());
    let founders = || (1..=3).map(identity).collect();
    let mut servers: Vec<Server> = (1..=3)
        .map(|number| {
            let dir = folder.path().join(number.to_string());
            Server { number, dir, lives: 0, live: Arc::default(), log: None }
        })
        .collect();
    servers.iter_mut().for_each(|server| server.start(&runtime, &network, Begin::FoundWith(founders())));
    let shared = Arc::new(Shared {
        recorder: Recorder::default(),
        next_value: AtomicU64::new(1),
        written: Default::default(),
        stop: AtomicBool::new(false),
        origin: Instant::now(),
    });
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let server = servers[number % 3].live.clone();
            let rng = fastrand::Rng::with_seed(seed ^ number as u64);
            runtime.spawn(Client { number, server, shared: shared.clone(), rng }.run())
        })
        .collect();
    progress(&shared, &[0, 1, 2]);
    for _ in 0..6 {
        break_something(&mut rng, &runtime, &network, &mut servers, &shared);
    }
    shared.stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for client in clients {
            client.await.unwrap();
        }
    });
    let history = shared.recorder.take();
    let (operations, unknown) =
        (history.len(), history.iter().filter(|(_, op)| op.returned.is_none()).count());
    let keys = check_keys(&Register, history, DEFAULT_BOUND)
        .unwrap_or_else(|(key, verdict)| panic!("{key}: {verdict:?}"));
    println!("{operations} operations, {unknown} of unknown outcome, on {keys} keys: linearizable");
    let closing: Vec<_> = servers.iter().filter_map(|server| Some(server.log.as_ref()?.close())).collect();
    drop(servers);
    runtime.block_on(async {
        for closed in closing {
            closed.await;
        }
    });
}
