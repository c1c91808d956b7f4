//! What a user of the engine notices, on real directories and on simulated disks.

mod decoders;
mod failures;
mod starts;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Config, Solo, open, open_on};
use crate::sim::SimDisk;
use crate::{Entry, Event, EventReceiver, Log, LogError};

fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir);
    config.segment_bytes = 32 << 10;
    config.max_command_bytes = 4096;
    config.max_batch_bytes = 8 << 10;
    // No seal but at a close, unless a test asks for it.
    config.seal_after = Duration::from_secs(3600);
    config
}

fn start(disk: &SimDisk, config: &Config) -> (Arc<Solo>, EventReceiver) {
    open_on(Arc::new(disk.clone()), config).expect("it opens")
}

/// Entries up to `Replayed`, or up to `index`.
async fn read(events: &mut EventReceiver, index: u64) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    while index == 0 || entries.last().is_none_or(|e| e.index < index) {
        match events.recv().await.expect("the stream goes on") {
            Event::Entries(more) => entries.extend(more),
            Event::Replayed if index == 0 => break,
            Event::Replayed | Event::Restore(_) => {}
            Event::Stopped(error) => panic!("it stopped: {error}"),
        }
    }
    entries
}

async fn append(log: &Solo, events: &mut EventReceiver, payload: &'static [u8]) {
    let next = log.status().last_index + 1;
    log.append(Bytes::from_static(payload)).expect("room");
    read(events, next).await;
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn refusal(opened: Result<(Arc<Solo>, EventReceiver), LogError>) -> LogError {
    match opened {
        Ok(_) => panic!("it opens"),
        Err(error) => error,
    }
}
