//! From bytes to what they mean. Data is given on as it arrives: a message need not be held to be read.

use bytes::BytesMut;

use super::close::Closing;
use super::frame::{Header, Opcode};
use super::utf8::{Invalid, Utf8};
use super::{Role, mask};

/// What a message is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, which is UTF-8.
    Text,
    /// Bytes.
    Binary,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of a message, cut anywhere.
    Data {
        /// Of which kind.
        kind: Kind,
        /// The piece.
        bytes: BytesMut,
        /// True when the message ends with it.
        is_end: bool,
    },
    /// To be answered with the same bytes.
    Ping(BytesMut),
    /// An answer.
    Pong(BytesMut),
    /// The other side says no more. Nothing is read after it.
    Close(Closing),
}

/// What breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Bits for extensions, and none was agreed on.
    #[error("a frame has reserved bits set")]
    Reserved,
    /// No such frame.
    #[error("{0} is no kind of frame")]
    Opcode(u8),
    /// A ping, pong or close with more to come.
    #[error("a control frame came in pieces")]
    ControlInPieces,
    /// A ping, pong or close of more than 125 bytes.
    #[error("a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A length written with more bytes than it needs, or with its highest bit set.
    #[error("a frame's length is not written as it should be")]
    Length,
    /// A client's frame without a mask, or a server's with one.
    #[error("a client's frames are masked and a server's are not; this one is the other way round")]
    Masking,
    /// A piece of a message that has not begun.
    #[error("a frame goes on with a message that has not begun")]
    NotBegun,
    /// A new message before the end of the last.
    #[error("a message begins before the last has ended")]
    NotEnded,
    /// Text that is none.
    #[error("text is not UTF-8")]
    Utf8,
    /// A close frame of one byte.
    #[error("a close frame has half a code")]
    HalfCode,
    /// A code that nobody may send.
    #[error("{0} is no code to close with")]
    CloseCode(u16),
    /// More than is taken.
    #[error("a message is longer than {0} bytes")]
    TooLong(u64),
    /// More after the last frame.
    #[error("a frame came after the last")]
    AfterClose,
}

impl Fault {
    /// What the other side is told (RFC 6455, section 7.4.1).
    pub fn code(&self) -> u16 {
        match self {
            Fault::Utf8 => 1007,
            Fault::TooLong(_) => 1009,
            _ => 1002,
        }
    }
}

impl From<Invalid> for Fault {
    fn from(Invalid: Invalid) -> Fault {
        Fault::Utf8
    }
}

/// The frame that is being read.
#[derive(Debug, Clone, Copy)]
struct Open {
    header: Header,
    done: u64,
}

/// Reads one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limit: u64,
    frame: Option<Open>,
    /// The message that has begun and not ended, with how much of it has been announced.
    message: Option<(Kind, u64)>,
    utf8: Utf8,
    has_closed: bool,
}

impl Decoder {
    /// What reads for `role`, messages of at most `limit` bytes.
    pub fn new(role: Role, limit: u64) -> Decoder {
        Decoder { role, limit, frame: None, message: None, utf8: Utf8::default(), has_closed: false }
    }

    /// The next event of `input`, which is taken off it; `None` while there is too little.
    ///
    /// # Errors
    /// A [`Fault`], after which nothing more can be read.
    pub fn poll_event(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Fault> {
        loop {
            let open = match self.frame {
                Some(open) => open,
                None => {
                    if self.has_closed {
                        return if input.is_empty() { Ok(None) } else { Err(Fault::AfterClose) };
                    }
                    let Some((header, length)) = Header::read(input)? else { return Ok(None) };
                    self.begin(&header)?;
                    let _ = input.split_to(length);
                    *self.frame.insert(Open { header, done: 0 })
                }
            };
            let event = match open.header.opcode.is_control() {
                true => self.control(open, input)?,
                false => match self.data(open, input)? {
                    // An empty piece in the middle says nothing.
                    Some(Event::Data { bytes, is_end: false, .. }) if bytes.is_empty() => continue,
                    event => event,
                },
            };
            return Ok(event);
        }
    }

    /// Judges a frame by its header, before its payload is here.
    fn begin(&mut self, header: &Header) -> Result<(), Fault> {
        if header.mask.is_some() != (self.role == Role::Server) {
            return Err(Fault::Masking);
        }
        let kind = match (header.opcode, self.message) {
            (Opcode::Text, None) => Kind::Text,
            (Opcode::Binary, None) => Kind::Binary,
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Fault::NotEnded),
            (Opcode::Continuation, None) => return Err(Fault::NotBegun),
            (Opcode::Continuation, Some((kind, _))) => kind,
            _ => return Ok(()),
        };
        let before = self.message.map_or(0, |(_, length)| length);
        let length = before.saturating_add(header.length);
        if length > self.limit {
            return Err(Fault::TooLong(self.limit));
        }
        self.message = Some((kind, length));
        Ok(())
    }

    fn control(&mut self, open: Open, input: &mut BytesMut) -> Result<Option<Event>, Fault> {
        let length = open.header.length as usize;
        if input.len() < length {
            return Ok(None);
        }
        self.frame = None;
        let mut payload = input.split_to(length);
        if let Some(key) = open.header.mask {
            mask::apply(key, 0, &mut payload);
        }
        Ok(Some(match open.header.opcode {
            Opcode::Ping => Event::Ping(payload),
            Opcode::Pong => Event::Pong(payload),
            _ => {
                self.has_closed = true;
                Event::Close(Closing::read(&payload)?)
            }
        }))
    }

    fn data(&mut self, open: Open, input: &mut BytesMut) -> Result<Option<Event>, Fault> {
        let Some((kind, _)) = self.message else { return Err(Fault::NotBegun) };
        let left = open.header.length - open.done;
        if left > 0 && input.is_empty() {
            return Ok(None);
        }
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let mut bytes = input.split_to(taken);
        if let Some(key) = open.header.mask {
            mask::apply(key, (open.done % 4) as usize, &mut bytes);
        }
        let done = open.done + taken as u64;
        let is_over = done == open.header.length;
        self.frame = (!is_over).then_some(Open { done, ..open });
        let is_end = is_over && open.header.is_final;
        if kind == Kind::Text {
            self.utf8.push(&bytes)?;
        }
        if is_end {
            self.message = None;
            self.utf8.end()?;
        }
        Ok(Some(Event::Data { kind, bytes, is_end }))
    }
}
