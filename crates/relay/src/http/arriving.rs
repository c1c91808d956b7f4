//! One request without a body over a bare HTTP/1.1 connection, and its answer: no task of its own, no channel, and one
//! wake-up when the answer comes.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::{Body, BodyError};
use super::framing::{Framing, Malformed};
use super::head::{self, Head};
use super::plain::Plain;
use crate::local::Local;
use crate::stream::Stream;

/// Most that is read at once, and so most that is kept of an answer which the client does not take.
const MOST_AT_ONCE: usize = 16 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The connection ended before an answer began.
    Lost(io::Error),
    /// What came is none.
    Bad(BodyError),
}

/// How far the endpoint was asked.
#[derive(Default)]
struct Asking {
    /// Bytes of the request that are out.
    written: usize,
    /// The beginning of an answer.
    part: Bytes,
}

/// Sends `request` and waits for an answer's head. The body holds the connection, and gives it back to the pool where it
/// ends well.
///
/// # Errors
/// See [`Failed`].
pub(super) async fn ask(
    local: &Rc<Local>,
    mut up: Plain,
    request: &[u8],
    bodiless: bool,
) -> Result<Response<Body>, Failed> {
    let mut asking = Asking::default();
    let (head, left) = poll_fn(|cx| asking.poll(cx, local, &mut up.stream, request, bodiless)).await?;
    let Head { response, framing, keeps, .. } = head;
    let (local, trailers) = (local.clone(), HeaderMap::new());
    let mut arriving = Arriving { local, up: Some(up), left, framing, trailers, keeps };
    // Most answers are whole by now: then the connection is free for others before this one is passed on.
    let body = match arriving.whole() {
        Some(whole) => Body::from(whole),
        None => Body::from(arriving),
    };
    Ok(response.map(|()| body))
}

impl Asking {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        local: &Local,
        up: &mut Stream,
        request: &[u8],
        bodiless: bool,
    ) -> Poll<Result<(Head, Bytes), Failed>> {
        while self.written < request.len() {
            match ready!(Pin::new(&mut *up).poll_write(cx, &request[self.written..])) {
                Ok(count @ 1..) => self.written += count,
                Ok(_) => return Poll::Ready(Err(Failed::Lost(io::ErrorKind::WriteZero.into()))),
                Err(cause) => return Poll::Ready(Err(Failed::Lost(cause))),
            }
        }
        // Under TLS a write is not out before it is flushed.
        if let Stream::Other(stream) = &mut *up
            && let Err(cause) = ready!(Pin::new(stream).poll_flush(cx))
        {
            return Poll::Ready(Err(Failed::Lost(cause)));
        }
        loop {
            let read = match ready!(poll_some(cx, local, up, &self.part)) {
                Ok(Some(read)) => read,
                Ok(None) if self.part.is_empty() => {
                    let cause = io::Error::new(io::ErrorKind::UnexpectedEof, "closed before an answer");
                    return Poll::Ready(Err(Failed::Lost(cause)));
                }
                Ok(None) => return Poll::Ready(Err(Malformed("it breaks off in its head").into())),
                Err(cause) if self.part.is_empty() => return Poll::Ready(Err(Failed::Lost(cause))),
                Err(cause) => return Poll::Ready(Err(Failed::Bad(cause.into()))),
            };
            let mut left = read;
            match head::take(&mut left, bodiless) {
                Ok(Some(head)) => return Poll::Ready(Ok((head, left))),
                Ok(None) => self.part = left,
                Err(malformed) => return Poll::Ready(Err(malformed.into())),
            }
        }
    }
}

impl From<Malformed> for Failed {
    fn from(malformed: Malformed) -> Failed {
        Failed::Bad(malformed.into())
    }
}

/// Reads once, by the thread's buffer: `before` and what came, or `None` at the end.
fn poll_some(
    cx: &mut Context<'_>,
    local: &Local,
    up: &mut Stream,
    before: &[u8],
) -> Poll<io::Result<Option<Bytes>>> {
    local.with_buffer(|buffer| {
        let mut read = ReadBuf::new(&mut buffer[..MOST_AT_ONCE]);
        ready!(Pin::new(up).poll_read(cx, &mut read))?;
        let came = read.filled();
        Poll::Ready(Ok(match (came.is_empty(), before.is_empty()) {
            (true, _) => None,
            (false, true) => Some(Bytes::copy_from_slice(came)),
            (false, false) => Some([before, came].concat().into()),
        }))
    })
}

/// A body on its way, with its connection.
pub(super) struct Arriving {
    local: Rc<Local>,
    /// `None` once it has ended.
    up: Option<Plain>,
    /// Read, and not passed on.
    left: Bytes,
    framing: Framing,
    /// Those that have come.
    trailers: HeaderMap,
    /// The endpoint keeps the connection.
    keeps: bool,
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arriving").field("framing", &self.framing).finish_non_exhaustive()
    }
}

impl Arriving {
    /// All of it, when all of it came with the head.
    fn whole(&mut self) -> Option<Bytes> {
        let whole = match self.framing {
            Framing::Over => Bytes::new(),
            Framing::Length(length) => {
                let length = usize::try_from(length).ok().filter(|length| *length <= self.left.len())?;
                self.left.split_to(length)
            }
            Framing::Chunked(_) | Framing::UntilClosed => return None,
        };
        self.end();
        Some(whole)
    }

    /// Nothing more comes: the connection is for others, if the endpoint keeps it and has said nothing else.
    fn end(&mut self) {
        self.framing = Framing::Over;
        if let Some(up) = self.up.take()
            && self.keeps
            && self.left.is_empty()
        {
            up.give_back();
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.framing.is_over()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Over => SizeHint::with_exact(0),
            Framing::Length(length) => SizeHint::with_exact(length),
            Framing::Chunked(_) | Framing::UntilClosed => SizeHint::new(),
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            match self.at_hand() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.is_over() => return Poll::Ready(None),
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Some(Err(io::Error::other(malformed)))),
            }
            let Some(up) = &mut self.up else { return Poll::Ready(None) };
            match ready!(poll_some(cx, &self.local, &mut up.stream, &self.left)) {
                Ok(Some(read)) => self.left = read,
                Ok(None) if matches!(self.framing, Framing::UntilClosed) => self.end(),
                Ok(None) => {
                    self.up = None;
                    let cause = io::Error::new(io::ErrorKind::UnexpectedEof, "the answer breaks off");
                    return Poll::Ready(Some(Err(cause)));
                }
                Err(cause) => return Poll::Ready(Some(Err(cause))),
            }
        }
    }

    /// What can be passed on of what was read.
    fn at_hand(&mut self) -> Result<Option<Frame<Bytes>>, Malformed> {
        let frame = self.framing.frame(&mut self.left, &mut self.trailers)?;
        if self.is_over() {
            self.end();
        }
        Ok(frame)
    }
}

/// What an answer that comes in `parts` comes down to, for [`super::fuzz_answer`]: its status and body, and what is left;
/// `None` where it is none or breaks off.
pub(super) fn followed(parts: &[&[u8]]) -> Option<(u16, Vec<u8>, Vec<u8>)> {
    let (mut head, mut left, mut body, mut trailers) =
        (None::<Head>, Bytes::new(), Vec::new(), HeaderMap::new());
    for part in parts {
        left = [&left[..], part].concat().into();
        if head.is_none() {
            head = head::take(&mut left, false).ok()?;
        }
        while let Some(head) = &mut head
            && let Some(frame) = head.framing.frame(&mut left, &mut trailers).ok()?
        {
            body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
    }
    let head = head.filter(|head| matches!(head.framing, Framing::Over | Framing::UntilClosed))?;
    Some((head.response.status().as_u16(), body, left.to_vec()))
}
