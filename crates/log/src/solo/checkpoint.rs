//! One checkpoint: a file of its own, in chunks with a sum each.
//!
//! ```text
//! header    magic (8), sum (4), zero (4), index (8), salt (8)
//! chunk     length (4), sum (4), bytes; the sum also covers the chunk's number
//! end       a chunk of length 0 whose sum covers the number of chunks, and then the end of the file
//! ```
//!
//! It is written under another name, synced, read back, renamed, and its directory synced. So a file under a
//! checkpoint's name was whole once, and one that is not whole now is damaged.

use std::io::{self, Write};

use bytes::{Buf, Bytes};

use super::format::Integrity;
use super::scan::Bad;
use crate::Index;
use crate::disk::{DiskFile, ReadAt};

const MAGIC: [u8; 8] = *b"PTLNCKP1";
const HEADER: usize = 32;
const CHUNK_HEADER: usize = 8;
/// Bytes of state per chunk.
const CHUNK: usize = 1 << 20;

fn chunk_sum(integrity: &Integrity, salt: u64, number: u64, bytes: &[u8]) -> u32 {
    // The number goes into the salt, so that chunks cannot change places.
    (integrity.sum)(salt.wrapping_add(number), bytes)
}

/// Writes a state as chunks.
pub(crate) struct Writer<'a> {
    file: &'a mut dyn DiskFile,
    integrity: &'a Integrity,
    salt: u64,
    at: u64,
    number: u64,
    /// A chunk in the making, behind room for its header.
    chunk: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        file: &'a mut dyn DiskFile,
        index: Index,
        integrity: &'a Integrity,
    ) -> io::Result<Self> {
        let salt = (integrity.salt)();
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&index.to_le_bytes());
        header.extend_from_slice(&salt.to_le_bytes());
        let sum = (integrity.sum)(salt, &header);
        file.write_at(0, &[&MAGIC[..], &sum.to_le_bytes(), &header].concat())?;
        let chunk = vec![0; CHUNK_HEADER];
        Ok(Self { file, integrity, salt, at: HEADER as u64, number: 0, chunk })
    }

    /// Writes what is left and the end, and makes all of it durable.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if self.chunk.len() > CHUNK_HEADER {
            self.put_chunk()?;
        }
        self.put_chunk()?;
        self.file.sync()
    }

    fn put_chunk(&mut self) -> io::Result<()> {
        // A chunk is at most `CHUNK` long, so its length fits.
        let length = (self.chunk.len() - CHUNK_HEADER) as u32;
        let sum = chunk_sum(self.integrity, self.salt, self.number, &self.chunk[CHUNK_HEADER..]);
        self.chunk[..4].copy_from_slice(&length.to_le_bytes());
        self.chunk[4..CHUNK_HEADER].copy_from_slice(&sum.to_le_bytes());
        self.file.write_at(self.at, &self.chunk)?;
        self.at += self.chunk.len() as u64;
        self.number += 1;
        self.chunk.truncate(CHUNK_HEADER);
        Ok(())
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(CHUNK_HEADER + CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&buf[..n]);
        if self.chunk.len() == CHUNK_HEADER + CHUNK {
            self.put_chunk()?;
        }
        Ok(n)
    }

    /// Nothing: a checkpoint is durable as a whole or not at all.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a checkpoint, chunk by chunk. `take` gets the bytes of each; memory is bounded by one chunk.
///
/// # Errors
/// `Err` when the disk does not read; `Ok(Err)` with place and reason when the file is damaged.
pub(crate) fn read(
    file: &dyn ReadAt,
    integrity: &Integrity,
    mut take: impl FnMut(&[u8]),
) -> io::Result<Result<Index, Bad>> {
    let mut header = [0; HEADER];
    if file.read_at(0, &mut header)? < HEADER {
        return Ok(Err((0, "shorter than a checkpoint header")));
    }
    let (index, salt) = ((&header[16..]).get_u64_le(), (&header[24..]).get_u64_le());
    if header[..8] != MAGIC {
        return Ok(Err((0, "not a checkpoint of this version")));
    }
    if (integrity.sum)(salt, &header[12..]) != (&header[8..]).get_u32_le() {
        return Ok(Err((0, "the checkpoint header does not match its sum")));
    }
    let mut at = HEADER as u64;
    let mut chunk = vec![0; CHUNK];
    for number in 0.. {
        let mut head = [0; CHUNK_HEADER];
        let whole = file.read_at(at, &mut head)? == CHUNK_HEADER;
        let length = (&head[..]).get_u32_le() as usize;
        if !whole || length > CHUNK || file.read_at(at + CHUNK_HEADER as u64, &mut chunk[..length])? < length
        {
            return Ok(Err((at, "the checkpoint ends too early")));
        }
        if chunk_sum(integrity, salt, number, &chunk[..length]) != (&head[4..]).get_u32_le() {
            return Ok(Err((at, "a chunk does not match its sum")));
        }
        at += (CHUNK_HEADER + length) as u64;
        if length == 0 {
            break;
        }
        take(&chunk[..length]);
    }
    let longer = file.size()? > at;
    Ok(if longer { Err((at, "the checkpoint goes on after its end")) } else { Ok(index) })
}

/// Reads a whole checkpoint into memory.
///
/// # Errors
/// As [`read`].
pub(crate) fn load(file: &dyn ReadAt, integrity: &Integrity) -> io::Result<Result<(Index, Bytes), Bad>> {
    let mut state = Vec::with_capacity(usize::try_from(file.size()?).unwrap_or(0));
    let index = read(file, integrity, |chunk| state.extend_from_slice(chunk))?;
    Ok(index.map(|index| (index, state.into())))
}
