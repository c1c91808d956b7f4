//! What every engine must do, as a suite that runs unchanged on each.
//!
//! An engine's tests implement [`Subject`] and call [`run`]. A case fails by panicking with its name; none
//! takes longer than a minute.

// This is test code that other crates link: its failures are panics.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{BoxFuture, Checkpoint, Entry, Event, EventReceiver, Index, Log, LogError};

/// An opened log.
pub type Opened = Result<(Arc<dyn Log>, EventReceiver), LogError>;

/// One log under test, starting empty.
pub trait Subject: Send {
    /// Opens it; the one before, if any, was closed.
    fn open(&mut self) -> BoxFuture<Opened>;

    /// Whether what was decided is there after the next [`Subject::open`].
    fn is_durable(&self) -> bool;

    /// The limits that it was configured with: bytes of a command, commands that may wait.
    fn limits(&self) -> (usize, usize);
}

type Case = fn(Box<dyn Subject>) -> BoxFuture<()>;

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), |subject| Box::pin($name(subject)))),*]
    };
}

const CASES: &[(&str, Case)] = cases![
    starts_empty,
    keeps_order_and_bytes,
    loses_and_repeats_nothing_of_many_appenders,
    barrier_covers_what_was_seen,
    refuses_what_is_too_large,
    refuses_when_nobody_reads,
    reports_its_status,
    closes_after_what_was_queued,
    closes_without_a_reader,
    goes_on_where_it_stood,
    restores_the_newest_checkpoint,
    saves_a_checkpoint_under_load,
    saves_a_large_checkpoint,
    refuses_a_checkpoint_of_the_future,
    survives_a_checkpoint_that_fails,
];

/// Runs every case on a subject of its own.
pub async fn run(make: impl Fn() -> Box<dyn Subject>) {
    for (name, case) in CASES {
        let outcome = tokio::time::timeout(Duration::from_secs(60), tokio::spawn(case(make()))).await;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(panic)) => panic!("conformance: {name}: {panic}"),
            Err(_) => panic!("conformance: {name}: nothing happened for a minute"),
        }
    }
}

/// An open log and what its stream has said so far.
struct Reading {
    log: Arc<dyn Log>,
    events: EventReceiver,
    restored: Option<Checkpoint>,
    /// After the checkpoint.
    entries: Vec<Entry>,
}

impl Reading {
    /// Opens and reads up to `Replayed`.
    async fn open(subject: &mut dyn Subject) -> Self {
        let (log, events) = subject.open().await.expect("it opens");
        let mut reading = Self { log, events, restored: None, entries: Vec::new() };
        while reading.step().await.expect("a stream that says Replayed") {}
        // An election in the middle of the first appends may repeat a command, which is for its readers to see
        // (decision 10); here indexes are counted, so a leader is waited for.
        reading.log.barrier().await.ok();
        reading
    }

    /// Takes one event; false for `Replayed`, `None` at the end.
    async fn step(&mut self) -> Option<bool> {
        match self.events.recv().await? {
            Event::Restore(checkpoint) => {
                assert!(self.entries.is_empty(), "a checkpoint comes before entries at a start");
                self.restored = Some(checkpoint);
            }
            Event::Entries(entries) => {
                for entry in entries {
                    assert_eq!(entry.index, self.last() + 1, "indexes are dense");
                    self.entries.push(entry);
                }
            }
            Event::Replayed => return Some(false),
            Event::Stopped(error) => panic!("it stopped: {error}"),
        }
        Some(true)
    }

    fn base(&self) -> Index {
        self.restored.as_ref().map_or(0, |c| c.index)
    }

    fn last(&self) -> Index {
        self.entries.last().map_or_else(|| self.base(), |e| e.index)
    }

    async fn until(&mut self, index: Index) {
        while self.last() < index {
            assert_eq!(self.step().await, Some(true), "the stream goes on to {index}");
        }
    }

    /// Appends, waiting for room.
    async fn append(&mut self, payload: Bytes) {
        while let Err(refused) = self.log.append(payload.clone()) {
            assert!(matches!(refused, LogError::Full { .. }), "{refused}");
            assert_eq!(self.step().await, Some(true));
        }
    }

    async fn append_all(&mut self, range: std::ops::RangeInclusive<u64>) {
        let last = *range.end();
        for i in range {
            self.append(command(i)).await;
        }
        self.until(last).await;
    }

    async fn save(&self, index: Index, state: Vec<u8>) -> Result<(), LogError> {
        self.log.save_checkpoint(index, Box::new(move |out| out.write_all(&state))).await
    }

    /// Closes; answers what it had read.
    async fn close(mut self) -> Vec<Entry> {
        self.log.close().await;
        while self.step().await.is_some() {}
        self.entries
    }

    fn expect(&self, range: std::ops::RangeInclusive<u64>) {
        let expected: Vec<Entry> = range.map(|index| Entry { index, payload: command(index) }).collect();
        assert_eq!(self.entries, expected);
    }
}

/// A command that tells its index, of a length that varies.
fn command(i: u64) -> Bytes {
    let mut bytes = i.to_le_bytes().to_vec();
    bytes.resize(8 + usize::try_from(i * 37 % 300).unwrap(), u8::try_from(i % 251).unwrap());
    bytes.into()
}

fn state(index: Index, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| u8::try_from((index as usize + i * 7) % 253).unwrap()).collect()
}

async fn starts_empty(mut subject: Box<dyn Subject>) {
    let reading = Reading::open(&mut *subject).await;
    assert_eq!((reading.restored.as_ref(), reading.entries.len()), (None, 0));
    assert_eq!(reading.log.barrier().await.expect("open"), 0);
    assert_eq!(reading.log.status().last_index, 0);
    assert!(reading.close().await.is_empty());
}

async fn keeps_order_and_bytes(mut subject: Box<dyn Subject>) {
    let largest = subject.limits().0;
    let mut reading = Reading::open(&mut *subject).await;
    let payloads =
        [Bytes::from_static(b"one"), Bytes::new(), vec![7; largest].into(), Bytes::from_static(b"\0")];
    for payload in &payloads {
        reading.append(payload.clone()).await;
    }
    reading.until(payloads.len() as u64).await;
    let read: Vec<Bytes> = reading.close().await.into_iter().map(|e| e.payload).collect();
    assert_eq!(read, payloads);
}

async fn loses_and_repeats_nothing_of_many_appenders(mut subject: Box<dyn Subject>) {
    const EACH: u64 = 200;
    let mut reading = Reading::open(&mut *subject).await;
    let appenders = (0..4u64).map(|appender| {
        let log = Arc::clone(&reading.log);
        tokio::spawn(async move {
            for i in 0..EACH {
                let payload = Bytes::from([appender.to_le_bytes(), i.to_le_bytes()].concat());
                while log.append(payload.clone()).is_err() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let appenders: Vec<_> = appenders.collect();
    reading.until(4 * EACH).await;
    for appender in appenders {
        appender.await.expect("no panic");
    }
    let mut seen: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for entry in reading.close().await {
        let next = seen.entry(entry.payload[..8].to_vec()).or_default();
        assert_eq!(entry.payload[8..], next.to_le_bytes(), "each appender's own order holds");
        *next += 1;
    }
    assert_eq!(seen.into_values().collect::<Vec<_>>(), [EACH; 4]);
}

async fn barrier_covers_what_was_seen(mut subject: Box<dyn Subject>) {
    let mut reading = Reading::open(&mut *subject).await;
    for i in 1..=20 {
        reading.append(command(i)).await;
        reading.until(i).await;
        assert!(reading.log.barrier().await.expect("open") >= i);
    }
    reading.close().await;
}

async fn refuses_what_is_too_large(mut subject: Box<dyn Subject>) {
    let limit = subject.limits().0;
    let mut reading = Reading::open(&mut *subject).await;
    let refused = reading.log.append(vec![0; limit + 1].into());
    assert!(
        matches!(refused, Err(LogError::TooLarge { bytes, limit: l }) if (bytes, l) == (limit + 1, limit))
    );
    reading.append_all(1..=3).await;
    reading.expect(1..=3);
    reading.close().await;
}

async fn refuses_when_nobody_reads(mut subject: Box<dyn Subject>) {
    let most = subject.limits().1 as u64;
    let mut reading = Reading::open(&mut *subject).await;
    let mut taken = 0;
    while reading.log.append(command(taken + 1)).is_ok() {
        taken += 1;
        assert!(taken <= most, "it takes more than {most} commands that nobody reads");
    }
    reading.until(taken).await;
    reading.append_all(taken + 1..=taken + 2).await;
    reading.expect(1..=taken + 2);
    reading.close().await;
}

async fn reports_its_status(mut subject: Box<dyn Subject>) {
    let mut reading = Reading::open(&mut *subject).await;
    reading.append_all(1..=10).await;
    reading.save(4, state(4, 10)).await.expect("saved");
    let status = reading.log.status();
    assert_eq!((status.first_index, status.last_index, status.checkpoint_index), (5, 10, 4));
    assert_eq!((status.queued, status.stopped), (0, None));
    reading.save(10, state(10, 10)).await.expect("saved");
    let status = reading.log.status();
    assert_eq!((status.first_index, status.bytes_since_checkpoint), (0, 0));
    reading.close().await;
}

async fn closes_after_what_was_queued(mut subject: Box<dyn Subject>) {
    let mut reading = Reading::open(&mut *subject).await;
    for i in 1..=50 {
        reading.append(command(i)).await;
    }
    let log = Arc::clone(&reading.log);
    reading.log.close().await;
    while reading.step().await.is_some() {}
    reading.expect(1..=50);
    assert!(matches!(log.append(command(51)), Err(LogError::Stopped { .. })));
    assert!(matches!(log.barrier().await, Err(LogError::Stopped { .. })));
    log.close().await;
}

async fn closes_without_a_reader(mut subject: Box<dyn Subject>) {
    let (log, events) = subject.open().await.expect("it opens");
    drop(events);
    for i in 1..=50 {
        while log.append(command(i)).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    log.close().await;
    if subject.is_durable() {
        let reading = Reading::open(&mut *subject).await;
        reading.expect(1..=50);
        reading.close().await;
    }
}

async fn goes_on_where_it_stood(mut subject: Box<dyn Subject>) {
    if !subject.is_durable() {
        return;
    }
    for round in 0..6 {
        let mut reading = Reading::open(&mut *subject).await;
        reading.expect(1..=round * 40);
        assert_eq!(reading.log.barrier().await.expect("open"), round * 40);
        reading.append_all(round * 40 + 1..=round * 40 + 40).await;
        reading.close().await;
    }
}

async fn restores_the_newest_checkpoint(mut subject: Box<dyn Subject>) {
    if !subject.is_durable() {
        return;
    }
    let mut base = 0;
    for round in 1..=6 {
        let mut reading = Reading::open(&mut *subject).await;
        assert_eq!(reading.base(), base);
        if base > 0 {
            assert_eq!(reading.restored.as_ref().expect("restored").state, state(base, 1000));
        }
        reading.expect(base + 1..=(round - 1) * 100);
        reading.append_all((round - 1) * 100 + 1..=round * 100).await;
        base = round * 100 - 30;
        reading.save(base - 1, state(base - 1, 10)).await.expect("saved");
        reading.save(base, state(base, 1000)).await.expect("saved");
        reading.save(base - 50, state(0, 1)).await.expect("an older one changes nothing");
        reading.close().await;
    }
}

async fn saves_a_checkpoint_under_load(mut subject: Box<dyn Subject>) {
    let mut reading = Reading::open(&mut *subject).await;
    for round in 1..=5u64 {
        let (first, middle, last) = (round * 60 - 59, round * 60 - 20, round * 60);
        reading.append_all(first..=middle).await;
        // Slow on purpose: in many small writes.
        let write =
            move |out: &mut dyn Write| state(middle, 5000).chunks(3).try_for_each(|c| out.write_all(c));
        let saving = tokio::spawn(reading.log.save_checkpoint(middle, Box::new(write)));
        reading.append_all(middle + 1..=last).await;
        saving.await.expect("no panic").expect("saved");
    }
    reading.expect(1..=300);
    reading.close().await;
    if subject.is_durable() {
        let reading = Reading::open(&mut *subject).await;
        assert!(reading.restored.as_ref().is_some_and(|c| c.index == 280 && c.state == state(280, 5000)));
        reading.expect(281..=300);
        reading.close().await;
    }
}

async fn saves_a_large_checkpoint(mut subject: Box<dyn Subject>) {
    let mut reading = Reading::open(&mut *subject).await;
    reading.append_all(1..=3).await;
    let large = state(3, (3 << 20) + 17);
    reading.save(3, large.clone()).await.expect("saved");
    reading.close().await;
    if subject.is_durable() {
        let reading = Reading::open(&mut *subject).await;
        assert!(reading.restored.as_ref().is_some_and(|c| c.index == 3 && c.state == large));
        reading.close().await;
    }
}

async fn refuses_a_checkpoint_of_the_future(mut subject: Box<dyn Subject>) {
    let mut reading = Reading::open(&mut *subject).await;
    reading.append_all(1..=3).await;
    let refused = reading.save(4, Vec::new()).await;
    assert!(matches!(refused, Err(LogError::Ahead { index: 4, last: 3 })), "{refused:?}");
    reading.close().await;
}

async fn survives_a_checkpoint_that_fails(mut subject: Box<dyn Subject>) {
    let mut reading = Reading::open(&mut *subject).await;
    reading.append_all(1..=3).await;
    let fail = |out: &mut dyn Write| out.write_all(b"half").and(Err(io::Error::other("the writer gave up")));
    let failed = reading.log.save_checkpoint(2, Box::new(fail)).await.expect_err("it says so");
    assert!(crate::error_chain(&failed).contains("the writer gave up"));
    assert_eq!(reading.log.status().checkpoint_index, 0);
    reading.append_all(4..=5).await;
    reading.save(3, state(3, 9)).await.expect("saved");
    reading.close().await;
    if subject.is_durable() {
        let reading = Reading::open(&mut *subject).await;
        assert_eq!(reading.base(), 3);
        reading.expect(4..=5);
        reading.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Flaws, SimDisk};
    use crate::{memory, solo};

    struct Memory;

    impl Subject for Memory {
        fn open(&mut self) -> BoxFuture<Opened> {
            let (log, events) = memory::open(memory::Config { max_command_bytes: 4096, max_queued: 100 });
            Box::pin(std::future::ready(Ok((log as Arc<dyn Log>, events))))
        }

        fn is_durable(&self) -> bool {
            false
        }

        fn limits(&self) -> (usize, usize) {
            (4096, 100)
        }
    }

    struct Solo {
        dir: tempfile::TempDir,
    }

    impl Subject for Solo {
        fn open(&mut self) -> BoxFuture<Opened> {
            let config = small(&self.dir.path().join("log"));
            let opened = solo::open(&config).map(|(log, events)| (log as Arc<dyn Log>, events));
            Box::pin(std::future::ready(opened))
        }

        fn is_durable(&self) -> bool {
            true
        }

        fn limits(&self) -> (usize, usize) {
            (4096, 100)
        }
    }

    struct Simulated {
        disk: SimDisk,
    }

    impl Subject for Simulated {
        fn open(&mut self) -> BoxFuture<Opened> {
            let config = small(std::path::Path::new(""));
            let opened = solo::open_on(Arc::new(self.disk.clone()), &config);
            Box::pin(std::future::ready(opened.map(|(log, events)| (log as Arc<dyn Log>, events))))
        }

        fn is_durable(&self) -> bool {
            true
        }

        fn limits(&self) -> (usize, usize) {
            (4096, 100)
        }
    }

    fn small(dir: &std::path::Path) -> solo::Config {
        let mut config = solo::Config::new(dir);
        config.segment_bytes = 64 << 10;
        config.max_command_bytes = 4096;
        config.max_batch_bytes = 16 << 10;
        config.max_queued = 100;
        config.seal_after = Duration::from_millis(5);
        config
    }

    #[tokio::test]
    async fn memory_conforms() {
        run(|| Box::new(Memory)).await;
    }

    #[tokio::test]
    async fn solo_conforms_on_a_real_disk() {
        run(|| Box::new(Solo { dir: tempfile::tempdir().expect("a directory") })).await;
    }

    #[tokio::test]
    async fn solo_conforms_on_a_simulated_disk() {
        run(|| Box::new(Simulated { disk: SimDisk::new(1, Flaws::default()) })).await;
    }
}
