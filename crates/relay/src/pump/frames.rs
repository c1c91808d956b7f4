//! Where the frames of a WebSocket begin and end (RFC 6455 section 5.2), so that one can be put between two of them.

use bytes::Bytes;

/// A server's close frame that says "going away" (1001).
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; 14],
    /// Bytes of a head that have come.
    have: usize,
    /// Bytes of the payload that have not.
    left: u64,
    /// The end has been said.
    closed: bool,
}

impl Frames {
    /// What a client is told when we leave, once a frame is over; `None` in the middle of one, and when the server has
    /// said that it closes.
    pub(super) fn farewell(&self) -> Option<Bytes> {
        let between = self.have == 0 && self.left == 0;
        (between && !self.closed).then_some(Bytes::from_static(GOING_AWAY))
    }

    /// Bytes of the payload at hand that have not come.
    pub(super) fn left(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }

    /// How much may be read so that nothing of the next frame is.
    pub(super) fn most(&self) -> usize {
        self.left().max(1)
    }

    /// So many bytes of the payload passed unseen.
    pub(super) fn skip(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
    }

    /// Follows what has come.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let payload = self.left().min(bytes.len());
            self.skip(payload);
            bytes = &bytes[payload..];
            let Some((first, rest)) = bytes.split_first() else { return };
            self.head[self.have] = *first;
            self.have += 1;
            bytes = rest;
            if let Some(left) = self.payload() {
                self.closed |= self.head[0] & 0x0f == 8;
                (self.left, self.have) = (left, 0);
            }
        }
    }

    /// Length of the payload, when the head is complete.
    fn payload(&self) -> Option<u64> {
        let second = *self.head[..self.have].get(1)?;
        let (extended, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let length = self.head[2..2 + extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        (self.have == 2 + extended + mask).then_some(length | short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65536 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![7; if masked { 4 } else { 0 }]);
        frame.extend(vec![b'x'; length]);
        frame
    }

    #[test]
    fn a_frame_ends_where_its_head_says_however_it_is_cut() {
        for length in [0, 1, 125, 126, 300, 65_535, 65_536, 70_000] {
            for masked in [false, true] {
                let whole = frame(2, length, masked);
                for step in [1, 2, 7, 1000, whole.len()] {
                    let mut frames = Frames::default();
                    let mut seen = 0;
                    for part in whole.chunks(step) {
                        assert_eq!(frames.farewell().is_some(), seen == 0, "{length} {masked} at {seen}");
                        frames.see(part);
                        seen += part.len();
                    }
                    assert!(frames.farewell().is_some(), "{length} {masked}");
                }
            }
        }
    }

    #[test]
    fn reading_what_it_says_ends_with_the_frame() {
        let two = [frame(1, 500, false), frame(2, 10, false)].concat();
        let mut frames = Frames::default();
        frames.see(&two[..100]);
        let mut at = 100;
        while frames.farewell().is_none() {
            let most = frames.most();
            frames.see(&two[at..at + most]);
            at += most;
        }
        assert_eq!(at, 504);
    }

    #[test]
    fn nobody_says_farewell_twice() {
        let mut frames = Frames::default();
        frames.see(&frame(8, 2, false));
        assert!(frames.farewell().is_none());
    }
}
