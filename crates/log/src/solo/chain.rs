//! The segments that a start needs: whole, without a gap, and ending where a crash may end them.

use std::io;

use super::format::{BatchHeader, CONTINUES, DATA_START, Integrity, SECTOR, SegmentHeader};
use super::journal::Active;
use super::names;
use super::scan::{Bad, Found, Head, Scan, headers, read_head};
use crate::disk::{Disk, DiskFile, ReadAt};
use crate::{Index, LogError};

/// A part of the log to be replayed.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) header: SegmentHeader,
    pub(crate) end: u64,
}

/// Everything from the checkpoint on, checked.
pub(crate) struct Chain {
    /// In order; the first may start with entries that the checkpoint contains.
    pub(crate) spans: Vec<Span>,
    pub(crate) active: Active,
    /// Index of the entry that comes next.
    pub(crate) next: Index,
    /// How the active segment ends.
    pub(crate) tail: Tail,
    /// Bytes of commands after the checkpoint.
    pub(crate) bytes: u64,
    /// What was cut, in words.
    pub(crate) torn: Option<String>,
}

/// How the active segment ends, and what must be done about it before anything is built upon it.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Everything below is known to be synced; from here on it may be in the page cache alone.
    pub(crate) synced: u64,
    /// The last batch is a seal, or there is none.
    pub(crate) sealed: bool,
    /// Headers of batches behind the end, which were under way when a batch before them was lost. They would
    /// be found again behind another batch of the same length.
    pub(crate) stale: Vec<u64>,
}

impl Default for Tail {
    fn default() -> Self {
        Self { synced: DATA_START, sealed: true, stale: Vec::new() }
    }
}

/// Checks the segments (first indexes, ascending) that hold what comes after `base`. `proven` is the highest
/// index that is known to have been synced.
///
/// # Errors
/// [`LogError::Damaged`] when something synced is not there any more, [`LogError::Io`].
pub(crate) fn check(
    disk: &dyn Disk,
    integrity: &Integrity,
    segments: &[Index],
    (base, proven): (Index, Index),
) -> Result<Chain, LogError> {
    let mut finished = open_all(disk, integrity, segments, base)?;
    let Some(Opened { name, file, head }) = finished.pop() else {
        let missing = Fault::damage((0, "the file is missing"), SECTOR as u64);
        return Err(missing.of(disk, &names::segment(base + 1)));
    };
    let successors = finished.iter().skip(1).map(|s| s.head).chain([head]).collect::<Vec<_>>();
    let (mut bytes, mut spans) = (0, Vec::new());
    for (segment, successor) in finished.into_iter().zip(successors) {
        // Not beyond the file, whatever the successor says: memory is bounded by what is there.
        let end = successor.header.previous_end.min(segment.head.header.length);
        let mut walk = Walk::new(&*segment.file, &segment.head, end, base, integrity);
        walk.finished(successor.header).map_err(|fault| fault.of(disk, &segment.name))?;
        bytes += walk.bytes;
        spans.push(Span { name: segment.name, header: segment.head.header, end });
    }
    let mut walk = Walk::new(&*file, &head, head.header.length, base, integrity);
    let (torn, stale) = walk.active(&head, proven.max(base)).map_err(|fault| fault.of(disk, &name))?;
    let (next, end, last) = (walk.scan.next, walk.scan.at, walk.last);
    let tail = Tail {
        synced: last.map_or(DATA_START, |batch| batch.synced.max(DATA_START)),
        sealed: last.is_none_or(|batch| batch.count == 0),
        stale,
    };
    bytes += walk.bytes;
    let torn = torn.map(|what| format!("{}: cut a torn tail at byte {end} ({what})", disk.path(&name)));
    spans.push(Span { name, header: head.header, end });
    Ok(Chain { spans, active: Active { file, head, end, written: end }, next, tail, bytes, torn })
}

struct Opened {
    name: String,
    file: Box<dyn DiskFile>,
    head: Head,
}

/// Opens the segments from the one that may hold the entry after `base`. None when there is none.
fn open_all(
    disk: &dyn Disk,
    integrity: &Integrity,
    segments: &[Index],
    base: Index,
) -> Result<Vec<Opened>, LogError> {
    let begin = segments.partition_point(|&first| first <= base + 1);
    let needed = begin.checked_sub(1).and_then(|i| segments.get(i..)).unwrap_or_default();
    let open = |&first: &Index| {
        let name = names::segment(first);
        let open = || -> Result<_, Fault> {
            let file = disk.open(&name)?;
            let head =
                read_head(&*file, integrity)?.map_err(|bad| Fault::damage(bad, bad.0 + SECTOR as u64))?;
            if head.header.first != first {
                return Err(Fault::damage((0, "the header belongs under another name"), SECTOR as u64));
            }
            Ok((file, head))
        };
        let (file, head) = open().map_err(|fault| fault.of(disk, &name))?;
        Ok(Opened { name, file, head })
    };
    needed.iter().map(open).collect()
}

/// What stands in the way of a start.
#[derive(Debug)]
enum Fault {
    Io(io::Error),
    Damage { bad: Bad, synced: u64 },
}

impl From<io::Error> for Fault {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

impl Fault {
    fn damage(bad: Bad, synced: u64) -> Self {
        Self::Damage { bad, synced }
    }

    fn of(self, disk: &dyn Disk, name: &str) -> LogError {
        let path = disk.path(name);
        match self {
            Self::Io(cause) => LogError::io("read segment", path, cause),
            Self::Damage { bad: (offset, what), synced } => LogError::Damaged { path, offset, synced, what },
        }
    }
}

struct Walk<'a> {
    file: &'a dyn ReadAt,
    integrity: &'a Integrity,
    scan: Scan<'a>,
    base: Index,
    last: Option<BatchHeader>,
    bytes: u64,
}

impl<'a> Walk<'a> {
    fn new(file: &'a dyn DiskFile, head: &Head, end: u64, base: Index, integrity: &'a Integrity) -> Self {
        let scan = Scan::new(file, &head.header, end, integrity);
        Self { file, integrity, scan, base, last: None, bytes: 0 }
    }

    /// Goes over all good batches; answers what stands behind them.
    fn run(&mut self) -> io::Result<Found> {
        loop {
            match self.scan.step()? {
                Found::Batch(header, entries) if header.flags != CONTINUES => {
                    let after = entries.iter().filter(|entry| entry.index > self.base);
                    self.bytes += after.map(|entry| entry.payload.len() as u64).sum::<u64>();
                    self.last = Some(header);
                }
                other => return Ok(other),
            }
        }
    }

    /// A segment with a successor: whole up to the end that the successor remembers.
    fn finished(&mut self, successor: SegmentHeader) -> Result<(), Fault> {
        let end = successor.previous_end;
        let what = match self.run()? {
            Found::Nothing if self.scan.at == end && self.scan.next == successor.first => return Ok(()),
            Found::Nothing if self.scan.at == end => "the next segment does not continue its indexes",
            Found::Nothing => "there is no batch where one was written",
            Found::Torn(what) | Found::Wrong(what) => what,
            Found::Batch(..) => "it says that it continues in a segment before the one that is there",
        };
        Err(Fault::damage((self.scan.at, what), end))
    }

    /// The last segment: ends where no batch follows, unless something proves that one was synced. Answers
    /// what was torn there, if anything shows, and where headers of batches stand behind it.
    fn active(&mut self, head: &Head, proven: Index) -> Result<(Option<&'static str>, Vec<u64>), Fault> {
        let found = self.run()?;
        let at = self.scan.at;
        let what = match found {
            Found::Batch(header, _) => {
                let what = "it says that it continues in a next segment, which is missing";
                return Err(Fault::damage((header.start, what), header.start));
            }
            Found::Wrong(what) => return Err(Fault::damage((at, what), at)),
            Found::Torn(what) => what,
            Found::Nothing => "there is no batch where one was written",
        };
        if head.mark.synced > at {
            return Err(Fault::damage((at, what), head.mark.synced));
        }
        let behind = self.behind(head, at)?;
        if let Some(proof) = behind.iter().find(|header| header.synced > at) {
            return Err(Fault::damage((at, what), proof.synced));
        }
        if self.scan.next <= proven {
            return Err(Fault::damage((at, "entries that a checkpoint contains are missing"), at));
        }
        let torn = matches!(found, Found::Torn(_)).then_some(what);
        let gap = (!behind.is_empty()).then_some("batches that were under way with it are there");
        Ok((torn.or(gap), behind.iter().map(|header| header.start).collect()))
    }

    /// Headers of batches behind `at`.
    fn behind(&self, head: &Head, at: u64) -> io::Result<Vec<BatchHeader>> {
        let length = head.header.length;
        let limit =
            if head.exact { length.min(head.mark.horizon.saturating_add(SECTOR as u64)) } else { length };
        headers(self.file, head.header.salt, (at + SECTOR as u64, limit), self.integrity)
    }
}
