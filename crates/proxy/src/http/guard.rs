//! The socket as hyper sees it: bytes that the [`Framer`] passed, and nothing else.
//!
//! A refused request reaches hyper as a harmless one in its place, so that the answer takes its turn behind
//! those of earlier requests; the service knows by its number that it is to answer with the refusal.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use relay::{Local, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::framer::{Framer, Scan, Then};
use super::patience::Seen;
use super::pulls::Pulls;
use super::refusal::Refusal;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// The request with this number, from 1.
    Head(u64),
    /// The body of the last request that passed.
    Body,
}

/// Shared by the socket, the service and the connection's clock. All on one thread.
#[derive(Debug, Default)]
pub(crate) struct State {
    heads: Cell<u64>,
    in_head: Cell<bool>,
    wants_body: Cell<bool>,
    write_blocked: Cell<bool>,
    read: Cell<u64>,
    written: Cell<u64>,
    requests: Cell<u64>,
    in_flight: Cell<u32>,
    refused: Cell<Option<(Where, Refusal)>>,
    hurry: Hurry,
    /// Answers of an HTTP/2 connection, whose windows the client may keep shut one by one.
    pulls: Pulls,
}

/// Requests that the client gave up, counted by the second.
#[derive(Debug, Default)]
struct Hurry {
    /// 0 while nobody counts.
    most: Cell<u32>,
    second: Cell<Option<Instant>>,
    count: Cell<u32>,
    too_much: Notify,
}

impl State {
    /// What the clock looks at.
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            heads: self.heads.get().max(self.requests.get()),
            in_head: self.in_head.get(),
            in_flight: self.in_flight.get(),
            wants_body: self.wants_body.get(),
            write_blocked: self.write_blocked.get(),
            read: self.read.get(),
            written: self.written.get(),
        }
    }

    /// Counts a request that reached the service; why it is refused, if it is.
    pub(crate) fn begin(&self) -> Option<Refusal> {
        let number = self.requests.get() + 1;
        self.requests.set(number);
        self.in_flight.set(self.in_flight.get() + 1);
        match self.refused.get() {
            Some((Where::Head(refused), refusal)) if refused == number => Some(refusal),
            _ => None,
        }
    }

    /// Counts a request that never reaches hyper: its head and itself.
    pub(crate) fn enter(&self) {
        self.heads.set(self.heads.get() + 1);
        self.requests.set(self.requests.get() + 1);
        self.in_flight.set(self.in_flight.get() + 1);
        self.in_head.set(false);
    }

    /// A stream is busy beyond its request; [`State::end`] ends that.
    pub(crate) fn open(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// It reaches hyper after all, and is counted there.
    pub(crate) fn undo(&self) {
        self.heads.set(self.heads.get().saturating_sub(1));
        self.requests.set(self.requests.get().saturating_sub(1));
        self.end();
    }

    /// Bytes were read.
    pub(crate) fn note_read(&self, count: usize) {
        self.read.set(self.read.get() + count as u64);
    }

    /// Bytes were written.
    pub(crate) fn note_write(&self, count: usize) {
        self.written.set(self.written.get() + count as u64);
    }

    /// The socket takes no more, or takes more again.
    pub(crate) fn set_write_blocked(&self, blocked: bool) {
        self.write_blocked.set(blocked);
    }

    /// A head has begun, or has come.
    pub(crate) fn set_in_head(&self, in_head: bool) {
        self.in_head.set(in_head);
    }

    /// Counts what the client gives up from now on, and how it takes its answers: it speaks HTTP/2.
    pub(crate) fn watch_streams(&self, most_resets: u32) {
        self.hurry.most.set(most_resets.max(1));
        self.pulls.watch();
    }

    /// A request was given up by the client before it was answered to the end.
    pub(crate) fn give_up(&self) {
        let hurry = &self.hurry;
        if hurry.most.get() == 0 {
            return;
        }
        let now = Instant::now();
        if hurry.second.get().is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            hurry.second.set(Some(now));
            hurry.count.set(0);
        }
        hurry.count.set(hurry.count.get() + 1);
        if hurry.count.get() > hurry.most.get() {
            self.hurry();
        }
    }

    /// The client goes on and on with what costs only us.
    pub(crate) fn hurry(&self) {
        self.hurry.too_much.notify_one();
    }

    /// Resolves when too many requests were given up within a second, or [`State::hurry`] says so.
    pub(crate) async fn hurries(&self) {
        self.hurry.too_much.notified().await;
    }

    /// How answers are taken, where that is watched.
    pub(crate) fn pulls(&self) -> &Pulls {
        &self.pulls
    }

    /// A request is answered to the end.
    pub(crate) fn end(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    /// Why the body that was being read broke off, if the client is to blame.
    pub(crate) fn body_refusal(&self) -> Option<Refusal> {
        self.refused.get().filter(|(place, _)| *place == Where::Body).map(|(_, refusal)| refusal)
    }

    /// True when anything was refused: the connection ends with its answer.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.get().is_some()
    }

    /// Refuses the head that is awaited.
    pub(crate) fn refuse_head(&self, refusal: Refusal) {
        self.refuse(Where::Head(self.heads.get() + 1), refusal);
    }

    /// Refuses the body that is being read.
    pub(crate) fn refuse_body(&self, refusal: Refusal) {
        self.refuse(Where::Body, refusal);
    }

    fn refuse(&self, place: Where, refusal: Refusal) {
        if !self.is_refused() {
            self.refused.set(Some((place, refusal)));
        }
    }
}

/// Stands in for a refused request.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\n\r\n";

/// See the module.
pub(crate) struct Guard {
    stream: Stream,
    local: Rc<Local>,
    framer: Framer,
    state: Rc<State>,
    /// Passed, but hyper had no room for it.
    passed: Vec<u8>,
    /// Read, but not complete enough to pass.
    held: Vec<u8>,
    stand_in_sent: bool,
    /// Requests that were answered before this took over.
    before: u64,
}

impl Guard {
    /// Guards a connection; `first` was read of it already.
    pub(crate) fn new(
        local: &Rc<Local>,
        stream: Stream,
        framer: Framer,
        state: Rc<State>,
        first: Vec<u8>,
    ) -> Guard {
        state.in_head.set(true);
        let (passed, held, before) = (Vec::new(), Vec::new(), state.heads.get());
        let (local, stand_in_sent) = (local.clone(), false);
        let mut guard = Guard { stream, local, framer, state, passed, held, stand_in_sent, before };
        if !first.is_empty() {
            guard.examine(&first, None);
        }
        guard
    }

    /// The connection, with what was read and not yet handed on.
    pub(crate) fn into_parts(self) -> (Stream, Vec<u8>) {
        let mut rest = self.passed;
        rest.extend(self.held);
        (self.stream, rest)
    }

    /// Waits for the first head; true when it opens HTTP/2. False also at the end of the stream.
    pub(crate) async fn opens_http2(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|cx| {
            while self.passed.is_empty() && !self.state.is_refused() {
                if ready!(self.poll_examined(cx, None))? == 0 {
                    break;
                }
            }
            Poll::Ready(Ok(self.framer.is_raw()))
        })
        .await
    }

    /// Reads and examines once. What passed goes to `to` as far as it fits, the rest is kept. Returns how
    /// much was read, 0 at the end.
    fn poll_examined(
        &mut self,
        cx: &mut Context<'_>,
        to: Option<&mut ReadBufCursor<'_>>,
    ) -> Poll<io::Result<usize>> {
        let local = self.local.clone();
        local.with_buffer(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            let bytes = read.filled();
            self.state.read.set(self.state.read.get() + bytes.len() as u64);
            if self.held.is_empty() {
                self.examine(bytes, to);
            } else if !bytes.is_empty() {
                let mut all = std::mem::take(&mut self.held);
                all.extend_from_slice(bytes);
                self.examine(&all, to);
            }
            Poll::Ready(Ok(bytes.len()))
        })
    }

    fn examine(&mut self, bytes: &[u8], to: Option<&mut ReadBufCursor<'_>>) {
        let Scan { pass, then } = self.framer.scan(bytes);
        let (passed, rest) = bytes.split_at(pass);
        let fits = to.map_or(0, |to| {
            let fits = passed.len().min(to.remaining());
            to.put_slice(&passed[..fits]);
            fits
        });
        self.passed.extend_from_slice(&passed[fits..]);
        self.state.heads.set(self.before + self.framer.heads());
        match then {
            Then::More => {}
            Then::Partial => self.held.extend_from_slice(rest),
            Then::Refused(refusal) if self.framer.awaits_head() => self.state.refuse_head(refusal),
            Then::Refused(refusal) => self.state.refuse_body(refusal),
        }
        let begun = self.framer.heads() == 0 || !self.held.is_empty();
        self.state.in_head.set(self.framer.awaits_head() && begun);
    }

    /// Reads a body of known length past the framer; returns how much, 0 at the end.
    fn poll_unexamined(
        &mut self,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<usize>> {
        let room = to.remaining();
        let unexamined = usize::try_from(self.framer.unexamined()).unwrap_or(usize::MAX);
        let count = if unexamined >= room {
            let mut through = TokioIo::new(Counting { stream: &mut self.stream, count: 0 });
            ready!(hyper::rt::Read::poll_read(Pin::new(&mut through), cx, to))?;
            through.into_inner().count
        } else {
            // The body ends before hyper's room does: what follows must be examined.
            let local = self.local.clone();
            let stream = &mut self.stream;
            ready!(local.with_buffer(|buffer| {
                let most = unexamined.min(buffer.len());
                let mut read = ReadBuf::new(&mut buffer[..most]);
                ready!(Pin::new(stream).poll_read(cx, &mut read))?;
                to.put_slice(read.filled());
                Poll::Ready(io::Result::Ok(read.filled().len()))
            }))?
        };
        self.framer.skip(count as u64);
        self.state.read.set(self.state.read.get() + count as u64);
        Poll::Ready(Ok(count))
    }

    fn poll_refused(
        &mut self,
        place: Where,
        refusal: Refusal,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if place == Where::Body {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal.text())));
        }
        if self.stand_in_sent || to.remaining() < STAND_IN.len() {
            // Nothing more ever comes; the answer closes the connection.
            return Poll::Pending;
        }
        self.stand_in_sent = true;
        to.put_slice(STAND_IN);
        Poll::Ready(Ok(()))
    }

    fn note_write(&self, polled: &Poll<io::Result<usize>>) {
        self.state.write_blocked.set(polled.is_pending());
        if let Poll::Ready(Ok(count)) = polled {
            self.state.written.set(self.state.written.get() + *count as u64);
        }
    }
}

impl hyper::rt::Read for Guard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = to.remaining();
        if before == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !this.passed.is_empty() {
                let fits = this.passed.len().min(before);
                to.put_slice(&this.passed[..fits]);
                this.passed.drain(..fits);
                if this.passed.is_empty() {
                    // Idle connections keep no memory.
                    this.passed = Vec::new();
                }
                break;
            }
            if let Some((place, refusal)) = this.state.refused.get() {
                return this.poll_refused(place, refusal, to);
            }
            this.state.wants_body.set(!this.framer.awaits_head());
            if this.framer.unexamined() > 0 {
                ready!(this.poll_unexamined(cx, to))?;
                break;
            }
            if ready!(this.poll_examined(cx, Some(&mut to)))? == 0 || to.remaining() < before {
                break;
            }
        }
        // Whoever does not ask does not wait: an upstream that is slow to take a body is not the client's fault.
        this.state.wants_body.set(false);
        Poll::Ready(Ok(()))
    }
}

/// Counts what is read through it.
struct Counting<'a> {
    stream: &'a mut Stream,
    count: usize,
}

impl AsyncRead for Counting<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = to.filled().len();
        ready!(Pin::new(&mut *this.stream).poll_read(cx, to))?;
        this.count += to.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Guard {
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
            this.state.write_blocked.set(polled.is_pending());
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
