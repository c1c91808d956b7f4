//! Writing: batch after batch at the end of the active segment, and the step to the next segment.
//!
//! A batch goes by a lane of its own while others are under way ([`Journal::write`]), or, when more than the
//! batch must be written, after all others have landed ([`Journal::append`]). After an error the journal must not be used again:
//! what the failed write or sync left on the disk is unknown, and only opening anew finds out.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::chain::Tail;
use super::flights::Flight;
use super::format::{
    CONTINUES, DATA_START, Integrity, MARKS, MAX_UNSYNCED, Mark, Place, SECTOR, SegmentHeader, batch_length,
    encode_batch, step,
};
use super::lane::Lane;
use super::names::{self, NEW_SEGMENT};
use super::scan::Head;
use super::shelf::{Finished, Shelf};
use crate::disk::{Disk, DiskFile};
use crate::{Index, LogError};

/// Largest batch that has zeros written behind it. A sync of blocks that were reserved and never written has
/// to record that they are written now, which costs the file system a commit of its own; so they are written
/// ahead, step by step. Large batches would only write everything twice.
const SMALL_BATCH: usize = 64 << 10;

/// A larger buffer is given back after its batch.
const KEPT: usize = 1 << 20;

/// Sectors that entries leave free at the end of a segment: one for a seal, one to say that it continues.
pub(crate) const RESERVED: u64 = 2 * SECTOR as u64;

/// The segment that is being written.
pub(crate) struct Active {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) head: Head,
    /// Where the next batch goes.
    pub(crate) end: u64,
    /// Below this the file system has written the blocks before, as far as is known.
    pub(crate) written: u64,
}

/// Syncs done, and the time they took in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Syncs {
    pub(crate) count: u64,
    pub(crate) time: Duration,
}

impl Syncs {
    /// Counts more.
    pub(crate) fn add(&mut self, more: Self) {
        self.count += more.count;
        self.time += more.time;
    }
}

pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    integrity: Integrity,
    segment_bytes: u64,
    shelf: Shelf,
    active: Active,
    next: Index,
    /// The last batch is a seal or there is none: all entries are proven to have been synced.
    sealed: bool,
    syncs: Syncs,
    buf: Vec<u8>,
}

impl Journal {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        integrity: Integrity,
        segment_bytes: u64,
        shelf: Shelf,
        (active, next): (Active, Index),
    ) -> Self {
        Self {
            disk,
            integrity,
            segment_bytes,
            shelf,
            active,
            next,
            sealed: false,
            syncs: Syncs::default(),
            buf: Vec::new(),
        }
    }

    /// Index of the entry that comes next.
    pub(crate) fn next(&self) -> Index {
        self.next
    }

    /// Syncs done by the journal itself since they were last taken.
    pub(crate) fn syncs(&self) -> Syncs {
        self.syncs
    }

    /// As [`Journal::syncs`], which starts again from none.
    pub(crate) fn take_syncs(&mut self) -> Syncs {
        std::mem::take(&mut self.syncs)
    }

    pub(crate) fn sealed(&self) -> bool {
        self.sealed
    }

    /// Writes again what was found at the end, clears what stands behind it, and syncs. It may be in the page
    /// cache alone: a process was killed before its sync, or the sync failed and the kernel called the pages
    /// clean all the same. Nothing may be told to anyone before this.
    pub(crate) fn settle(&mut self, tail: &Tail) -> Result<(), LogError> {
        let (mut at, end) = (tail.synced, self.active.end);
        let mut buf = vec![0; usize::try_from(end.saturating_sub(at)).unwrap_or(KEPT).min(KEPT)];
        while at < end {
            let n = buf.len().min(usize::try_from(end - at).unwrap_or(KEPT));
            let read = self.active.file.read_at(at, &mut buf[..n]);
            let whole = read
                .and_then(|read| if read == n { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) });
            whole.map_err(|e| self.error("read", e))?;
            self.write_at(at, &buf[..n])?;
            at += n as u64;
        }
        for &header in &tail.stale {
            self.write_at(header, &[0; SECTOR])?;
        }
        self.write_mark(tail.synced.max(self.active.head.mark.synced), end)?;
        self.sync()?;
        self.sealed = tail.sealed;
        Ok(())
    }

    /// The horizon of the newest mark that was written; durable, after anything but [`Journal::write`].
    pub(crate) fn horizon(&self) -> u64 {
        self.active.head.mark.horizon
    }

    /// Whether [`Journal::write`] may write these: they end in this segment, below the durable `horizon`.
    pub(crate) fn has_room_for(&self, payloads: &[Bytes], horizon: u64) -> bool {
        let end = self.active.end + batch_length(payloads) as u64;
        end <= horizon && end + RESERVED <= self.active.head.header.length
    }

    /// Writes one batch by `lane`, which must sync before anything of it is acknowledged. Everything below
    /// `synced` is durable; none when everything is. There must be room below `horizon`, the durable one.
    ///
    /// Halfway to the horizon, the next mark and zeros go with a batch, so that they are durable before they are
    /// needed and no batch waits for them.
    pub(crate) fn write(
        &mut self,
        lane: &mut Lane,
        payloads: Vec<Bytes>,
        (synced, horizon): (Option<u64>, u64),
    ) -> Result<Flight, LogError> {
        let (first, start, header) = (self.next, self.active.end, self.active.head.header);
        let synced = synced.unwrap_or(start);
        debug_assert!(self.has_room_for(&payloads, horizon) && start - synced <= MAX_UNSYNCED);
        let mut buf = std::mem::take(&mut self.buf);
        let place = Place { first, start, synced, flags: 0 };
        encode_batch(&mut buf, place, &payloads, header.salt, &self.integrity);
        let end = start + buf.len() as u64;
        lane.write(header.first, start, &buf)?;
        let is_small = buf.len() <= SMALL_BATCH;
        let is_near = end + step(header.length) / 2 > horizon || (is_small && end > self.active.written);
        let is_due = is_near && self.horizon() == horizon;
        if is_due {
            let (at, sector) = self.next_mark(synced, end);
            lane.write(header.first, at, &sector)?;
            if is_small {
                let (from, zeros) = self.zeros_behind(end);
                lane.write(header.first, from, &zeros)?;
            }
        }
        self.active.end = end;
        self.next += payloads.len() as u64;
        self.sealed = false;
        self.keep(buf);
        Ok(Flight { start, first, payloads, horizon: is_due.then(|| self.horizon()) })
    }

    /// Writes one batch and syncs; nothing may be under way. Its entries start at the answer.
    pub(crate) fn append(&mut self, payloads: &[Bytes]) -> Result<Index, LogError> {
        let length = batch_length(payloads) as u64;
        if self.active.end + length + RESERVED > self.active.head.header.length {
            self.rotate()?;
        }
        let first = self.next;
        self.put(payloads, 0)?;
        self.next += payloads.len() as u64;
        self.sealed = false;
        Ok(first)
    }

    /// Writes an empty batch, so that damage to the batch before it is never taken for a torn tail.
    pub(crate) fn seal(&mut self) -> Result<(), LogError> {
        if !self.sealed {
            self.put(&[], 0)?;
            self.sealed = true;
        }
        Ok(())
    }

    fn put(&mut self, payloads: &[Bytes], flags: u32) -> Result<(), LogError> {
        let (start, salt) = (self.active.end, self.active.head.header.salt);
        let mut buf = std::mem::take(&mut self.buf);
        encode_batch(&mut buf, Place::quiet(self.next, start, flags), payloads, salt, &self.integrity);
        let end = start + buf.len() as u64;
        let is_beyond = end > self.active.head.mark.horizon;
        if is_beyond {
            self.write_mark(start, end)?;
        }
        self.write_at(start, &buf)?;
        if (is_beyond || end > self.active.written) && buf.len() <= SMALL_BATCH {
            let (from, zeros) = self.zeros_behind(end);
            self.write_at(from, &zeros)?;
        }
        self.sync()?;
        self.active.end = end;
        self.keep(buf);
        Ok(())
    }

    fn keep(&mut self, buf: Vec<u8>) {
        if buf.capacity() <= KEPT {
            self.buf = buf;
        }
    }

    /// Zeros for the step behind `end`, and where they go; what was zeroed before is left out.
    fn zeros_behind(&mut self, end: u64) -> (u64, Vec<u8>) {
        let length = self.active.head.header.length;
        let (from, to) = (end.max(self.active.written), (end + step(length)).min(length));
        self.active.written = to.max(self.active.written);
        (from, vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)])
    }

    /// Over the older of the two marks, so that a torn write leaves the other.
    fn next_mark(&mut self, synced: u64, end: u64) -> (u64, [u8; SECTOR]) {
        let head = &mut self.active.head;
        head.mark = Mark::new(synced, end, head.header.length);
        let (at, sector) = (MARKS[head.slot], head.mark.encode(head.header.salt, &self.integrity));
        head.slot = 1 - head.slot;
        (at, sector)
    }

    fn write_mark(&mut self, synced: u64, end: u64) -> Result<(), LogError> {
        let (at, sector) = self.next_mark(synced, end);
        self.write_at(at, &sector)
    }

    /// Puts the next segment in place and then says so in this one.
    fn rotate(&mut self) -> Result<(), LogError> {
        let header = SegmentHeader {
            first: self.next,
            salt: (self.integrity.salt)(),
            length: self.segment_bytes,
            previous_end: self.active.end,
        };
        let active = prepare(&*self.disk, &self.integrity, header, self.shelf.take_spare())?;
        self.syncs.count += 1;
        self.put(&[], CONTINUES)?;
        let finished = Finished { first: self.active.head.header.first, last: self.next - 1 };
        self.shelf.finish(finished);
        self.active = active;
        Ok(())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), LogError> {
        self.active.file.write_at(at, bytes).map_err(|e| self.error("write to segment", e))
    }

    fn sync(&mut self) -> Result<(), LogError> {
        let start = Instant::now();
        self.active.file.sync().map_err(|e| self.error("sync segment", e))?;
        self.syncs.count += 1;
        self.syncs.time += start.elapsed();
        Ok(())
    }

    fn error(&self, attempted: &'static str, cause: io::Error) -> LogError {
        LogError::io(attempted, self.disk.path(&names::segment(self.active.head.header.first)), cause)
    }
}

/// Makes a segment, out of a spare where there is one. It gets its name only when its header is durable: a
/// file under a segment's name has a good header, or is damaged.
pub(crate) fn prepare(
    disk: &dyn Disk,
    integrity: &Integrity,
    header: SegmentHeader,
    spare: Option<String>,
) -> Result<Active, LogError> {
    let name = names::segment(header.first);
    let error = |attempted, cause| LogError::io(attempted, disk.path(&name), cause);
    let written = if spare.is_some() { header.length } else { DATA_START };
    let (mut file, from) = match spare {
        Some(spare) => (disk.open(&spare).map_err(|e| error("reuse a spare file for", e))?, spare),
        None => {
            let mut file = disk.create(NEW_SEGMENT).map_err(|e| error("create", e))?;
            file.reserve(header.length).map_err(|e| error("reserve space for", e))?;
            (file, NEW_SEGMENT.to_owned())
        }
    };
    let mark = Mark::new(DATA_START, DATA_START, header.length);
    let marks = mark.encode(header.salt, integrity);
    let start = [header.encode(integrity), marks, marks].concat();
    file.write_at(0, &start).map_err(|e| error("write the header of", e))?;
    file.sync().map_err(|e| error("sync the header of", e))?;
    disk.rename(&from, &name).map_err(|e| error("name", e))?;
    disk.sync_dir().map_err(|e| error("sync the directory of", e))?;
    let head = Head { header, mark, slot: 0, exact: true };
    Ok(Active { file, head, end: DATA_START, written })
}
