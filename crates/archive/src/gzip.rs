//! One gzip member (RFC 1952).

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use crate::Damaged;

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const HEADER: usize = 10;
/// Sum and length.
const TRAILER: usize = 8;
/// Of 0 to 10: what is stored is text that repeats itself, and most of the gain is there.
const LEVEL: u8 = 6;
const FLAG_CRC: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;

pub(crate) fn compress(bytes: &[u8], time_s: u64) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(0);
    out.extend(u32::try_from(time_s).unwrap_or(0).to_le_bytes());
    // No hint on the compression; made on Unix.
    out.extend([0, 3]);
    out.extend(compress_to_vec(bytes, LEVEL));
    out.extend(crc32(bytes).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out
}

pub(crate) fn decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Damaged> {
    let body = bytes.len().checked_sub(TRAILER).filter(|end| *end >= HEADER);
    let (member, trailer) = bytes.split_at(body.ok_or(Damaged::Gzip("it is too short"))?);
    if member[..3] != MAGIC {
        return Err(Damaged::Gzip("it does not begin as gzip does"));
    }
    let data = &member[header(member)?..];
    let plain = decompress_to_vec_with_limit(data, limit).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => Damaged::TooLarge { limit },
        _ => Damaged::Gzip("its compressed data are damaged"),
    })?;
    let number = |at: usize| trailer[at..at + 4].iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte));
    match (number(0), number(4)) == (crc32(&plain), plain.len() as u32) {
        true => Ok(plain),
        false => Err(Damaged::Gzip("its checksum is wrong")),
    }
}

/// Length of the header with the optional fields that other programs write.
fn header(member: &[u8]) -> Result<usize, Damaged> {
    const SHORT: Damaged = Damaged::Gzip("its header is cut off");
    let flags = member[3];
    let mut at = HEADER;
    if flags & FLAG_EXTRA != 0 {
        let length = member.get(at..at + 2).ok_or(SHORT)?;
        at += 2 + (usize::from(length[0]) | usize::from(length[1]) << 8);
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let text = member.get(at..).ok_or(SHORT)?;
            at += text.iter().position(|byte| *byte == 0).ok_or(SHORT)? + 1;
        }
    }
    if flags & FLAG_CRC != 0 {
        at += 2;
    }
    if at <= member.len() { Ok(at) } else { Err(SHORT) }
}

/// CRC-32 of gzip (RFC 1952 section 8).
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(!0, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_gzips() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn optional_fields_are_skipped() {
        let mut plain = compress(b"hello", 0);
        plain[3] = FLAG_NAME | FLAG_EXTRA;
        let fields: Vec<u8> = [&[2u8, 0, 9, 9][..], b"name\0"].concat();
        plain.splice(HEADER..HEADER, fields);
        assert_eq!(decompress(&plain, 100).unwrap(), b"hello");
        assert!(decompress(&plain[..24], 100).is_err());
    }
}
