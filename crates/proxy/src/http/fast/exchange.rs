//! One plain request and its answer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use relay::balance::{Failure, Flight};
use relay::http::framing::Framing;
use relay::http::plain::{self, Plain};
use relay::{Local, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::answer::{self, Begun, Head};
use super::rounds::Order;
use super::{End, Fast, Ready};
use crate::http::conn::LINGER;
use crate::metrics::Miss;

/// Most bytes of further requests that are read while one is answered.
const MOST_HELD: usize = 64 * 1024;

/// What became of asking.
enum Asked {
    /// The connection to the endpoint ended before an answer began.
    Lost,
    /// What came is no answer.
    Bad,
    /// Nothing came in time.
    TimedOut,
    /// The client is gone, or has to go.
    Gone,
    /// An answer; what the client did not take yet of what came with its head.
    Begun { head: Head, rest: Vec<u8>, extra: bool },
}

/// How far an endpoint was asked.
#[derive(Default)]
struct Asking {
    /// Bytes of the request that are out.
    written: usize,
    /// The beginning of an answer.
    part: Vec<u8>,
}

/// How far an answer was passed on.
struct Passing {
    body: Framing,
    /// For the client, who would not take it yet.
    rest: Vec<u8>,
    /// Came, and is not understood yet.
    part: Vec<u8>,
    /// More came than belongs to the answer.
    extra: bool,
}

impl Fast<'_> {
    /// Asks and answers; `None` when the connection goes on.
    pub(super) async fn exchange(&mut self, ready: Ready) -> Option<End> {
        let client = self.client;
        client.state.enter();
        self.visited.asks();
        let forbidden = client.context.local.forbidden_from_now(ready.permit.clone());
        let ended = tokio::select! {
            biased;
            ended = self.ask(ready) => ended,
            () = forbidden => {
                tracing::info!(client = %client.peer, "the rules no longer allow a request");
                Some(End::Cut)
            }
        };
        self.visited.is_answered();
        match ended {
            // Hyper's way counts it again.
            Some(End::Unusual) => client.state.undo(),
            _ => client.state.end(),
        }
        ended
    }

    async fn ask(&mut self, ready: Ready) -> Option<End> {
        let local = &self.client.context.local;
        let Some((at, flight)) = local.pick(&ready.backend, &[], None) else { return Some(End::Unusual) };
        let endpoint = &ready.backend.endpoints[at];
        if !plain::speaks_http1(endpoint) {
            return Some(End::Unusual);
        }
        let mut kept = plain::kept(local, &flight);
        loop {
            let mut up = match kept.take() {
                Some(up) => up,
                None => match plain::fresh(local, endpoint, &ready.permit, &flight).await {
                    Ok(up) => up,
                    Err(_) => return Some(End::Unusual),
                },
            };
            let mut asking = Asking::default();
            match poll_fn(|cx| self.poll_ask(cx, &mut up, &ready, &mut asking)).await {
                Asked::Begun { head, rest, extra } => {
                    return self.pass_on(up, &flight, ready.taken, head, (rest, extra)).await;
                }
                // It tells of the connection and not of the endpoint, once.
                Asked::Lost if up.used => local.metrics().retries.inc(),
                Asked::Lost => {
                    local.failed(&flight, Failure::Answer);
                    return Some(End::Unusual);
                }
                failed @ (Asked::Bad | Asked::TimedOut) => {
                    local.failed(&flight, Failure::Answer);
                    return Some(self.fail(&plain::name(endpoint), failed).await);
                }
                Asked::Gone => return Some(End::Closed),
            };
        }
    }

    /// Sends the request and waits for an answer's head, which goes to the client at once.
    fn poll_ask(
        &mut self,
        cx: &mut Context<'_>,
        up: &mut Plain,
        ready: &Ready,
        asking: &mut Asking,
    ) -> Poll<Asked> {
        match self.visited.order() {
            Order::Close => return Poll::Ready(Asked::Gone),
            Order::TimedOut => return Poll::Ready(Asked::TimedOut),
            Order::GoOn | Order::Leave | Order::Refuse => {}
        }
        while asking.written < ready.head.len() {
            let left = &ready.head[asking.written..];
            match ready!(Pin::new(&mut up.stream).poll_write(cx, left)) {
                Ok(count @ 1..) => asking.written += count,
                _ => return Poll::Ready(Asked::Lost),
            }
        }
        // Under TLS a write is not out before it is flushed.
        if let Stream::Other(stream) = &mut up.stream
            && ready!(Pin::new(stream).poll_flush(cx)).is_err()
        {
            return Poll::Ready(Asked::Lost);
        }
        let local = self.client.context.local.clone();
        loop {
            let polled = local.with_buffer(|buffer| {
                let mut read = ReadBuf::new(buffer);
                let failed = ready!(Pin::new(&mut up.stream).poll_read(cx, &mut read)).is_err();
                if failed || read.filled().is_empty() {
                    let silent = asking.part.is_empty();
                    return Poll::Ready(Some(if silent { Asked::Lost } else { Asked::Bad }));
                }
                if asking.part.is_empty() {
                    return Poll::Ready(self.begin(cx, read.filled(), ready, &mut asking.part));
                }
                let mut whole = std::mem::take(&mut asking.part);
                whole.extend_from_slice(read.filled());
                Poll::Ready(self.begin(cx, &whole, ready, &mut asking.part))
            });
            match polled {
                Poll::Ready(Some(asked)) => return Poll::Ready(asked),
                Poll::Ready(None) => {}
                Poll::Pending if self.poll_client(cx).is_err() => return Poll::Ready(Asked::Gone),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads an answer's head and writes to the client what came of the answer; `None` when it is not complete.
    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        mut bytes: &[u8],
        ready: &Ready,
        part: &mut Vec<u8>,
    ) -> Option<Asked> {
        let mut out = Vec::with_capacity(512);
        let closing = self.leaves();
        let mut head = loop {
            match answer::copy(bytes, ready.bodiless, closing, &mut out) {
                Begun::Head(head) => break head,
                Begun::Interim(length) => bytes = &bytes[length..],
                Begun::Bad => return Some(Asked::Bad),
                Begun::Partial => {
                    part.extend_from_slice(bytes);
                    return None;
                }
            }
        };
        let came = &bytes[head.length..];
        let Ok(taken) = head.body.take(came) else { return Some(Asked::Bad) };
        let (body, left) = came.split_at(taken);
        // What is left belongs to a chunk that is not complete, or to nobody.
        let extra = head.body.is_over() && !left.is_empty();
        if !head.body.is_over() {
            self.spare.extend_from_slice(left);
        }
        let slices = [io::IoSlice::new(&out), io::IoSlice::new(body)];
        let written = match Pin::new(&mut *self.stream).poll_write_vectored(cx, &slices) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(_)) => return Some(Asked::Gone),
            Poll::Pending => 0,
        };
        self.client.state.note_write(written);
        let rest = match written.checked_sub(out.len()) {
            None => [&out[written..], body].concat(),
            Some(of_body) => body[of_body..].to_vec(),
        };
        Some(Asked::Begun { head, rest, extra })
    }

    async fn pass_on(
        &mut self,
        mut up: Plain,
        flight: &Flight,
        taken: usize,
        head: Head,
        (rest, extra): (Vec<u8>, bool),
    ) -> Option<End> {
        let client = self.client;
        let local = &client.context.local;
        let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
        match status.is_server_error() {
            true => local.failed(flight, Failure::Answer),
            false => flight.answered(local.now_ns()),
        }
        self.visited.is_answered();
        client.context.face.metrics.answered(status);
        self.held.drain(..taken);
        self.unseen = !self.held.is_empty();
        let until_closed = matches!(head.body, Framing::UntilClosed);
        let mut passing = Passing { body: head.body, rest, part: Vec::new(), extra };
        let is_out = passing.rest.is_empty() && self.stream.as_tcp().is_some();
        if !(passing.body.is_over() && is_out) {
            passing.part = std::mem::take(&mut self.spare);
            if poll_fn(|cx| self.poll_pass(cx, &mut up, &mut passing)).await.is_err() {
                // The client must not take this for a whole answer.
                if let Some(socket) = self.stream.as_tcp() {
                    // Fails only on a socket that is gone.
                    let _ = sys::listen::reset_on_close(socket);
                }
                return Some(End::Cut);
            }
        }
        if head.keeps && !passing.extra {
            up.give_back();
        }
        (until_closed || self.said_close).then_some(End::Closed)
    }

    /// Passes a body on, to its end.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        up: &mut Plain,
        passing: &mut Passing,
    ) -> Poll<Result<(), ()>> {
        if self.visited.order() == Order::Close {
            return Poll::Ready(Err(()));
        }
        let local = self.client.context.local.clone();
        loop {
            ready!(self.poll_flush_rest(cx, &mut passing.rest))?;
            if passing.body.is_over() {
                return Poll::Ready(Ok(()));
            }
            let polled = local.with_buffer(|buffer| self.poll_pass_some(cx, up, passing, buffer));
            match polled {
                Poll::Ready(result) => result?,
                Poll::Pending if self.poll_client(cx).is_err() => return Poll::Ready(Err(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_pass_some(
        &mut self,
        cx: &mut Context<'_>,
        up: &mut Plain,
        passing: &mut Passing,
        buffer: &mut [u8],
    ) -> Poll<Result<(), ()>> {
        let mut read = ReadBuf::new(buffer);
        ready!(Pin::new(&mut up.stream).poll_read(cx, &mut read)).map_err(drop)?;
        if read.filled().is_empty() {
            return Poll::Ready(match passing.body {
                Framing::UntilClosed => {
                    passing.body = Framing::Over;
                    Ok(())
                }
                _ => Err(()),
            });
        }
        let whole;
        let bytes = match passing.part.is_empty() {
            true => read.filled(),
            false => {
                passing.part.extend_from_slice(read.filled());
                whole = std::mem::take(&mut passing.part);
                &whole
            }
        };
        let taken = passing.body.take(bytes).map_err(drop)?;
        let (body, left) = bytes.split_at(taken);
        match passing.body.is_over() {
            true => passing.extra |= !left.is_empty(),
            false => passing.part.extend_from_slice(left),
        }
        let written = match Pin::new(&mut *self.stream).poll_write(cx, body) {
            _ if body.is_empty() => 0,
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
            Poll::Pending => 0,
        };
        self.client.state.note_write(written);
        passing.rest.extend_from_slice(&body[written..]);
        Poll::Ready(Ok(()))
    }

    /// Writes what the client would not take before.
    fn poll_flush_rest(&mut self, cx: &mut Context<'_>, rest: &mut Vec<u8>) -> Poll<Result<(), ()>> {
        while !rest.is_empty() {
            let polled = Pin::new(&mut *self.stream).poll_write(cx, rest);
            self.client.state.set_write_blocked(polled.is_pending());
            match ready!(polled) {
                Ok(written @ 1..) => {
                    self.client.state.note_write(written);
                    rest.drain(..written);
                }
                _ => return Poll::Ready(Err(())),
            }
        }
        // Under TLS a write is not out before it is flushed.
        if let Stream::Other(_) = self.stream {
            let polled = Pin::new(&mut *self.stream).poll_flush(cx);
            self.client.state.set_write_blocked(polled.is_pending());
            ready!(polled).map_err(drop)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Notices that the client left, and keeps what it asks meanwhile.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
        let local: Rc<Local> = self.client.context.local.clone();
        while self.held.len() < MOST_HELD {
            let polled = local.with_buffer(|buffer| {
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(&mut *self.stream).poll_read(cx, &mut read)).map_err(drop)?;
                self.held.extend_from_slice(read.filled());
                self.client.state.note_read(read.filled().len());
                Poll::Ready(if read.filled().is_empty() { Err(()) } else { Ok(()) })
            });
            match polled {
                Poll::Ready(result) => result?,
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }

    /// True when this is the last answer of the connection; it says so.
    fn leaves(&mut self) -> bool {
        self.said_close = self.visited.order() == Order::Leave || self.client.context.face.drain.is_started();
        self.said_close
    }

    /// Answers in place of an endpoint that failed, and ends the connection.
    async fn fail(&mut self, endpoint: &str, failed: Asked) -> End {
        let metrics = &self.client.context.face.metrics;
        let (status, miss, reason) = match failed {
            Asked::TimedOut => {
                let after = self.visited.patience_for_answers().as_secs_f32();
                (StatusCode::GATEWAY_TIMEOUT, Miss::TimedOut, format!("no answer within {after} s"))
            }
            _ => (StatusCode::BAD_GATEWAY, Miss::Failed, "what it sent is no answer".to_owned()),
        };
        metrics.missed(miss);
        metrics.answered(status);
        let text = format!("{}: send a request to {endpoint}: {reason}\n", status.as_u16());
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: \
             {}\r\n\r\n{text}",
            text.len()
        );
        // A client that takes nothing has none of it.
        let _ = tokio::time::timeout(LINGER, self.stream.write_all(answer.as_bytes())).await;
        End::Closed
    }
}
