//! What three servers in one process do on this machine's disk, over a network that costs nothing.
//!
//! `cargo run --profile fast -p portolan-log --features testing --example cluster_bench [directory] [seconds per line]`

use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use portolan_log::paxos::{self, Begin, Config, Identity, Paxos, ServerId};
use portolan_log::transport::memory::Network;
use portolan_log::{Event, EventReceiver, Log, follow};

type Outcome<T> = Result<T, Box<dyn Error>>;

const BYTES: usize = 300;

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let base = args.next().unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let time = Duration::from_secs_f64(args.next().map_or(Ok(2.0), |seconds| seconds.parse())?);
    let dir = Path::new(&base).join(format!("portolan-cluster-bench-{}", std::process::id()));
    let outcome = measure(&dir, time);
    std::fs::remove_dir_all(&dir)?;
    outcome
}

fn measure(dir: &Path, time: Duration) -> Outcome<()> {
    println!("three servers in one process, one disk; commands of {BYTES} bytes");
    println!(
        "{:>10} {:>10} {:>12} {:>10} {:>10} {:>10}",
        "through", "in flight", "entries/s", "p50 ms", "p99 ms", "per sync"
    );
    for window in [1, 64, 1000] {
        for leads in [true, false] {
            windowed(&dir.join(format!("window-{window}-{leads}")), window, leads, time)?;
        }
    }
    failover(&dir.join("failover"))?;
    new_follower(&dir.join("entries"), false)?;
    new_follower(&dir.join("checkpoint"), true)
}

struct Node {
    log: Arc<Paxos>,
    events: EventReceiver,
}

struct Cluster {
    network: Network,
    nodes: Vec<Node>,
}

impl Cluster {
    fn open(dir: &Path) -> Outcome<Self> {
        let network = Network::new();
        let members: Vec<Identity> =
            (1..=3).map(|number| Identity { server: ServerId(number), disk: number }).collect();
        let mut nodes = Vec::new();
        for number in 1..=3u64 {
            let begin = Begin::FoundWith(members.clone());
            let config = Config::new(dir.join(number.to_string()), ServerId(number)).beginning(begin);
            let (transport, links) = network.attach(ServerId(number));
            let (log, mut events) = paxos::open(&config, transport, links)?;
            while !matches!(events.blocking_recv(), Some(Event::Replayed)) {}
            nodes.push(Node { log, events });
        }
        Ok(Self { network, nodes })
    }

    /// Waits for a leader and takes it out, or another than it.
    fn take(&mut self, leads: bool) -> Node {
        loop {
            let found = self.nodes.iter().position(|node| {
                let status = node.log.cluster();
                status.leader.is_some_and(|leader| (leader == status.me.server) == leads)
            });
            match found {
                Some(at) => return self.nodes.swap_remove(at),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn close(self) -> Outcome<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        self.nodes.iter().for_each(|node| runtime.block_on(node.log.close()));
        Ok(())
    }
}

/// Readers of the others, which must not fall behind.
fn drain(mut events: EventReceiver) {
    std::thread::spawn(move || while events.blocking_recv().is_some() {});
}

fn payload(number: u64) -> Bytes {
    let mut bytes = vec![7; BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes.into()
}

fn received(events: &mut EventReceiver) -> Outcome<usize> {
    loop {
        match events.blocking_recv() {
            Some(Event::Entries(entries)) => return Ok(entries.len()),
            Some(Event::Restore(_)) => {}
            other => return Err(format!("entries are due, not {other:?}").into()),
        }
    }
}

fn last_received(events: &mut EventReceiver) -> Outcome<Bytes> {
    match events.blocking_recv() {
        Some(Event::Entries(entries)) => {
            Ok(entries.last().map(|entry| entry.payload.clone()).unwrap_or_default())
        }
        other => Err(format!("entries are due, not {other:?}").into()),
    }
}

fn percentile(times: &mut [Duration], of_100: usize) -> f64 {
    times.sort_unstable();
    times.get(times.len() * of_100 / 100).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// A fixed number of commands in flight through one node.
fn windowed(dir: &Path, window: usize, leads: bool, time: Duration) -> Outcome<()> {
    let mut cluster = Cluster::open(dir)?;
    let Node { log, mut events } = cluster.take(leads);
    let others = std::mem::take(&mut cluster.nodes);
    let logs: Vec<Arc<Paxos>> = others.iter().map(|node| Arc::clone(&node.log)).collect();
    others.into_iter().for_each(|node| drain(node.events));
    let before = log.status().syncs;
    let (mut number, mut done, mut room, mut sent, mut times) = (0, 0, window, VecDeque::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < time {
        for _ in 0..room {
            number += 1;
            log.append(payload(number))?;
        }
        sent.extend(std::iter::repeat_n(Instant::now(), room));
        room = received(&mut events)?;
        done += room;
        times.extend(sent.drain(..room).map(|since| since.elapsed()));
    }
    let rate = done as f64 / start.elapsed().as_secs_f64();
    let per_sync = done as f64 / (log.status().syncs - before).max(1) as f64;
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    let through = if leads { "leader" } else { "follower" };
    println!("{through:>10} {window:>10} {rate:>12.0} {p50:>10.3} {p99:>10.3} {per_sync:>10.1}");
    drain(events);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    logs.iter().chain([&log]).for_each(|log| runtime.block_on(log.close()));
    Ok(std::fs::remove_dir_all(dir)?)
}

/// How long a node's writes stand still when the leader vanishes.
fn failover(dir: &Path) -> Outcome<()> {
    let mut pauses = Vec::new();
    for round in 0..10 {
        let dir = dir.join(round.to_string());
        let mut cluster = Cluster::open(&dir)?;
        // The first leader of all may be outbid by a server that began a little later.
        std::thread::sleep(Duration::from_secs(1));
        let leader = cluster.take(true);
        let mut asked = cluster.take(false);
        let rest = std::mem::take(&mut cluster.nodes);
        let mut number = 0;
        let mut one = |node: &mut Node| -> Outcome<()> {
            number += 1;
            node.log.append(payload(number))?;
            // An entry may come twice when its way changed meanwhile.
            while last_received(&mut node.events)? != payload(number) {}
            Ok(())
        };
        let logs: Vec<Arc<Paxos>> = rest.iter().map(|node| Arc::clone(&node.log)).collect();
        rest.into_iter().for_each(|node| drain(node.events));
        for _ in 0..50 {
            one(&mut asked)?;
        }
        cluster.network.detach(leader.log.cluster().me.server);
        let start = Instant::now();
        one(&mut asked)?;
        pauses.push(start.elapsed());
        cluster.nodes.extend([asked, leader]);
        cluster.close()?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        logs.iter().for_each(|log| runtime.block_on(log.close()));
    }
    let (p50, most) = (percentile(&mut pauses, 50), percentile(&mut pauses, 99));
    println!("leader vanishes: writes stand still for {p50:.0} ms (median of 10), {most:.0} ms at most");
    Ok(())
}

/// How long a new follower takes to have what 100,000 instances are.
fn new_follower(dir: &Path, saved: bool) -> Outcome<()> {
    const COUNT: u64 = 100_000;
    let mut cluster = Cluster::open(dir)?;
    let Node { log, mut events } = cluster.take(true);
    let mut waiting = 0;
    for number in 1..=COUNT {
        log.append(payload(number))?;
        waiting += 1;
        while waiting > 10_000 {
            waiting -= received(&mut events)?;
        }
    }
    while waiting > 0 {
        waiting -= received(&mut events)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    if saved {
        for node in cluster.nodes.iter().map(|node| &node.log).chain([&log]) {
            while node.status().last_index < COUNT {
                std::thread::sleep(Duration::from_millis(1));
            }
            let state = vec![7; COUNT as usize * BYTES];
            runtime.block_on(node.save_checkpoint(COUNT, Box::new(move |out| out.write_all(&state))))?;
        }
    }
    let start = Instant::now();
    let (transport, links) = cluster.network.attach(ServerId(9));
    let (follower, mut events_9) = follow::open(&Config::new(dir.join("9"), ServerId(9)), transport, links)?;
    let mut last = 0;
    while last < COUNT {
        last = match events_9.blocking_recv() {
            Some(Event::Restore(checkpoint)) => checkpoint.index,
            Some(Event::Entries(entries)) => entries.last().map_or(last, |entry| entry.index),
            Some(Event::Replayed) => last,
            other => return Err(format!("entries are due, not {other:?}").into()),
        };
    }
    let how = if saved { "by checkpoint" } else { "entry by entry" };
    println!(
        "a new follower has {COUNT} entries of {BYTES} bytes after {:.0} ms, {how}",
        start.elapsed().as_secs_f64() * 1000.0
    );
    runtime.block_on(follower.close());
    runtime.block_on(log.close());
    cluster.close()
}
