//! Opening: which checkpoint, which segments, where they end, and whether a crash explains how they end.
//!
//! Everything that a restart needs is checked before anything is told to the reader. The rule: below what
//! is proven to have been synced every byte must be good, or nothing is opened; above, what does not read
//! was never acknowledged and is cut off, with whatever stands behind it. Proof is a batch further on, a mark, the header of the next
//! segment, or a checkpoint.

use std::sync::Arc;

use super::chain::{self, Chain, Span, Tail};
use super::checkpoint;
use super::format::{CONTINUES, DATA_START, Integrity, Place, SECTOR, SegmentHeader, encode_batch};
use super::journal::{Active, Journal, prepare};
use super::names::{self, Name};
use super::scan::read_head;
use super::shelf::{Files, Finished, SPARES, Shelf};
use crate::disk::Disk;
use crate::{Checkpoint, Index, LogError};

/// A log that is ready to be replayed and written.
pub(crate) struct Recovered {
    pub(crate) checkpoint: Option<Checkpoint>,
    /// In order; the first may start with entries that the checkpoint contains.
    pub(crate) spans: Vec<Span>,
    pub(crate) journal: Journal,
    pub(crate) shelf: Shelf,
    /// Bytes of commands after the checkpoint.
    pub(crate) bytes: u64,
    pub(crate) warnings: Vec<String>,
}

/// Reads, checks and settles the log on `disk`; makes an empty one where there is nothing.
///
/// # Errors
/// [`LogError::Damaged`] when something synced is not there any more, [`LogError::Io`].
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    integrity: &Integrity,
    segment_bytes: u64,
) -> Result<Recovered, LogError> {
    // What an earlier process did to the directory must hold before it is built upon.
    disk.sync_dir().map_err(|e| LogError::io("sync directory", disk.path(""), e))?;
    let (segments, mut files) = take_stock(&**disk, segment_bytes)?;
    let proven = files.checkpoints.last().copied().unwrap_or(0);
    let Loaded { checkpoint, mut bad } = load_newest(&**disk, integrity, &files.checkpoints);
    let base = checkpoint.as_ref().map_or(0, |c| c.index);
    let empty = segments.is_empty() && proven == 0 && files.next_spare == 0;
    let chain = if empty {
        start(&**disk, integrity, segment_bytes)
    } else {
        chain::check(&**disk, integrity, &segments, (base, proven))
    };
    // When the entries since an older checkpoint are not there either, the newest one is what is wrong.
    let chain = chain.map_err(|error| if bad.is_empty() { error } else { bad.swap_remove(0).1 })?;
    files.checkpoints.truncate(files.checkpoints.len() - bad.len());
    files.finished = finished(&segments);
    let mut warnings = set_aside(&**disk, &bad, base)?;
    warnings.extend(chain.torn);
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    finish_rotation(&**disk, integrity, &segments, &chain.active)?;
    let shelf = Shelf::new(Arc::clone(disk), files);
    let mut journal = Journal::new(
        Arc::clone(disk),
        integrity.clone(),
        segment_bytes,
        shelf.clone(),
        (chain.active, chain.next),
    );
    journal.settle(&chain.tail)?;
    Ok(Recovered { checkpoint, spans: chain.spans, journal, shelf, bytes: chain.bytes, warnings })
}

/// A crash may have come between putting a segment in place and saying so in the one before. It is said
/// now, before anything is written: without it nobody would miss the new segment.
fn finish_rotation(
    disk: &dyn Disk,
    integrity: &Integrity,
    segments: &[Index],
    active: &Active,
) -> Result<(), LogError> {
    let header = active.head.header;
    let before = segments.iter().rev().find(|&&first| first < header.first);
    let (Some(before), DATA_START) = (before, active.end) else { return Ok(()) };
    let name = names::segment(*before);
    let finish = || {
        let mut file = disk.open(&name)?;
        // One that does not read is not needed either: what is needed was checked.
        let Ok(head) = read_head(&*file, integrity)? else { return Ok(()) };
        if head.header.length.saturating_sub(SECTOR as u64) < header.previous_end {
            return Ok(());
        }
        let mut buf = Vec::new();
        encode_batch(
            &mut buf,
            Place::quiet(header.first, header.previous_end, CONTINUES),
            &[],
            head.header.salt,
            integrity,
        );
        file.write_at(header.previous_end, &buf)?;
        file.sync()
    };
    finish().map_err(|e| LogError::io("finish segment", disk.path(&name), e))
}

/// Sorts the files by what they are; removes what was not finished and spares that do not fit.
fn take_stock(disk: &dyn Disk, segment_bytes: u64) -> Result<(Vec<Index>, Files), LogError> {
    let (mut segments, mut files) = (Vec::new(), Files::default());
    let names = disk.list().map_err(|e| LogError::io("list", disk.path(""), e))?;
    for name in names {
        let kept = match Name::parse(&name) {
            Name::Segment(first) => {
                segments.push(first);
                true
            }
            Name::Checkpoint(index) => {
                files.checkpoints.push(index);
                true
            }
            Name::Spare(number) => {
                files.next_spare = files.next_spare.max(number);
                let fits = disk.open(&name).and_then(|file| file.size()).is_ok_and(|n| n == segment_bytes);
                let kept = fits && files.spares.len() < SPARES;
                files.spares.extend(kept.then(|| name.clone()));
                kept
            }
            Name::Unfinished => false,
            Name::Foreign => true,
        };
        if !kept {
            disk.remove(&name).map_err(|e| LogError::io("remove", disk.path(&name), e))?;
        }
    }
    segments.sort_unstable();
    files.checkpoints.sort_unstable();
    Ok((segments, files))
}

/// All but the newest segment, which is being written.
fn finished(segments: &[Index]) -> Vec<Finished> {
    segments.windows(2).map(|pair| Finished { first: pair[0], last: pair[1] - 1 }).collect()
}

struct Loaded {
    checkpoint: Option<Checkpoint>,
    /// Newer ones that are no good, newest first.
    bad: Vec<(Index, LogError)>,
}

fn load_newest(disk: &dyn Disk, integrity: &Integrity, indexes: &[Index]) -> Loaded {
    let mut bad = Vec::new();
    for &index in indexes.iter().rev() {
        match load(disk, integrity, index) {
            Ok(state) => return Loaded { checkpoint: Some(Checkpoint { index, state }), bad },
            Err(error) => bad.push((index, error)),
        }
    }
    Loaded { checkpoint: None, bad }
}

/// Reads one checkpoint by its index.
///
/// # Errors
/// [`LogError::Damaged`] with the place, [`LogError::Io`].
pub(crate) fn load(disk: &dyn Disk, integrity: &Integrity, index: Index) -> Result<bytes::Bytes, LogError> {
    let name = names::checkpoint(index);
    let io = |e| LogError::io("read", disk.path(&name), e);
    let file = disk.open(&name).map_err(io)?;
    let synced = file.size().map_err(io)?;
    let damaged = |(offset, what)| LogError::Damaged { path: disk.path(&name), offset, synced, what };
    let (found, state) = checkpoint::load(&*file, integrity).map_err(io)?.map_err(damaged)?;
    if found == index { Ok(state) } else { Err(damaged((0, "the header belongs under another name"))) }
}

/// Puts checkpoints that do not read out of the way, and says so.
fn set_aside(disk: &dyn Disk, bad: &[(Index, LogError)], base: Index) -> Result<Vec<String>, LogError> {
    let mut warnings = Vec::new();
    for (index, error) in bad {
        let name = names::checkpoint(*index);
        let aside = names::damaged(&name);
        disk.rename(&name, &aside).map_err(|e| LogError::io("set aside", disk.path(&name), e))?;
        let error = crate::error_chain(error);
        warnings.push(format!("{error}. Started from index {base} instead; the file is kept as {aside}"));
    }
    Ok(warnings)
}

/// The first segment of an empty log.
fn start(disk: &dyn Disk, integrity: &Integrity, segment_bytes: u64) -> Result<Chain, LogError> {
    let header = SegmentHeader { first: 1, salt: (integrity.salt)(), length: segment_bytes, previous_end: 0 };
    let active = prepare(disk, integrity, header, None)?;
    debug_assert_eq!(active.end, DATA_START);
    Ok(Chain { spans: Vec::new(), active, next: 1, tail: Tail::default(), bytes: 0, torn: None })
}
