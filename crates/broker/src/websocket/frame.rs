//! Frames (RFC 6455, section 5.2).

use bytes::BytesMut;

use super::decoder::Fault;
use super::{Role, mask};

/// Longest payload of a control frame, in bytes.
pub const LONGEST_CONTROL: usize = 125;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Goes on with a message.
    Continuation,
    /// Begins a message of text.
    Text,
    /// Begins a message of bytes.
    Binary,
    /// The last one.
    Close,
    /// Is to be answered.
    Ping,
    /// Answers, or says that somebody is there.
    Pong,
}

impl Opcode {
    fn read(number: u8) -> Result<Opcode, Fault> {
        Ok(match number {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            other => return Err(Fault::Opcode(other)),
        })
    }

    fn number(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    /// True for those that may stand between the frames of a message.
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// True for the last frame of a message.
    pub is_final: bool,
    /// What it is.
    pub opcode: Opcode,
    /// Key that the payload is masked with.
    pub mask: Option<[u8; 4]>,
    /// Length of the payload, in bytes.
    pub length: u64,
}

impl Header {
    /// The header at the beginning of `bytes` and how many bytes it takes; `None` while it is not all there. What is
    /// wrong is noticed as soon as it can be seen.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
        let Some(first) = bytes.first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Fault::Reserved);
        }
        let (is_final, opcode) = (first & 0x80 != 0, Opcode::read(first & 0x0f)?);
        if opcode.is_control() && !is_final {
            return Err(Fault::ControlInPieces);
        }
        let Some(second) = bytes.get(1) else { return Ok(None) };
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > LONGEST_CONTROL {
            return Err(Fault::ControlTooLong);
        }
        let (length, mut at) = match short {
            126 => match bytes.get(2..4).and_then(|two| two.try_into().ok()) {
                Some(two) => (u64::from(u16::from_be_bytes(two)), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|eight| eight.try_into().ok()) {
                Some(eight) => (u64::from_be_bytes(eight), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let least =
            [(126, 126), (127, 1 << 16)].iter().find(|(form, _)| *form == short).map(|(_, least)| *least);
        if least.is_some_and(|least| length < least) || length > i64::MAX as u64 {
            return Err(Fault::Length);
        }
        let mut key = None;
        if second & 0x80 != 0 {
            let Some(four) = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()) else {
                return Ok(None);
            };
            key = Some(four);
            at += 4;
        }
        Ok(Some((Header { is_final, opcode, mask: key, length }, at)))
    }

    /// Appends the header.
    pub fn write(&self, to: &mut BytesMut) {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        let last = if self.is_final { 0x80 } else { 0 };
        to.extend_from_slice(&[last | self.opcode.number()]);
        match self.length {
            length @ 0..126 => to.extend_from_slice(&[masked | length as u8]),
            length @ 126..=0xffff => {
                to.extend_from_slice(&[masked | 126]);
                to.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                to.extend_from_slice(&[masked | 127]);
                to.extend_from_slice(&length.to_be_bytes());
            }
        }
        if let Some(key) = self.mask {
            to.extend_from_slice(&key);
        }
    }
}

/// Appends a whole frame as this end writes it: masked with a new key by a client.
pub fn write_frame(role: Role, opcode: Opcode, is_final: bool, payload: &[u8], to: &mut BytesMut) {
    let key = (role == Role::Client).then(mask::key);
    to.reserve(payload.len() + 14);
    Header { is_final, opcode, mask: key, length: payload.len() as u64 }.write(to);
    let at = to.len();
    to.extend_from_slice(payload);
    if let Some(key) = key {
        mask::apply(key, 0, &mut to[at..]);
    }
}
