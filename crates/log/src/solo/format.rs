//! The bytes of a segment.
//!
//! ```text
//! segment   sector 0      header: first index, salt, length, where the segment before ended
//!           sectors 1, 2  marks: "everything below this offset is synced", two so that one is always whole
//!           from 4096     batches, each starting on a sector of its own
//! batch     40 bytes      magic, header sum, body sum, body length, first index, start, count,
//!                         flags (8 bits), sectors before it that were not yet known to be synced (24 bits)
//!           body          count × (length: u32, payload)
//! ```
//!
//! All numbers are little-endian. One batch is what one turn wrote and synced, so it is accepted or refused
//! whole and carries one sum for all its commands: a sum per command could say no more.
//!
//! A batch may be written while those just before it are still being synced. Its header repeats its own offset,
//! which says "I was written for this very place", and how far before it everything was known to be synced:
//! what is damaged below that is lost for sure, what is missing above was never acknowledged. The sums are salted with the segment's random number, so a batch that an earlier life of a recycled file left
//! behind, or a copy of one inside a command, is never taken for a batch of this segment.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::{Entry, Index};

/// The unit in which a disk writes: either all of it, or none.
pub(crate) const SECTOR: usize = 512;
/// Where batches start.
pub(crate) const DATA_START: u64 = 4096;
/// Offsets of the two marks.
pub(crate) const MARKS: [u64; 2] = [SECTOR as u64, 2 * SECTOR as u64];
/// Bytes of a batch header.
pub(crate) const BATCH_HEADER: usize = 40;
/// Flag of the empty batch that ends a segment once the next one is in place.
pub(crate) const CONTINUES: u32 = 1;

/// Most bytes before a batch that are not known to be synced: what the header has room for.
pub(crate) const MAX_UNSYNCED: u64 = ((1 << 24) - 1) * SECTOR as u64;

/// No body is larger: a length above this is not believed.
pub(crate) const MAX_BODY: usize = 1 << 30;

const SEGMENT_MAGIC: [u8; 8] = *b"PTLNLOG1";
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"PTLB");
const MARK_MAGIC: u32 = u32::from_le_bytes(*b"PTLM");

/// How sums and salts are made: a value, so that tests can show what goes wrong without them.
#[derive(Clone)]
pub(crate) struct Integrity {
    /// Sum of some bytes under a salt.
    pub(crate) sum: fn(u64, &[u8]) -> u32,
    /// A new salt for a new or recycled segment.
    pub(crate) salt: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for Integrity {
    fn default() -> Self {
        Self { sum: crc32c, salt: Arc::new(random) }
    }
}

fn crc32c(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

/// Unpredictable enough that no command can be prepared to look like a batch: keyed by the system's
/// randomness.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

/// How far a segment looks ahead at a time, with marks and with zeros: 1 MiB in all but small segments.
pub(crate) fn step(segment_bytes: u64) -> u64 {
    (segment_bytes / 8).clamp(SECTOR as u64, 1 << 20)
}

/// `bytes` rounded up to whole sectors.
pub(crate) fn sectors(bytes: usize) -> usize {
    bytes.next_multiple_of(SECTOR)
}

fn put(buf: &mut [u8], at: usize, bytes: &[u8]) {
    buf[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u32_at(buf: &[u8], at: usize) -> u32 {
    (&buf[at..]).get_u32_le()
}

fn u64_at(buf: &[u8], at: usize) -> u64 {
    (&buf[at..]).get_u64_le()
}

/// What a segment says of itself. Written and synced before the file gets a segment's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Index of the first entry that it may hold.
    pub(crate) first: Index,
    /// Salt of all its sums.
    pub(crate) salt: u64,
    /// Bytes of the file.
    pub(crate) length: u64,
    /// Where the segment before ended, 0 when this is the first. All below that was synced.
    pub(crate) previous_end: u64,
}

impl SegmentHeader {
    /// Magic, sum, then the four numbers.
    pub(crate) fn encode(&self, integrity: &Integrity) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        put(&mut sector, 0, &SEGMENT_MAGIC);
        for (i, field) in [self.first, self.salt, self.length, self.previous_end].iter().enumerate() {
            put(&mut sector, 16 + 8 * i, &field.to_le_bytes());
        }
        let sum = (integrity.sum)(self.salt, &sector[12..]);
        put(&mut sector, 8, &sum.to_le_bytes());
        sector
    }

    pub(crate) fn decode(sector: &[u8], integrity: &Integrity) -> Result<Self, &'static str> {
        if sector.len() < SECTOR {
            return Err("shorter than a segment header");
        }
        if sector[..8] != SEGMENT_MAGIC {
            return Err("not the header of a log segment of this version");
        }
        let [first, salt, length, previous_end] = [16, 24, 32, 40].map(|at| u64_at(sector, at));
        if (integrity.sum)(salt, &sector[12..SECTOR]) != u32_at(sector, 8) {
            return Err("the segment header does not match its sum");
        }
        Ok(Self { first, salt, length, previous_end })
    }
}

/// What is known of a segment without reading its batches. Kept by the way: written, now and then, in the
/// same turn as a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// Everything below was synced when this was written.
    pub(crate) synced: u64,
    /// No batch starts beyond, for before one does another mark is written and synced. It bounds how far a
    /// start must look for proof that something is missing.
    pub(crate) horizon: u64,
}

impl Mark {
    /// A mark with everything below `synced` synced, in a segment that is written up to `end`.
    pub(crate) fn new(synced: u64, end: u64, segment_bytes: u64) -> Self {
        Self { synced, horizon: end + step(segment_bytes) }
    }

    pub(crate) fn encode(self, salt: u64, integrity: &Integrity) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        put(&mut sector, 0, &MARK_MAGIC.to_le_bytes());
        put(&mut sector, 8, &self.synced.to_le_bytes());
        put(&mut sector, 16, &self.horizon.to_le_bytes());
        let sum = (integrity.sum)(salt, &sector[8..24]);
        put(&mut sector, 4, &sum.to_le_bytes());
        sector
    }

    pub(crate) fn decode(sector: &[u8], salt: u64, integrity: &Integrity) -> Option<Self> {
        let whole = sector.len() >= SECTOR
            && u32_at(sector, 0) == MARK_MAGIC
            && (integrity.sum)(salt, &sector[8..24]) == u32_at(sector, 4);
        whole.then(|| Self { synced: u64_at(sector, 8), horizon: u64_at(sector, 16) })
    }
}

/// Why a batch with a good header is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It was not written to its end; a crash explains that.
    Torn(&'static str),
    /// It is whole and makes no sense; no crash explains that.
    Wrong(&'static str),
}

/// What stands before the commands of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Index of its first entry; of the next entry to come when it has none.
    pub(crate) first: Index,
    /// Its own offset.
    pub(crate) start: u64,
    /// Everything below this offset was known to be synced when it was written.
    pub(crate) synced: u64,
    /// Commands in it. None: a seal, written to prove that what stands before was synced.
    pub(crate) count: u32,
    /// [`CONTINUES`] or nothing.
    pub(crate) flags: u32,
    body_len: u32,
    body_sum: u32,
}

impl BatchHeader {
    /// Reads the header of a batch that was written at `start` under `salt`; nothing else passes.
    pub(crate) fn decode(bytes: &[u8], start: u64, salt: u64, integrity: &Integrity) -> Option<Self> {
        if bytes.len() < BATCH_HEADER || u32_at(bytes, 0) != BATCH_MAGIC || u64_at(bytes, 24) != start {
            return None;
        }
        let word = u32_at(bytes, 36);
        let header = Self {
            body_sum: u32_at(bytes, 8),
            body_len: u32_at(bytes, 12),
            first: u64_at(bytes, 16),
            start,
            synced: start.saturating_sub(u64::from(word >> 8) * SECTOR as u64),
            count: u32_at(bytes, 32),
            flags: word & 0xff,
        };
        let meant = (integrity.sum)(salt, &bytes[8..BATCH_HEADER]) == u32_at(bytes, 4);
        (meant && header.body_len as usize <= MAX_BODY).then_some(header)
    }

    /// Bytes from the header to the end of the body.
    pub(crate) fn unpadded(&self) -> usize {
        BATCH_HEADER + self.body_len as usize
    }

    /// Bytes that the batch occupies: whole sectors.
    pub(crate) fn length(&self) -> usize {
        sectors(self.unpadded())
    }

    /// Index of the entry after this batch.
    pub(crate) fn next(&self) -> Index {
        self.first.saturating_add(u64::from(self.count))
    }

    /// The entries of the batch, sharing the memory of `batch` (header and body).
    ///
    /// # Errors
    /// What is wrong with the body.
    pub(crate) fn entries(
        &self,
        batch: &Bytes,
        salt: u64,
        integrity: &Integrity,
    ) -> Result<Vec<Entry>, Flaw> {
        if batch.len() < self.unpadded() {
            return Err(Flaw::Torn("a batch goes beyond the end of the segment"));
        }
        let mut body = batch.slice(BATCH_HEADER..self.unpadded());
        if (integrity.sum)(salt, &body) != self.body_sum {
            return Err(Flaw::Torn("a batch does not match its sum"));
        }
        self.split(&mut body).map_err(Flaw::Wrong)
    }

    fn split(&self, body: &mut Bytes) -> Result<Vec<Entry>, &'static str> {
        // A length of four bytes stands before each command, which bounds the allocation by the body.
        let mut entries = Vec::with_capacity((self.count as usize).min(body.len() / 4));
        for i in 0..u64::from(self.count) {
            let length =
                body.try_get_u32_le().map_err(|_| "a batch holds fewer commands than it says")? as usize;
            if length > body.len() {
                return Err("a command goes beyond the end of its batch");
            }
            entries.push(Entry { index: self.first.saturating_add(i), payload: body.split_to(length) });
        }
        if body.is_empty() { Ok(entries) } else { Err("a batch holds more than its commands") }
    }
}

/// Bytes that a batch of these commands occupies.
pub(crate) fn batch_length(payloads: &[Bytes]) -> usize {
    sectors(BATCH_HEADER + payloads.iter().map(|p| 4 + p.len()).sum::<usize>())
}

/// Where a batch goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Index of its first command.
    pub(crate) first: Index,
    /// Offset in the segment.
    pub(crate) start: u64,
    /// As in [`BatchHeader`]: `start`, or less while batches before it are under way; by no more than
    /// [`MAX_UNSYNCED`].
    pub(crate) synced: u64,
    /// [`CONTINUES`] or nothing.
    pub(crate) flags: u32,
}

impl Place {
    /// Behind bytes that are all synced.
    pub(crate) fn quiet(first: Index, start: u64, flags: u32) -> Self {
        Self { first, start, synced: start, flags }
    }
}

/// Replaces `buf` by one batch, padded to whole sectors.
pub(crate) fn encode_batch(
    buf: &mut Vec<u8>,
    place: Place,
    payloads: &[Bytes],
    salt: u64,
    integrity: &Integrity,
) {
    buf.clear();
    buf.resize(BATCH_HEADER, 0);
    for payload in payloads {
        // Both casts hold: a command and a batch are bounded far below 4 GiB by `Config::check`.
        buf.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        buf.extend_from_slice(payload);
    }
    let body_sum = (integrity.sum)(salt, &buf[BATCH_HEADER..]);
    let body_len = (buf.len() - BATCH_HEADER) as u32;
    put(buf, 0, &BATCH_MAGIC.to_le_bytes());
    put(buf, 8, &body_sum.to_le_bytes());
    put(buf, 12, &body_len.to_le_bytes());
    let unsynced = place.start.saturating_sub(place.synced).div_ceil(SECTOR as u64) as u32;
    put(buf, 16, &place.first.to_le_bytes());
    put(buf, 24, &place.start.to_le_bytes());
    put(buf, 32, &(payloads.len() as u32).to_le_bytes());
    put(buf, 36, &(unsynced << 8 | place.flags).to_le_bytes());
    let sum = (integrity.sum)(salt, &buf[8..BATCH_HEADER]);
    put(buf, 4, &sum.to_le_bytes());
    buf.resize(sectors(buf.len()), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { first: 7, start: 4096, synced: 4096 - 512, flags: 0 };

    fn batch(payloads: &[&'static [u8]]) -> Bytes {
        let payloads: Vec<Bytes> = payloads.iter().map(|p| Bytes::from_static(p)).collect();
        let mut buf = Vec::new();
        encode_batch(&mut buf, PLACE, &payloads, 5, &Integrity::default());
        assert_eq!(buf.len(), batch_length(&payloads));
        buf.into()
    }

    #[test]
    fn a_batch_reads_back() {
        let integrity = Integrity::default();
        let bytes = batch(&[b"one", b"", b"three"]);
        let header = BatchHeader::decode(&bytes, 4096, 5, &integrity).expect("a header");
        assert_eq!((header.first, header.count, header.next(), header.length()), (7, 3, 10, SECTOR));
        assert_eq!((header.synced, header.flags), (4096 - 512, 0));
        let entries = header.entries(&bytes, 5, &integrity).expect("a body");
        let read: Vec<(Index, &[u8])> = entries.iter().map(|e| (e.index, &*e.payload)).collect();
        assert_eq!(read, [(7, &b"one"[..]), (8, b""), (9, b"three")]);
    }

    #[test]
    fn a_batch_of_another_place_or_life_does_not_pass() {
        let integrity = Integrity::default();
        let bytes = batch(&[b"one"]);
        assert_eq!(BatchHeader::decode(&bytes, 4608, 5, &integrity), None, "copied elsewhere");
        assert_eq!(BatchHeader::decode(&bytes, 4096, 6, &integrity), None, "left by an earlier life");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let integrity = Integrity::default();
        let bytes = batch(&[b"one", b"two"]);
        let length = BATCH_HEADER + 14;
        for bit in 0..length * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = Bytes::from(flipped);
            let read = BatchHeader::decode(&flipped, 4096, 5, &integrity)
                .and_then(|header| header.entries(&flipped, 5, &integrity).ok());
            assert_eq!(read, None, "bit {bit}");
        }
        let header = SegmentHeader { first: 1, salt: 2, length: 3, previous_end: 4 };
        let sector = header.encode(&integrity);
        assert_eq!(SegmentHeader::decode(&sector, &integrity), Ok(header));
        for bit in 0..SECTOR * 8 {
            let mut flipped = sector;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped, &integrity).is_err(), "bit {bit}");
        }
    }
}
