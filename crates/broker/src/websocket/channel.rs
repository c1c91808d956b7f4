//! A connection that speaks WebSocket over a stream: pings are answered, ends are in good order.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::Role;
use super::close::Closing;
use super::decoder::{Decoder, Event, Fault, Kind};
use super::frame::{Opcode, write_frame};

/// How much is read at a time by a connection that says little, and by one that says much.
const LITTLE: usize = 2 * 1024;
const MUCH: usize = 64 * 1024;
/// How much may wait to be written before nothing more is taken.
const MOST_WAITING: usize = 64 * 1024;

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Text or bytes.
    pub kind: Kind,
    /// All of it.
    pub bytes: BytesMut,
}

/// WebSocket over `S`.
#[derive(Debug)]
pub struct Channel<S> {
    stream: S,
    role: Role,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    /// True when the last read took all the room there was.
    is_busy: bool,
    heard: u64,
    gathered: Option<Message>,
    /// A frame that says no more was written.
    has_said_end: bool,
    /// One was read, or the stream ended.
    has_heard_end: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    /// Over a stream whose handshake is done; `read` came behind it. Messages of at most `limit` bytes are taken.
    pub fn new(stream: S, role: Role, read: Bytes, limit: u64) -> Channel<S> {
        Channel {
            stream,
            role,
            decoder: Decoder::new(role, limit),
            input: read.into(),
            output: BytesMut::new(),
            is_busy: false,
            heard: 0,
            gathered: None,
            has_said_end: false,
            has_heard_end: false,
        }
    }

    /// The next piece of a message, as it comes; `None` when the other side has said its end.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<(Kind, BytesMut, bool)>>> {
        loop {
            if self.has_heard_end {
                // What it was answered with may still wait to be written.
                return self.poll_drained(cx).map_ok(|()| None);
            }
            match self.decoder.poll_event(&mut self.input) {
                Err(fault) => return Poll::Ready(Err(self.fail(cx, fault))),
                Ok(Some(Event::Data { kind, bytes, is_end })) => {
                    return Poll::Ready(Ok(Some((kind, bytes, is_end))));
                }
                Ok(Some(Event::Ping(payload))) => self.answer(&payload),
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(closing))) => {
                    self.has_heard_end = true;
                    self.say_end(closing.code, "");
                }
                Ok(None) => {
                    self.drain_what_goes(cx)?;
                    ready!(self.poll_fill(cx))?;
                }
            }
        }
    }

    /// The next message, all of it; `None` when the other side has said its end. It is held while it comes: choose the
    /// limit with care.
    pub fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Message>>> {
        loop {
            let Some((kind, bytes, is_end)) = ready!(self.poll_data(cx))? else {
                return Poll::Ready(Ok(None));
            };
            let message = match self.gathered.take() {
                None => Message { kind, bytes },
                Some(mut message) => {
                    message.bytes.extend_from_slice(&bytes);
                    message
                }
            };
            if is_end {
                return Poll::Ready(Ok(Some(message)));
            }
            self.gathered = Some(message);
        }
    }

    /// Ready when a message may be written: what was written before has gone, as far as it must.
    pub fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_said_end {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.drain_what_goes(cx)?;
        if self.output.len() < MOST_WAITING {
            return Poll::Ready(Ok(()));
        }
        self.poll_drained(cx)
    }

    /// Writes a message; it waits here until it is drained.
    pub fn write(&mut self, kind: Kind, payload: &[u8]) {
        let opcode = if kind == Kind::Text { Opcode::Text } else { Opcode::Binary };
        write_frame(self.role, opcode, true, payload, &mut self.output);
    }

    /// Asks whether the other side is there.
    pub fn ping(&mut self) {
        if !self.has_said_end && self.output.is_empty() {
            write_frame(self.role, Opcode::Ping, true, b"", &mut self.output);
        }
    }

    /// How many bytes have come so far, of whatever kind.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Says that nothing more comes, once.
    pub fn say_end(&mut self, code: Option<u16>, reason: &str) {
        if !std::mem::replace(&mut self.has_said_end, true) {
            let payload = code.map(|code| Closing::payload(code, reason)).unwrap_or_default();
            write_frame(self.role, Opcode::Close, true, &payload, &mut self.output);
        }
    }

    /// Ready when everything that was written has been taken by the stream.
    pub fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(taken);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says the end, and ends the stream when the other side has said its own.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.say_end(Some(Closing::NORMAL), "");
        ready!(self.poll_drained(cx))?;
        if !self.has_heard_end {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Writes as much as goes without waiting.
    pub(crate) fn drain_what_goes(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.poll_drained(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Answers a ping. One that comes while much waits goes unanswered: a later answer will do for both (section 5.5.3),
    /// and nobody makes us hold more than we have written.
    fn answer(&mut self, payload: &[u8]) {
        if !self.has_said_end && self.output.len() < MOST_WAITING {
            write_frame(self.role, Opcode::Pong, true, payload, &mut self.output);
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = if self.is_busy { MUCH } else { LITTLE };
        self.input.reserve(room);
        // Made anew each time: it keeps nothing from one poll to the next.
        let read = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?;
        self.is_busy = read >= room;
        self.heard += read as u64;
        if read == 0 {
            self.has_heard_end = true;
            if !self.has_said_end {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the other side what it did wrong, as far as that goes without waiting.
    fn fail(&mut self, cx: &mut Context<'_>, fault: Fault) -> io::Error {
        self.has_heard_end = true;
        self.say_end(Some(fault.code()), &fault.to_string());
        let _ = self.drain_what_goes(cx);
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }
}
