//! A stream whose reader must keep taking: a peer that takes nothing for too long is cut off. What was read
//! before the protocol was known is handed out again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::serve::connection::Stream;

pub(super) struct Patience {
    stream: Box<dyn Stream>,
    /// Bytes that were read already.
    read: io::Cursor<[u8; 24]>,
    read_length: u64,
    limit: Duration,
    /// Made when a write first blocks, and kept.
    patience: Option<Pin<Box<Sleep>>>,
    is_blocked: bool,
}

impl Patience {
    /// `read[..length]` comes first.
    pub(super) fn new(stream: Box<dyn Stream>, read: [u8; 24], length: usize, limit: Duration) -> Patience {
        let read = io::Cursor::new(read);
        Patience { stream, read, read_length: length as u64, limit, patience: None, is_blocked: false }
    }

    /// Passes on what a write came to, and loses patience when it blocks for too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.is_blocked = false;
            return outcome;
        }
        let deadline = Instant::now() + self.limit;
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.is_blocked {
            self.is_blocked = true;
            patience.as_mut().reset(deadline);
        }
        match patience.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patience {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = this.read_length - this.read.position();
        if left > 0 {
            let length = buf.remaining().min(left as usize);
            buf.put_slice(&this.read.chunk()[..length]);
            this.read.advance(length);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patience {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.judge(cx, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(cx);
        this.judge(cx, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.judge(cx, outcome)
    }
}
