//! The engine with real threads and files, and a network in memory.

mod conformance;
mod disks;
mod faults;
mod hand_over;
mod stress;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::Event;
use crate::transport::memory::Network;

/// Long enough for a machine that does ten other things.
const PATIENCE: Duration = Duration::from_secs(30);

fn server(number: u64) -> ServerId {
    ServerId(number)
}

fn identity(number: u64) -> Identity {
    Identity { server: server(number), disk: 1000 + number }
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "after {PATIENCE:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A runtime to wait on futures with.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("it resolves in time") })
}

/// Small limits, so that segments end and images are made all the time.
fn small(dir: PathBuf, number: u64, begin: Begin) -> Config {
    let mut config = Config::new(dir, server(number)).beginning(begin);
    config.segment_bytes = 512 << 10;
    config.max_command_bytes = 4096;
    config.max_queued = 100;
    config.seal_after = Duration::from_millis(5);
    config.setup.window_bytes = 64 << 10;
    config.setup.park_bytes = 64 << 10;
    config.setup.undecided_bytes = 64 << 10;
    config.setup.credit_bytes = 64 << 10;
    config.setup.chunk_bytes = 16 << 10;
    config.setup.retain = 50;
    config
}

/// What a node's reader has seen: one slot for each index, the state of a checkpoint in place of what it covers.
#[derive(Default)]
struct Seen {
    base: Index,
    entries: Vec<Bytes>,
    restores: Vec<Index>,
    replayed: bool,
    stopped: Option<String>,
}

impl Seen {
    fn last(&self) -> Index {
        self.base + self.entries.len() as Index
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Restore(checkpoint) => {
                assert!(checkpoint.index > self.last() || self.last() == 0, "a state never goes back");
                self.entries.clear();
                self.base = checkpoint.index;
                self.restores.push(checkpoint.index);
            }
            Event::Entries(entries) => {
                for entry in entries {
                    assert_eq!(entry.index, self.last() + 1, "indexes are dense");
                    self.entries.push(entry.payload);
                }
            }
            Event::Replayed => self.replayed = true,
            Event::Stopped(error) => self.stopped = Some(crate::error_chain(&*error)),
        }
    }
}

/// A running node with a reader.
struct Node {
    log: Arc<Paxos>,
    seen: Arc<Mutex<Seen>>,
    reader: Option<JoinHandle<()>>,
}

impl Node {
    fn start(network: &Network, config: &Config) -> Result<Self, LogError> {
        let (transport, links) = network.attach(config.server);
        let opened = open(config, transport, links)?;
        Ok(Self::read(opened, |node| node.see(|seen| seen.replayed)))
    }

    /// Reads what an engine says; answers when it is as wanted.
    fn read((log, mut events): (Arc<Paxos>, EventReceiver), wanted: impl Fn(&Self) -> bool) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let sees = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            while let Some(event) = events.blocking_recv() {
                sees.lock().expect("no panic").take(event);
            }
        });
        let node = Self { log, seen, reader: Some(reader) };
        until("it replays", || wanted(&node));
        node
    }

    fn see<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().expect("the reader did not panic"))
    }

    fn last(&self) -> Index {
        self.see(Seen::last)
    }

    /// Closes in order.
    fn close(mut self) {
        wait(self.log.close());
        self.reader.take().map(JoinHandle::join).transpose().expect("the reader did not panic");
    }
}

/// Servers on disks of their own.
struct Cluster {
    dir: tempfile::TempDir,
    network: Network,
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    fn found(count: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut cluster = Self { dir, network: Network::new(), nodes: Vec::new() };
        let members: Vec<Identity> = (1..=count).map(identity).collect();
        for number in 1..=count {
            cluster.start(number, Begin::FoundWith(members.clone()));
        }
        cluster
    }

    fn config(&self, number: u64, begin: Begin) -> Config {
        small(self.dir.path().join(number.to_string()), number, begin)
    }

    fn start(&mut self, number: u64, begin: Begin) {
        let at = usize::try_from(number).expect("small") - 1;
        if self.nodes.len() <= at {
            self.nodes.resize_with(at + 1, || None);
        }
        let node = Node::start(&self.network, &self.config(number, begin)).expect("it opens");
        self.nodes[at] = Some(node);
    }

    fn node(&self, number: u64) -> &Node {
        self.nodes[usize::try_from(number).expect("small") - 1].as_ref().expect("it runs")
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    fn stop(&mut self, number: u64) {
        let node = self.nodes[usize::try_from(number).expect("small") - 1].take().expect("it runs");
        node.close();
        self.network.detach(server(number));
    }

    /// A copy of the disk as it is at this moment, which is what a `kill -9` leaves; then the process goes.
    fn kill(&mut self, number: u64) {
        let at = usize::try_from(number).expect("small") - 1;
        let (dir, copy) = (self.dir.path().join(number.to_string()), self.dir.path().join("copy"));
        self.network.detach(server(number));
        copy_files(&dir, &copy);
        if let Some(node) = self.nodes[at].take() {
            node.close();
        }
        std::fs::remove_dir_all(&dir).expect("it is removed");
        std::fs::rename(&copy, &dir).expect("it is renamed");
    }

    /// Appends through a node, waiting for room.
    fn append(&self, number: u64, payload: impl Into<Bytes>) {
        let payload = payload.into();
        until("there is room", || match self.node(number).log.append(payload.clone()) {
            Ok(()) => true,
            Err(LogError::Full { .. }) => false,
            Err(other) => panic!("append: {other}"),
        });
    }

    /// Waits until every running node has seen this much, and that they agree.
    fn agree(&self, last: Index) {
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            until(&format!("node {} sees {last}", at + 1), || node.last() >= last);
        }
        let longest = self.running().min_by_key(|node| node.see(|seen| seen.base)).expect("one runs");
        for node in self.running() {
            longest.see(|long| {
                // Two locks, always in this order of nodes; a node is not compared with itself.
                if std::ptr::eq(longest, node) {
                    return;
                }
                node.see(|seen| {
                    let skip = usize::try_from(seen.base - long.base).expect("small");
                    let common = seen.entries.len().min(long.entries.len().saturating_sub(skip));
                    assert_eq!(seen.entries[..common], long.entries[skip..skip + common]);
                });
            });
        }
    }

    fn leader(&self) -> u64 {
        let mut leader = None;
        until("there is a leader", || {
            let said = self.running().find_map(|node| {
                let status = node.log.cluster();
                status.leader.filter(|leader| *leader == status.me.server)
            });
            leader = said;
            said.is_some()
        });
        leader.expect("found").0
    }
}

fn copy_files(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for found in std::fs::read_dir(from).expect("a directory") {
        let found = found.expect("a name");
        let target = to.join(found.file_name());
        if found.path().is_dir() {
            copy_files(&found.path(), &target);
        } else {
            // Files may come and go meanwhile, as under a real process.
            drop(std::fs::copy(found.path(), target));
        }
    }
}
