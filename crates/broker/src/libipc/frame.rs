//! Frames of both generations.

use serde::{Deserialize, Serialize};

/// Which libipc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// In C, 0.7.
    C,
    /// In Zig, 2023.
    Zig,
}

/// A lookup in the C generation.
pub(super) const LOOKUP: u8 = 3;
/// Bytes of a program in the C generation.
const DATA: u8 = 2;

/// Longest payload that is taken, in bytes: a lookup with a whole environment variable fits.
pub(super) const LONGEST: usize = 64 * 1024;

/// A frame at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Whose.
    pub generation: Generation,
    /// The C generation's type; 0 in the other.
    pub kind: u8,
    /// What it holds.
    pub payload: &'a [u8],
    /// How many bytes it takes with its header.
    pub length: usize,
}

/// Bytes that begin no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More than [`LONGEST`].
    #[error("a frame of {0} bytes was announced; at most {LONGEST} are taken")]
    TooLong(u64),
    /// A type that the C generation has not.
    #[error("{0} is no type of a frame")]
    Kind(u8),
}

/// The frame at the beginning of `bytes`; `None` while it is not all there. A payload of the Zig generation is
/// shorter than 2²⁴, so its first byte is 0; that of the C generation is a type, and 0 is not one of a client's.
///
/// # Errors
/// [`FrameError`].
pub fn read(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let (generation, header) = match first {
        0 => (Generation::Zig, 4),
        1..=LOOKUP => (Generation::C, 6),
        other => return Err(FrameError::Kind(*other)),
    };
    let at = header - 4 - usize::from(generation == Generation::C);
    let Some(length) = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()) else { return Ok(None) };
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(FrameError::TooLong(length as u64));
    }
    let kind = if generation == Generation::C { *first } else { 0 };
    let whole = bytes.get(header..header + length);
    Ok(whole.map(|payload| Frame { generation, kind, payload, length: header + length }))
}

impl Generation {
    /// A frame with a program's bytes.
    pub(crate) fn data(self, payload: &[u8]) -> Vec<u8> {
        self.frame(DATA, payload)
    }

    pub(super) fn frame(self, kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        match self {
            Generation::C => [&[kind][..], &length, &[LOOKUP], payload].concat(),
            Generation::Zig => [&length[..], payload].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_the_generations_apart() {
        let c = Generation::C.frame(LOOKUP, b"pong;");
        assert_eq!(c, b"\x03\0\0\0\x05\x03pong;");
        let frame = read(&c).unwrap().unwrap();
        assert_eq!(
            (frame.generation, frame.kind, frame.payload, frame.length),
            (Generation::C, 3, &b"pong;"[..], 11)
        );
        let zig = Generation::Zig.data(b"pong;");
        assert_eq!(zig, b"\0\0\0\x05pong;");
        let frame = read(&zig).unwrap().unwrap();
        assert_eq!((frame.generation, frame.payload, frame.length), (Generation::Zig, &b"pong;"[..], 9));
    }

    #[test]
    fn half_a_frame_waits_and_a_giant_one_does_not() {
        for whole in [Generation::C.frame(LOOKUP, b"pong;"), Generation::Zig.data(b"pong;")] {
            for cut in 0..whole.len() {
                assert_eq!(read(&whole[..cut]), Ok(None), "{cut}");
            }
        }
        assert_eq!(read(b"\0\xff\xff\xff"), Err(FrameError::TooLong(0xff_ffff)));
        assert_eq!(read(b"\x03\xff\xff\xff\xff\x03"), Err(FrameError::TooLong(0xffff_ffff)));
        assert_eq!(read(b"GET /"), Err(FrameError::Kind(b'G')));
    }
}
