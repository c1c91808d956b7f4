//! A byte stream over WebSocket: what is written goes as binary messages, and of what comes only the bytes count.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Role;
use super::channel::Channel;
use super::decoder::Kind;

/// Longest message that one write makes, in bytes.
const LONGEST_WRITE: usize = 64 * 1024;

/// WebSocket over `S`, as a byte stream. Shutting it down says the end; the other side's end is an end of file.
#[derive(Debug)]
pub struct Socket<S> {
    channel: Channel<S>,
    ready: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Over a stream whose handshake is done; `read` came behind it.
    pub fn new(stream: S, role: Role, read: Bytes) -> Socket<S> {
        // Messages are passed on as they come, so their length is nobody's burden.
        Socket { channel: Channel::new(stream, role, read, u64::MAX), ready: BytesMut::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Socket { channel, ready } = self.get_mut();
        while ready.is_empty() {
            match ready!(channel.poll_data(cx))? {
                Some((_, bytes, _)) => *ready = bytes,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = ready.len().min(to.remaining());
        to.put_slice(&ready[..taken]);
        ready.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let channel = &mut self.get_mut().channel;
        ready!(channel.poll_writable(cx))?;
        if from.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let taken = from.len().min(LONGEST_WRITE);
        channel.write(Kind::Binary, &from[..taken]);
        // The rest goes with the next call of any kind.
        channel.drain_what_goes(cx)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().channel.poll_drained(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().channel.poll_end(cx)
    }
}
