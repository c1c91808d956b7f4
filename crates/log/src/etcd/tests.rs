//! On a real etcd, where there is one: `PORTOLAN_PEERS` names the folder that `cargo xtask peers` fills.

use std::process::Command;
use std::time::Instant;

use peers::{Running, reserve_port, tool};

use super::*;
use crate::conformance::{Opened, Subject, run};

/// An etcd of this test's own.
struct Server {
    running: Option<Running>,
    dir: tempfile::TempDir,
    binary: std::path::PathBuf,
    client: u16,
    peer: u16,
}

impl Server {
    /// Nothing, and a line that says why, where there is no etcd.
    fn start() -> Option<Self> {
        let binary = match tool("etcd") {
            Ok(binary) => binary,
            Err(missing) => {
                println!("{missing}");
                return None;
            }
        };
        let dir = tempfile::tempdir().expect("a directory");
        let port = || reserve_port().expect("a free port");
        let mut server = Self { running: None, dir, binary, client: port(), peer: port() };
        server.run();
        Some(server)
    }

    fn run(&mut self) {
        let [client, peer] = [self.client, self.peer].map(|port| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new(&self.binary);
        command.args(["--name", "one", "--data-dir"]).arg(self.dir.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("one={peer}")]);
        self.running = Some(Running::start(&mut command).expect("etcd starts"));
    }

    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
    }

    fn config(&self, prefix: &str) -> Config {
        let mut config = Config::new(vec![format!("http://127.0.0.1:{}", self.client)]);
        config.prefix = prefix.to_owned();
        config.max_command_bytes = 4096;
        config.max_batch_bytes = 16 << 10;
        config.max_queued = 100;
        config
    }
}

struct Orders {
    config: Config,
}

impl Subject for Orders {
    fn open(&mut self) -> BoxFuture<Opened> {
        let opened = open(&self.config).map(|(log, events)| (log as Arc<dyn Log>, events));
        Box::pin(std::future::ready(opened))
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn limits(&self) -> (usize, usize) {
        (4096, 100)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_conforms() {
    let Some(server) = Server::start() else { return };
    let subjects = std::sync::atomic::AtomicU64::new(0);
    run(|| {
        let number = subjects.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::new(Orders { config: server.config(&format!("/case-{number}/")) })
    })
    .await;
}

/// Reads until so many entries were seen; the last index with each.
fn read(events: &mut EventReceiver, seen: &mut Vec<Bytes>, count: usize) {
    while seen.len() < count {
        match events.blocking_recv() {
            Some(Event::Entries(entries)) => {
                for entry in entries {
                    assert_eq!(entry.index, seen.len() as u64 + 1, "indexes are dense");
                    seen.push(entry.payload);
                }
            }
            Some(Event::Replayed) => {}
            other => panic!("entries are due, not {other:?}"),
        }
    }
}

#[test]
fn two_nodes_agree_while_etcd_is_killed_and_comes_back() {
    let Some(mut server) = Server::start() else { return };
    let config = server.config("/two/");
    let (a, mut a_events) = open(&config).expect("it opens");
    let (b, mut b_events) = open(&config).expect("it opens");
    let (mut a_seen, mut b_seen) = (Vec::new(), Vec::new());
    for round in 0..3 {
        for i in 0..20 {
            a.append(format!("a {round} {i}").into()).expect("room");
            b.append(format!("b {round} {i}").into()).expect("room");
            if i == 10 {
                server.stop();
                server.run();
            }
        }
        let count = (round + 1) * 40;
        read(&mut a_events, &mut a_seen, count);
        read(&mut b_events, &mut b_seen, count);
    }
    assert_eq!(a_seen, b_seen);
    let mut once = a_seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), a_seen.len(), "an answer that was lost makes nothing happen twice");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    assert_eq!(runtime.block_on(a.barrier()).expect("etcd is there"), 120);
    let start = Instant::now();
    runtime.block_on(async {
        a.close().await;
        b.close().await;
    });
    assert!(start.elapsed() < config.close_patience, "nothing was left to wait for");
}

#[test]
fn a_node_that_comes_late_needs_no_history_that_etcd_has_compacted() {
    let Some(server) = Server::start() else { return };
    let config = server.config("/late/");
    let (a, mut a_events) = open(&config).expect("it opens");
    let (mut a_seen, mut late_seen) = (Vec::new(), Vec::new());
    for i in 0..90u64 {
        a.append(format!("x {i}").into()).expect("room");
        read(&mut a_events, &mut a_seen, i as usize + 1);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = Client::new(config.access().expect("good"));
        let head = client.range(&RangeRequest::one("/late/order/head")).await.expect("etcd answers");
        let revision = head.kvs[0].mod_revision.to_string();
        let request = serde_json::json!({ "revision": revision, "physical": true });
        let _: serde_json::Value = client.call("/v3/kv/compaction", &request).await.expect("it compacts");
    });
    let (late, mut late_events) = open(&config).expect("it opens");
    read(&mut late_events, &mut late_seen, 90);
    a.append("after".into()).expect("room");
    read(&mut late_events, &mut late_seen, 91);
    read(&mut a_events, &mut a_seen, 91);
    assert_eq!(a_seen, late_seen);
    runtime.block_on(async {
        a.close().await;
        late.close().await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nodes_own_log_goes_on_in_etcd() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().expect("a directory");
    let from = crate::solo::Config::new(folder.path().join("log"));
    let (solo, mut events) = crate::solo::open(&from).expect("it opens");
    for i in 0..30 {
        solo.append(format!("alone {i}").into()).expect("room");
    }
    let mut seen = 0;
    while seen < 30 {
        if let Some(Event::Entries(entries)) = events.recv().await {
            seen += entries.len();
        }
    }
    solo.save_checkpoint(20, Box::new(|to| to.write_all(b"twenty"))).await.expect("it saves");
    solo.close().await;

    let mut config = server.config("/mine/");
    config.max_batch_bytes = 40;
    for attempt in 0..2 {
        let begun = take_over(&from, &config, "one").await.expect("it goes over, and again");
        assert_eq!(begun.last, 30, "attempt {attempt}");
    }
    let refused = take_over(&from, &config, "two").await.expect_err("another order is there");
    assert!(refused.to_string().contains("/mine/"), "{refused}");

    config.candidate = Some(7);
    let (log, mut events) = open(&config).expect("it opens");
    let first = events.recv().await;
    assert!(matches!(&first, Some(Event::Restore(saved)) if saved.index == 20 && *saved.state == *b"twenty"));
    log.append("together".into()).expect("room");
    let mut seen = Vec::new();
    while seen.len() < 11 {
        if let Some(Event::Entries(entries)) = events.recv().await {
            seen.extend(entries);
        }
    }
    assert_eq!((seen[0].index, &*seen[0].payload), (21, &b"alone 20"[..]));
    assert_eq!((seen[10].index, &*seen[10].payload), (31, &b"together"[..]));
    log.save_checkpoint(31, Box::new(|to| to.write_all(b"all"))).await.expect("it saves");

    // One leads, and another takes over when it goes.
    config.candidate = Some(8);
    let (other, _events) = open(&config).expect("it opens");
    let leads = async |log: &Etcd, server| {
        while log.status().leader != Some(server) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    leads(&log, 7).await;
    leads(&other, 7).await;
    log.close().await;
    leads(&other, 8).await;
    other.close().await;
}

#[test]
fn an_endpoint_that_cannot_be_is_refused() {
    for endpoint in ["ftp://127.0.0.1:1", "localhost"] {
        let refused = open(&Config::new(vec![endpoint.to_owned()])).err().expect("it is refused");
        assert!(refused.to_string().contains(endpoint), "{refused}");
    }
    assert!(open(&Config::new(Vec::new())).is_err());
}
