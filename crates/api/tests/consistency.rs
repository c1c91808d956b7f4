//! How fresh an answer is where several servers decide together, with and without a majority in reach.

#![allow(clippy::expect_used, reason = "test code")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{Reply, Server};
use log::{BoxFuture, Index, Log, LogError, LogStatus, WriteState};
use portolan_api::Config;

/// A log of three servers that can be cut off from the others.
struct Shared {
    inner: Arc<dyn Log>,
    is_cut_off: AtomicBool,
    barriers: AtomicUsize,
}

impl Log for Shared {
    fn append(&self, payload: Bytes) -> Result<(), LogError> {
        self.inner.append(payload)
    }

    fn barrier(&self) -> BoxFuture<Result<Index, LogError>> {
        self.barriers.fetch_add(1, Ordering::Relaxed);
        match self.is_cut_off.load(Ordering::Relaxed) {
            false => self.inner.barrier(),
            true => {
                let cause = "no leader answered".to_owned();
                Box::pin(async { Err(LogError::NoMajority { waited_ms: 1, cause }) })
            }
        }
    }

    fn save_checkpoint(&self, index: Index, write: WriteState) -> BoxFuture<Result<(), LogError>> {
        self.inner.save_checkpoint(index, write)
    }

    fn status(&self) -> LogStatus {
        let cut_off = self.is_cut_off.load(Ordering::Relaxed);
        let leader = (!cut_off).then_some(1);
        LogStatus { engine: "paxos", voters: vec![1, 2, 3], leader, cut_off, ..self.inner.status() }
    }

    fn close(&self) -> BoxFuture<()> {
        self.inner.close()
    }
}

/// Status, effective consistency, whether a leader is known.
fn freshness(reply: &Reply) -> (u16, Option<&str>, Option<&str>) {
    (reply.status, reply.field("x-consul-effective-consistency"), reply.field("x-consul-knownleader"))
}

#[tokio::test]
async fn a_node_that_is_cut_off_goes_on_and_says_so() {
    let (inner, events) = log::memory::open(log::memory::Config::default());
    let log = Arc::new(Shared { inner, is_cut_off: AtomicBool::new(false), barriers: AtomicUsize::new(0) });
    let server = Server::start_on(log.clone(), events, Config::default()).await;
    let ask = |query: &'static str| {
        let target = format!("/v1/catalog/nodes?{query}");
        let server = &server;
        async move { server.send("GET", &target, &[], b"").await }
    };
    // The server looks at its log twice a second.
    for _ in 0..200 {
        ask("").await;
        if log.barriers.load(Ordering::Relaxed) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = log.barriers.load(Ordering::Relaxed);
    assert_eq!(freshness(&ask("").await), (200, Some("leader"), Some("true")));
    assert_eq!(log.barriers.load(Ordering::Relaxed), before + 1, "a default read asks the others");
    assert_eq!(freshness(&ask("stale").await), (200, Some("stale"), Some("true")));
    assert_eq!(log.barriers.load(Ordering::Relaxed), before + 1, "a stale one does not");

    log.is_cut_off.store(true, Ordering::Relaxed);
    assert_eq!(freshness(&ask("").await), (200, Some("stale"), Some("false")));
    let refused = ask("consistent").await;
    assert_eq!(refused.status, 500);
    assert!(refused.body.starts_with("No cluster leader"), "{refused:?}");
    let leader = server.send("GET", "/v1/status/leader", &[], b"").await;
    assert_eq!(leader.body.trim(), "\"\"");
    server.stop().await;
}
