//! Entries for fuzzers: a start must survive any bytes on the disk, without a panic and in memory bounded by
//! the size of what is there.
//!
//! With real sums a fuzzer gets no further than the sums; so each entry also runs with a sum that is always
//! zero, which lets it reach what lies behind.

use std::sync::Arc;

use super::format::Integrity;
use super::names;
use super::recover::{Recovered, recover};
use super::replay::Replay;
use crate::disk::Disk;
use crate::sim::{Flaws, SimDisk};
use crate::{Event, LogError, events};

/// Starts a log whose only segment is `data`; the entries that came out of it, by kind of sum.
#[must_use]
pub fn decode_segment(data: &[u8]) -> [Option<usize>; 2] {
    // The salt stands in the file, so the seed of new ones changes nothing.
    start(&[(names::segment(1), data)])
}

/// Starts a log from a checkpoint that is `data`, with no segment beside it: never more than a refusal.
#[must_use]
pub fn decode_checkpoint(data: &[u8]) -> [Option<usize>; 2] {
    start(&[(names::checkpoint(1), data)])
}

/// Starts a log of two segments, the second from index 2, and a checkpoint at index 1.
#[must_use]
pub fn decode_chain(checkpoint: &[u8], first: &[u8], second: &[u8]) -> [Option<usize>; 2] {
    start(&[(names::checkpoint(1), checkpoint), (names::segment(1), first), (names::segment(2), second)])
}

fn start(files: &[(String, &[u8])]) -> [Option<usize>; 2] {
    let without = Integrity { sum: |_, _| 0, ..Integrity::default() };
    [Integrity::default(), without].map(|integrity| {
        let disk = SimDisk::new(0, Flaws::default());
        files.iter().for_each(|(name, data)| disk.put(name, data));
        open(Arc::new(disk), &integrity).ok()
    })
}

fn open(disk: Arc<dyn Disk>, integrity: &Integrity) -> Result<usize, LogError> {
    let Recovered { checkpoint, spans, .. } = recover(&disk, integrity, 16 << 10)?;
    let base = checkpoint.map_or(0, |c| c.index);
    let (events, mut reader) = events::channel();
    let reading = std::thread::spawn(move || {
        let mut entries = 0;
        while let Some(Event::Entries(more)) = reader.blocking_recv() {
            entries += more.len();
        }
        entries
    });
    Replay { disk: &disk, integrity, events: &events, base }.run(&spans)?;
    drop(events);
    Ok(reading.join().unwrap_or(0))
}
