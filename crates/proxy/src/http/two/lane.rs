//! A stream of HTTP/2 as a connection of its own: bytes both ways, once a WebSocket was agreed on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module. What is cut off does not look whole: h2 resets a stream that is dropped before its end.
pub(super) struct Lane {
    receive: RecvStream,
    send: SendStream<Bytes>,
    /// Received, and not read.
    left: Bytes,
    said_end: bool,
}

impl Lane {
    pub(super) fn new(receive: RecvStream, send: SendStream<Bytes>) -> Lane {
        Lane { receive, send, left: Bytes::new(), said_end: false }
    }

    fn end(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.said_end, true) {
            return Ok(());
        }
        self.send.send_data(Bytes::new(), true).map_err(io::Error::other)
    }
}

impl AsyncRead for Lane {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.left.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(data)) => this.left = data,
                Some(Err(error)) => {
                    let ended = matches!(error.reason(), Some(Reason::NO_ERROR | Reason::CANCEL));
                    return Poll::Ready(if ended { Ok(()) } else { Err(io::Error::other(error)) });
                }
            }
        }
        let count = this.left.len().min(to.remaining());
        to.put_slice(&this.left[..count]);
        this.left.advance(count);
        // Fails only on a stream that is over.
        let _ = this.receive.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lane {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // A byte at first: who waits must not take the window from others.
        this.send.reserve_capacity(1);
        while this.send.capacity() == 0 {
            match ready!(this.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        this.send.reserve_capacity(bytes.len());
        let count = this.send.capacity().min(bytes.len());
        let sent = this.send.send_data(Bytes::copy_from_slice(&bytes[..count]), false);
        Poll::Ready(sent.map(|()| count).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().end())
    }
}
