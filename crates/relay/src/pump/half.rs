//! One direction of a relayed connection.
//!
//! Small traffic: read into the thread's buffer, write at once; only what a full socket refuses is kept, in
//! memory of its own. Bulk: after [`SPLICE_AFTER`] bytes of large reads the kernel moves it through a pipe,
//! which is taken from the thread's pool and given back whenever it runs empty.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use sys::splice::Pipe;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::frames::Frames;
use crate::limit::Held;
use crate::local::Local;
use crate::stream::Stream;

/// Bytes of large reads in a row after which a flow counts as bulk.
pub(super) const SPLICE_AFTER: u64 = 256 * 1024;
/// A read of at least this many bytes is large.
const LARGE: usize = 16 * 1024;
/// Bytes moved before other connections of the thread get their turn.
const TURN: usize = 1024 * 1024;

/// What went wrong, on which of the two sides.
#[derive(Debug)]
pub(super) enum Fault {
    /// Reading failed: what was sent is lost, so the other side must not take this for an end.
    Read(io::Error),
    /// Writing failed: nobody there listens any more. The other direction may still have something to say.
    Write(io::Error),
}

#[derive(Debug, Default)]
enum Waiting {
    #[default]
    Nothing,
    Bytes {
        bytes: Bytes,
        _held: Option<Held>,
    },
    Piped(Pipe),
}

/// The state of one direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    waiting: Waiting,
    /// Bytes of large reads in a row; [`SPLICE_AFTER`] or more means that the kernel moves the flow.
    streak: u64,
    ended: bool,
    done: bool,
    /// Bytes may wait within the other side itself: TLS takes more than its socket does.
    unflushed: bool,
    /// Follows the frames of a WebSocket.
    frames: Option<Box<Frames>>,
    /// The other side is to be told that we leave.
    leaves: bool,
    /// It was told: what still comes is of no use to it.
    told: bool,
    pub(super) moved: u64,
    pub(super) spliced: u64,
}

impl Half {
    /// A direction that has something to deliver before anything else.
    pub(super) fn starting_with(bytes: Bytes) -> Half {
        let moved = bytes.len() as u64;
        let waiting = if bytes.is_empty() { Waiting::Nothing } else { Waiting::Bytes { bytes, _held: None } };
        Half { waiting, moved, ..Half::default() }
    }

    /// A direction of a WebSocket, from its first frame on.
    pub(super) fn of_frames(bytes: Bytes) -> Half {
        let mut frames = Frames::default();
        frames.see(&bytes);
        Half { frames: Some(Box::new(frames)), ..Half::starting_with(bytes) }
    }

    /// Tells the other side that we leave, as soon as a frame is over.
    pub(super) fn leave(&mut self) {
        self.leaves = true;
    }

    /// The farewell, where it is time for it.
    fn farewell(&mut self) -> Option<Bytes> {
        let bytes = self.frames.as_ref().filter(|_| self.leaves && !self.told)?.farewell()?;
        self.told = true;
        Some(bytes)
    }

    /// True once the end was passed on, or nobody listens.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Gives up: whatever waits is dropped.
    pub(super) fn abandon(&mut self) {
        self.waiting = Waiting::Nothing;
        self.done = true;
    }

    /// Moves what can be moved; ready when the end of `from` was passed on to `to`. With `last` that is done by whoever closes
    /// the sockets, which is now: the other direction has ended.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        local: &Rc<Local>,
        (from, to): (&mut Stream, &mut Stream),
        last: bool,
    ) -> Poll<Result<(), Fault>> {
        let mut turn = 0;
        loop {
            ready!(self.poll_deliver(cx, local, to)).map_err(Fault::Write)?;
            if self.unflushed {
                ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Fault::Write)?;
                self.unflushed = false;
            }
            if self.ended {
                if !(last && to.as_tcp().is_some()) {
                    // An error here says that the peer is gone already, which ends this direction as well.
                    let _ = ready!(Pin::new(to).poll_shutdown(cx));
                }
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            if turn >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(bytes) = self.farewell() {
                self.waiting = Waiting::Bytes { bytes, _held: None };
                continue;
            }
            // Within a frame the kernel may move what is left of it.
            let large = self.frames.as_ref().is_none_or(|frames| frames.left() >= LARGE);
            let splices =
                large && self.streak >= SPLICE_AFTER && from.as_tcp().is_some() && to.as_tcp().is_some();
            let moved = match splices {
                _ if self.told => ready!(poll_discard(cx, local, from)).map_err(Fault::Read)?,
                true => ready!(self.poll_splice(cx, local, from)).map_err(Fault::Read)?,
                false => ready!(self.poll_copy(cx, local, from, to))?,
            };
            self.ended = moved == 0;
            self.moved += moved as u64;
            turn += moved;
        }
    }

    /// Delivers what waits.
    fn poll_deliver(
        &mut self,
        cx: &mut Context<'_>,
        local: &Rc<Local>,
        to: &mut Stream,
    ) -> Poll<io::Result<()>> {
        loop {
            match &mut self.waiting {
                Waiting::Nothing => return Poll::Ready(Ok(())),
                Waiting::Bytes { bytes, .. } => {
                    self.unflushed |= to.holds_back();
                    let written = ready!(Pin::new(&mut *to).poll_write(cx, bytes))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    bytes.advance(written);
                    if bytes.is_empty() {
                        self.waiting = Waiting::Nothing;
                    }
                }
                Waiting::Piped(pipe) => {
                    let Stream::Tcp(to) = to else {
                        return Poll::Ready(Err(io::Error::other(
                            "spliced into something that is no socket",
                        )));
                    };
                    ready!(to.poll_write_ready(cx))?;
                    match to.try_io(Interest::WRITABLE, || pipe.empty_into(&*to)) {
                        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => continue,
                        result => result?,
                    };
                    if pipe.held() == 0
                        && let Waiting::Piped(pipe) = std::mem::take(&mut self.waiting)
                    {
                        local.give_pipe(pipe);
                    }
                }
            }
        }
    }

    /// Reads into the thread's buffer and writes at once; keeps what is refused.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        local: &Rc<Local>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<usize, Fault>> {
        local.with_buffer(|buffer| {
            let most = match &self.frames {
                // Not a byte of the next frame, before which there is something to say.
                Some(frames) if self.leaves => frames.most().min(buffer.len()),
                _ => buffer.len(),
            };
            let mut read = ReadBuf::new(&mut buffer[..most]);
            ready!(Pin::new(from).poll_read(cx, &mut read)).map_err(Fault::Read)?;
            let bytes = read.filled();
            if let Some(frames) = &mut self.frames {
                frames.see(bytes);
            }
            self.streak = if bytes.len() >= LARGE { self.streak + bytes.len() as u64 } else { 0 };
            if bytes.is_empty() {
                return Poll::Ready(Ok(0));
            }
            self.unflushed |= to.holds_back();
            let written = match Pin::new(to).poll_write(cx, bytes) {
                Poll::Ready(written) => written.map_err(Fault::Write)?,
                Poll::Pending => 0,
            };
            if written < bytes.len() {
                let left = Bytes::copy_from_slice(&bytes[written..]);
                let held = Some(local.hold(left.len()));
                self.waiting = Waiting::Bytes { bytes: left, _held: held };
            }
            Poll::Ready(Ok(bytes.len()))
        })
    }

    /// Has the kernel move what `from` has into a pipe.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        local: &Rc<Local>,
        from: &Stream,
    ) -> Poll<io::Result<usize>> {
        let Some(socket) = from.as_tcp() else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let mut pipe = match local.take_pipe() {
                Ok(pipe) => pipe,
                Err(cause) => {
                    // No descriptors left: go on by copying, and try again after as much bulk.
                    tracing::debug!(%cause, "cannot make a pipe");
                    self.streak = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            };
            let most = self.frames.as_ref().map_or(usize::MAX, |frames| frames.left());
            match socket.try_io(Interest::READABLE, || pipe.fill_at_most(socket, most)) {
                Ok(0) => {
                    local.give_pipe(pipe);
                    return Poll::Ready(Ok(0));
                }
                Ok(moved) => {
                    self.spliced += moved as u64;
                    if let Some(frames) = &mut self.frames {
                        frames.skip(moved);
                    }
                    self.waiting = Waiting::Piped(pipe);
                    return Poll::Ready(Ok(moved));
                }
                Err(cause) => {
                    local.give_pipe(pipe);
                    if cause.kind() != io::ErrorKind::WouldBlock {
                        return Poll::Ready(Err(cause));
                    }
                }
            }
        }
    }
}

/// Reads what nobody wants any more.
fn poll_discard(cx: &mut Context<'_>, local: &Rc<Local>, from: &mut Stream) -> Poll<io::Result<usize>> {
    local.with_buffer(|buffer| {
        let mut read = ReadBuf::new(buffer);
        ready!(Pin::new(from).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(read.filled().len()))
    })
}
