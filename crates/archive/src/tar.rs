//! A tar of plain files (POSIX.1-1988 ustar), as far as archives need one.

use crate::{Damaged, File};

const BLOCK: usize = 512;
/// Most files in one archive.
const MAX_FILES: usize = 16;
/// Longest name.
const MAX_NAME: usize = 100;

/// Fields of a header, by place.
const SIZE: std::ops::Range<usize> = 124..136;
const SUM: std::ops::Range<usize> = 148..156;
const KIND: usize = 156;

pub(crate) fn write<'f>(files: impl Iterator<Item = (&'f str, &'f [u8])>, time_s: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        out.extend(header(name, bytes.len(), time_s));
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

fn header(name: &str, size: usize, time_s: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let name = &name.as_bytes()[..name.len().min(MAX_NAME)];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(SIZE.start, format!("{size:011o}\0").as_bytes());
    put(136, format!("{:011o}\0", time_s & 0o77_777_777_777).as_bytes());
    put(SUM.start, b"        ");
    put(KIND, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

pub(crate) fn read(tar: &[u8]) -> Result<Vec<File>, Damaged> {
    let mut files = Vec::new();
    let mut at = 0;
    loop {
        let wrong = |why| Damaged::Tar { at, why };
        let header = tar.get(at..at + BLOCK).ok_or(wrong("it ends without an end"))?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(files);
        }
        check(header).map_err(wrong)?;
        let size = octal(&header[SIZE]).ok_or(wrong("its size is no number"))?;
        let begin = at + BLOCK;
        let bytes = begin.checked_add(size).and_then(|end| tar.get(begin..end));
        let bytes = bytes.ok_or(wrong("the file is longer than the archive"))?.to_vec();
        let name = header[..MAX_NAME].split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8(name.to_vec()).map_err(|_| wrong("its name is no text"))?;
        // Names are only compared, but whoever unpacks one with another program should be safe as well.
        if name.is_empty() || name.contains(['/', '\\']) {
            return Err(wrong("its name is none for a file"));
        }
        if files.len() >= MAX_FILES || files.iter().any(|file: &File| file.name == name) {
            return Err(wrong("there are too many files, or two of one name"));
        }
        files.push(File { name, bytes });
        at = (begin + size).next_multiple_of(BLOCK);
    }
}

fn check(header: &[u8]) -> Result<(), &'static str> {
    if !matches!(header[KIND], b'0' | 0) {
        return Err("it is no plain file");
    }
    let sum: usize = header.iter().map(|byte| usize::from(*byte)).sum();
    let own: usize = header[SUM].iter().map(|byte| usize::from(*byte)).sum();
    match octal(&header[SUM]) == Some(sum - own + 8 * usize::from(b' ')) {
        true => Ok(()),
        false => Err("the sum of its header is wrong"),
    }
}

/// Digits between spaces and zero bytes.
fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?;
    usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}
