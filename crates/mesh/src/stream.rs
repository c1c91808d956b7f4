//! One stream to a peer, whatever carries it.
//!
//! The opener's preface travels with its first bytes, and the acceptor's answer with its first: a request and its
//! reply cost no packet more than on a bare stream. `flush` sends either without bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::gate::Seat;
use crate::hello::printable;
use crate::preface::Kind;

/// Bytes that are held back at most, to travel with what must come first.
const TOGETHER: usize = 1024;
/// Longest reason of a refusal that is kept.
const LONGEST_REASON: usize = 1024;

type Tls = TlsStream<TcpStream>;

/// Both directions.
#[derive(Debug)]
pub struct Stream {
    receive: Receive,
    send: Send,
}

/// The direction from the peer.
#[derive(Debug)]
pub struct Receive {
    from: From,
    answer: Answer,
}

/// The direction to the peer.
#[derive(Debug)]
pub struct Send {
    to: To,
    /// What goes first: preface or answer, and bytes that travel with it.
    first: BytesMut,
    /// The connection's place, if the stream has one of its own.
    seat: Option<Seat>,
}

#[derive(Debug)]
enum From {
    Quic(quinn::RecvStream),
    Tls(tokio::io::ReadHalf<Tls>),
}

#[derive(Debug)]
enum To {
    Quic(quinn::SendStream),
    Tls(tokio::io::WriteHalf<Tls>),
}

/// How much of the acceptor's answer has been read.
#[derive(Debug)]
enum Answer {
    Taken,
    Awaited,
    Refused { head: Vec<u8> },
}

impl Stream {
    pub(crate) fn opened(send: quinn::SendStream, receive: quinn::RecvStream, kind: Kind) -> Stream {
        Stream::new(From::Quic(receive), To::Quic(send), Some(kind))
    }

    pub(crate) fn accepted(send: quinn::SendStream, receive: quinn::RecvStream) -> Stream {
        Stream::new(From::Quic(receive), To::Quic(send), None)
    }

    pub(crate) fn opened_tls(tls: Tls, kind: Kind) -> Stream {
        let (from, to) = tokio::io::split(tls);
        Stream::new(From::Tls(from), To::Tls(to), Some(kind))
    }

    pub(crate) fn accepted_tls(tls: Tls, seat: Seat) -> Stream {
        let (from, to) = tokio::io::split(tls);
        let mut stream = Stream::new(From::Tls(from), To::Tls(to), None);
        stream.send.seat = Some(seat);
        stream
    }

    fn new(from: From, to: To, opens: Option<Kind>) -> Stream {
        let mut first = BytesMut::new();
        match opens {
            Some(kind) => kind.preface(&mut first),
            None => first.extend_from_slice(&[0]),
        }
        let answer = if opens.is_some() { Answer::Awaited } else { Answer::Taken };
        Stream { receive: Receive { from, answer }, send: Send { to, first, seat: None } }
    }

    /// Waits until the peer took the stream: it flushed, wrote, or refused. A service may be silent until it is
    /// spoken to; then this waits too.
    ///
    /// # Errors
    /// The refusal with its reason, or the stream's own error.
    pub async fn taken(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| Pin::new(&mut self.send).poll_flush(cx)).await?;
        std::future::poll_fn(|cx| self.receive.poll_answer(cx)).await
    }

    /// Both directions apart. Flush [`Send`] before the first wait on [`Receive`].
    pub fn split(self) -> (Receive, Send) {
        (self.receive, self.send)
    }

    /// Gives the stream up at once; what is under way is dropped, and the peer sees an error.
    pub fn reset(self) {
        self.send.reset();
    }
}

impl Send {
    /// A direction of a protocol without prefaces.
    pub(crate) fn bare(to: quinn::SendStream) -> Send {
        Send { to: To::Quic(to), first: BytesMut::new(), seat: None }
    }

    /// Gives the direction up at once; the peer sees an error.
    pub fn reset(mut self) {
        if let To::Quic(stream) = &mut self.to {
            let _ = stream.reset(0u32.into());
        }
    }

    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.first.is_empty() {
            let sent = ready!(self.to.poll_write(cx, &self.first))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.first.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl To {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            To::Quic(stream) => AsyncWrite::poll_write(Pin::new(stream), cx, bytes),
            To::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }
}

impl From {
    fn poll_read(&mut self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            From::Quic(stream) => AsyncRead::poll_read(Pin::new(stream), cx, to),
            From::Tls(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl Receive {
    /// A direction of a protocol without prefaces.
    pub(crate) fn bare(from: quinn::RecvStream) -> Receive {
        Receive { from: From::Quic(from), answer: Answer::Taken }
    }

    /// The answer comes ahead of the first bytes: one read for both. Leaves a refusal to [`Self::poll_answer`].
    fn poll_answer_with_bytes(&mut self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        ready!(self.from.poll_read(cx, to))?;
        let came = &mut to.filled_mut()[before..];
        let (answer, kept) = match came.split_first() {
            Some((0, rest)) => (Answer::Taken, rest.len()),
            Some((1, rest)) => (Answer::Refused { head: rest.to_vec() }, 0),
            Some(_) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            None => return Poll::Ready(Err(closed_unanswered())),
        };
        came.rotate_left(1);
        to.set_filled(before + kept);
        self.answer = answer;
        Poll::Ready(Ok(()))
    }

    /// Reads the acceptor's answer off the stream.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let head = match &mut self.answer {
                Answer::Taken => return Poll::Ready(Ok(())),
                Answer::Awaited => {
                    match ready!(poll_byte(&mut self.from, cx))? {
                        Some(0) => self.answer = Answer::Taken,
                        Some(1) => self.answer = Answer::Refused { head: Vec::new() },
                        Some(_) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                        None => return Poll::Ready(Err(closed_unanswered())),
                    }
                    continue;
                }
                Answer::Refused { head } => head,
            };
            let announced = |head: &[u8]| usize::from(u16::from_be_bytes([head[0], head[1]]));
            if head.len() >= 2 && head.len() >= 2 + announced(head).min(LONGEST_REASON) {
                return Poll::Ready(Err(refused(&head[2..])));
            }
            match ready!(poll_byte(&mut self.from, cx))? {
                Some(byte) => head.push(byte),
                None => return Poll::Ready(Err(refused(head.get(2..).unwrap_or_default()))),
            }
        }
    }
}

fn poll_byte(from: &mut From, cx: &mut Context<'_>) -> Poll<io::Result<Option<u8>>> {
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    ready!(from.poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().first().copied()))
}

fn refused(reason: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, format!("the peer refused: {}", printable(reason)))
}

fn closed_unanswered() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the stream without taking it")
}

impl AsyncRead for Receive {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if matches!(self.answer, Answer::Awaited) && to.remaining() > 1 {
            let before = to.filled().len();
            ready!(self.poll_answer_with_bytes(cx, to))?;
            if to.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        ready!(self.poll_answer(cx))?;
        self.from.poll_read(cx, to)
    }
}

impl AsyncWrite for Send {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.first.is_empty() {
            return self.to.poll_write(cx, bytes);
        }
        if bytes.len() > TOGETHER || self.first.len() > TOGETHER {
            ready!(self.poll_first(cx))?;
            return self.to.poll_write(cx, bytes);
        }
        self.first.extend_from_slice(bytes);
        // What does not fit now goes with the next write, flush, read or shutdown.
        if let Poll::Ready(Err(error)) = self.poll_first(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_first(cx))?;
        match &mut self.to {
            To::Quic(stream) => AsyncWrite::poll_flush(Pin::new(stream), cx),
            To::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_first(cx))?;
        match &mut self.to {
            To::Quic(stream) => AsyncWrite::poll_shutdown(Pin::new(stream), cx),
            To::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // An acceptor's bare answer may wait for its first bytes; anything else that is held back may not.
        if self.send.first.len() > usize::from(matches!(self.receive.answer, Answer::Taken))
            && let Poll::Ready(Err(error)) = self.send.poll_first(cx)
        {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.receive).poll_read(cx, to)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}
