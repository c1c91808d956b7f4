//! A WebSocket client's messages as the bytes that a service takes.
//!
//! Binary messages are bytes, cut anywhere. A text message is one of libipc's in JSON,
//! `{"mtype":1,"utype":3,"payload":"…"}`, and reaches the service as a frame; from then on the service's frames come back as
//! such texts, and as the frame itself where a payload is no text.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use relay::Stream;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Interval, interval_at};

use crate::libipc::Generation;
use crate::websocket::{Channel, Kind, Role};

/// Longest text, and longest frame of a service that is made a text, in bytes.
const LONGEST: usize = 1024 * 1024;
/// Longest binary message that one write makes, in bytes.
const LONGEST_WRITE: usize = 64 * 1024;
/// The type of a frame that has data in it.
const DATA: u8 = 1;

/// A text message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default = "data")]
    mtype: u8,
    #[serde(default)]
    utype: u8,
    payload: String,
}

fn data() -> u8 {
    DATA
}

/// A client's connection.
pub(super) struct Conversation {
    channel: Channel<Stream>,
    generation: Generation,
    /// The client writes texts, and reads them.
    in_text: bool,
    /// A text that has begun.
    text: BytesMut,
    /// For the service.
    ready: BytesMut,
    /// Of the service: a frame that is not all there.
    frame: BytesMut,
    pings: Option<Interval>,
    /// What had been heard at the last ping.
    heard: u64,
}

impl Conversation {
    /// Over a stream whose handshake is done; `read` came behind it.
    pub(super) fn new(stream: Stream, read: Bytes, generation: Generation, ping: Duration) -> Conversation {
        let pings = (!ping.is_zero()).then(|| interval_at(Instant::now() + ping, ping));
        Conversation {
            channel: Channel::new(stream, Role::Server, read, u64::MAX),
            generation,
            in_text: false,
            text: BytesMut::new(),
            ready: BytesMut::new(),
            frame: BytesMut::new(),
            pings,
            heard: u64::MAX,
        }
    }

    /// Asks whether the client is there; an error when it has not been heard of since the last time.
    fn poll_pings(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while let Some(pings) = &mut self.pings
            && pings.poll_tick(cx).is_ready()
        {
            if std::mem::replace(&mut self.heard, self.channel.heard()) == self.channel.heard() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the client answers no pings"));
            }
            self.channel.ping();
        }
        Ok(())
    }

    /// A piece of a text; the frame, once it has ended.
    fn take_text(&mut self, bytes: &[u8], is_end: bool) -> io::Result<()> {
        self.in_text = true;
        if self.text.len() + bytes.len() > LONGEST {
            self.channel.say_end(Some(1009), "a text is too long");
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a client's text is too long"));
        }
        self.text.extend_from_slice(bytes);
        if !is_end {
            return Ok(());
        }
        let text = self.text.split();
        let read: Text = serde_json::from_slice(&text).map_err(|error| {
            let why = format!("a text is {{\"mtype\":1,\"utype\":N,\"payload\":\"…\"}}: {error}");
            self.channel.say_end(Some(1007), &why);
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        write(self.generation, &read, &mut self.ready);
        Ok(())
    }

    /// Sends every frame of the service that is all there.
    fn send_frames(&mut self) -> io::Result<()> {
        while let Some((text, length)) = read(self.generation, &self.frame)? {
            let frame = self.frame.split_to(length);
            match text.and_then(|text| serde_json::to_vec(&text).ok()) {
                Some(json) => self.channel.write(Kind::Text, &json),
                None => self.channel.write(Kind::Binary, &frame),
            }
        }
        Ok(())
    }
}

fn write(generation: Generation, text: &Text, to: &mut BytesMut) {
    // LONGEST bounds it.
    let length = u32::try_from(text.payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    match generation {
        Generation::C => {
            to.extend_from_slice(&[text.mtype]);
            to.extend_from_slice(&length);
            to.extend_from_slice(&[text.utype]);
        }
        Generation::Zig => to.extend_from_slice(&length),
    }
    to.extend_from_slice(text.payload.as_bytes());
}

/// The frame at the beginning of `bytes` with its length, and without a text where its payload is none; nothing while it
/// is not all there.
fn read(generation: Generation, bytes: &[u8]) -> io::Result<Option<(Option<Text>, usize)>> {
    let (mtype, length, utype, header) = match (generation, bytes) {
        (Generation::C, [mtype, a, b, c, d, utype, ..]) => (*mtype, [*a, *b, *c, *d], *utype, 6),
        (Generation::Zig, [a, b, c, d, ..]) => (DATA, [*a, *b, *c, *d], 0, 4),
        _ => return Ok(None),
    };
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the service sends no frames of libipc's"));
    }
    let Some(payload) = bytes.get(header..header + length) else { return Ok(None) };
    let text =
        std::str::from_utf8(payload).ok().map(|payload| Text { mtype, utype, payload: payload.to_owned() });
    Ok(Some((text, header + length)))
}

impl AsyncRead for Conversation {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poll_pings(cx)?;
        while this.ready.is_empty() {
            match ready!(this.channel.poll_data(cx))? {
                Some((Kind::Binary, bytes, _)) => this.ready = bytes,
                Some((Kind::Text, bytes, is_end)) => {
                    if let Err(error) = this.take_text(&bytes, is_end) {
                        // What goes at once of the word why.
                        let _ = this.channel.poll_drained(cx);
                        return Poll::Ready(Err(error));
                    }
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = this.ready.len().min(to.remaining());
        to.put_slice(&this.ready[..taken]);
        this.ready.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Conversation {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.channel.poll_writable(cx))?;
        let taken = from.len().min(LONGEST_WRITE);
        if this.in_text {
            this.frame.extend_from_slice(&from[..taken]);
            this.send_frames()?;
        } else if taken > 0 {
            this.channel.write(Kind::Binary, &from[..taken]);
        }
        this.channel.drain_what_goes(cx)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().channel.poll_drained(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().channel.poll_end(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_frames_of_either_generation() {
        for (generation, bytes) in [
            (Generation::C, &b"\x01\x00\x00\x00\x02\x07hi"[..]),
            (Generation::Zig, &b"\x00\x00\x00\x02hi"[..]),
        ] {
            let mut written = BytesMut::new();
            write(generation, &Text { mtype: 1, utype: 7, payload: "hi".into() }, &mut written);
            assert_eq!(&written[..], bytes);
            let (text, length) = read(generation, bytes).unwrap().unwrap();
            assert_eq!((text.unwrap().payload, length), ("hi".to_owned(), bytes.len()));
            assert!(read(generation, &bytes[..bytes.len() - 1]).unwrap().is_none());
        }
        assert!(read(Generation::C, b"\x01\x00\x00\x00\x01\x00\xff").unwrap().unwrap().0.is_none());
        assert!(read(Generation::Zig, b"HTTP/1.1").is_err());
    }
}
