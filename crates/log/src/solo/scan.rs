//! Reading a segment from its start, in bounded memory.

use std::io;

use bytes::Bytes;

use super::format::{
    BATCH_HEADER, BatchHeader, DATA_START, Flaw, Integrity, MARKS, Mark, SECTOR, SegmentHeader,
};
use crate::disk::ReadAt;
use crate::{Entry, Index};

/// Reads at a time: small at first, because most segments at a start are nearly empty.
const FIRST_READ: usize = 64 << 10;
const LARGEST_READ: usize = 1 << 20;

/// A segment's header and marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) header: SegmentHeader,
    /// The newer mark.
    pub(crate) mark: Mark,
    /// The slot to write next: the one that holds the older mark.
    pub(crate) slot: usize,
    /// Both marks are whole, so `mark` is the newest that was synced, or newer.
    pub(crate) exact: bool,
}

/// A place and what is wrong there.
pub(crate) type Bad = (u64, &'static str);

/// Reads the first sectors of a segment.
pub(crate) fn read_head(file: &dyn ReadAt, integrity: &Integrity) -> io::Result<Result<Head, Bad>> {
    let mut bytes = [0; 3 * SECTOR];
    let n = file.read_at(0, &mut bytes)?;
    let header = match SegmentHeader::decode(&bytes[..n], integrity) {
        Ok(header) => header,
        Err(what) => return Ok(Err((0, what))),
    };
    let length = file.size()?;
    if length < header.length {
        return Ok(Err((length, "the file is shorter than its header says")));
    }
    let marks =
        MARKS.map(|at| bytes[..n].get(at as usize..).and_then(|s| Mark::decode(s, header.salt, integrity)));
    let (mark, slot, exact) = match marks {
        [Some(a), Some(b)] => (a.max(b), usize::from(a >= b), true),
        [Some(a), None] => (a, 1, false),
        [None, Some(b)] => (b, 0, false),
        [None, None] => return Ok(Err((MARKS[0], "both marks are damaged"))),
    };
    Ok(Ok(Head { header, mark, slot, exact }))
}

/// What stands at the place that a [`Scan`] looks at.
#[derive(Debug)]
pub(crate) enum Found {
    /// A whole batch; the scan has moved behind it.
    Batch(BatchHeader, Vec<Entry>),
    /// No batch: the end of what was written, a torn header, or damage.
    Nothing,
    /// The header of a batch whose body is not whole.
    Torn(&'static str),
    /// A whole batch that makes no sense.
    Wrong(&'static str),
}

/// Walks the batches of one segment. Memory is bounded by [`LARGEST_READ`] or the largest batch.
pub(crate) struct Scan<'a> {
    file: &'a dyn ReadAt,
    integrity: &'a Integrity,
    salt: u64,
    /// Where the next batch would start.
    pub(crate) at: u64,
    /// Index that it would start with.
    pub(crate) next: Index,
    end: u64,
    block: Bytes,
    block_at: u64,
    read: usize,
}

impl<'a> Scan<'a> {
    /// A walk over `[DATA_START, end)`.
    pub(crate) fn new(
        file: &'a dyn ReadAt,
        header: &SegmentHeader,
        end: u64,
        integrity: &'a Integrity,
    ) -> Self {
        Self {
            file,
            integrity,
            salt: header.salt,
            at: DATA_START,
            next: header.first,
            end,
            block: Bytes::new(),
            block_at: DATA_START,
            read: FIRST_READ,
        }
    }

    /// What comes next. Moves only over whole batches that continue the order.
    pub(crate) fn step(&mut self) -> io::Result<Found> {
        let head = self.bytes(BATCH_HEADER)?;
        let Some(header) = BatchHeader::decode(&head, self.at, self.salt, self.integrity) else {
            return Ok(Found::Nothing);
        };
        if header.first != self.next {
            return Ok(Found::Wrong("the index of a batch does not continue the order"));
        }
        let batch = self.bytes(header.unpadded())?;
        Ok(match header.entries(&batch, self.salt, self.integrity) {
            Ok(entries) => {
                self.at += header.length() as u64;
                self.next = header.next();
                Found::Batch(header, entries)
            }
            Err(Flaw::Torn(what)) => Found::Torn(what),
            Err(Flaw::Wrong(what)) => Found::Wrong(what),
        })
    }

    /// `want` bytes from where the scan stands, fewer at the end.
    fn bytes(&mut self, want: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let want = want.min(left);
        let held = usize::try_from(self.at.saturating_sub(self.block_at)).unwrap_or(usize::MAX);
        if self.at >= self.block_at && self.block.len() >= held.saturating_add(want) {
            return Ok(self.block.slice(held..held + want));
        }
        let mut buf = vec![0; want.max(self.read.min(left))];
        let n = self.file.read_at(self.at, &mut buf)?;
        buf.truncate(n);
        self.read = (self.read * 2).min(LARGEST_READ);
        self.block = buf.into();
        self.block_at = self.at;
        Ok(self.block.slice(..want.min(n)))
    }
}

/// All batch headers in `[from, to)`. There are no more than were ever written there: few, and none at all
/// unless something went wrong.
pub(crate) fn headers(
    file: &dyn ReadAt,
    salt: u64,
    (from, to): (u64, u64),
    integrity: &Integrity,
) -> io::Result<Vec<BatchHeader>> {
    let region = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    let (mut buf, mut found) = (vec![0; region.min(LARGEST_READ)], Vec::new());
    let mut at = from;
    while at < to {
        let want = usize::try_from(to - at).unwrap_or(usize::MAX).min(LARGEST_READ);
        let n = file.read_at(at, &mut buf[..want])?;
        for (i, sector) in buf[..n].chunks(SECTOR).enumerate() {
            found.extend(BatchHeader::decode(sector, at + (i * SECTOR) as u64, salt, integrity));
        }
        if n < want {
            break;
        }
        at += n as u64;
    }
    Ok(found)
}
