//! The socket as h2 sees it: no more in a go than the connection's [`Turn`] has room for.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use relay::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::turn::Turn;
use crate::http::guard::State;

/// See the module.
pub(super) struct Socket {
    stream: Stream,
    state: Rc<State>,
    turn: Rc<Turn>,
    /// Read, and for a later turn.
    kept: Bytes,
}

impl Socket {
    /// The connection's socket; `kept` was read of it already.
    pub(super) fn new(stream: Stream, kept: Bytes, state: Rc<State>, turn: Rc<Turn>) -> Socket {
        Socket { stream, state, turn, kept }
    }

    fn note_write(&self, polled: &Poll<io::Result<usize>>) {
        self.state.set_write_blocked(polled.is_pending());
        if let Poll::Ready(Ok(count)) = polled {
            self.state.note_write(*count);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.turn.may_read() {
            return Poll::Pending;
        }
        if !this.kept.is_empty() {
            let fits = this.kept.len().min(to.remaining());
            let pass = this.turn.take(&this.kept[..fits]);
            to.put_slice(&this.kept[..pass]);
            this.kept.advance(pass);
            return Poll::Ready(Ok(()));
        }
        let before = to.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, to))?;
        let came = &to.filled()[before..];
        this.state.note_read(came.len());
        let pass = this.turn.take(came);
        if pass < came.len() {
            this.kept = Bytes::copy_from_slice(&came[pass..]);
            to.set_filled(before + pass);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note_write(&polled);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Under TLS it is here that a client who takes nothing is noticed: writes go to memory as long as there is some.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        if this.stream.holds_back() {
            this.state.set_write_blocked(polled.is_pending());
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
