//! The plain case of HTTP/1.1, by hand: a request without a body, asked of an HTTP/1.1 endpoint over a kept
//! connection. Four system calls and no task but the client's own.
//!
//! It only ever says yes. Whatever is out of the ordinary (an upgrade, a body, an expectation, a refusal, no route, no
//! connection) goes to hyper with every byte that was read, for the rest of the connection, as if this were not here;
//! so there is one place that refuses and one set of words. The order of reading is: [`request`] (what passes),
//! [`exchange`] (one request and its answer), [`answer`] (what comes back), [`rounds`] (time).

mod answer;
mod exchange;
mod request;
pub(crate) mod rounds;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use relay::Stream;
use route::{Backend, Permit};
use tokio::io::{AsyncRead, ReadBuf};

use super::forward::Client;
use super::framer::HeadLimits;
use super::head;
use super::table::Asked;
use super::{authority, path};
use rounds::{Order, Visited};

/// How it ended here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection is over.
    Closed,
    /// It broke in the middle of an answer, and must not end as if it were whole.
    Cut,
    /// Something for hyper: what was read begins with it.
    Unusual,
}

/// A client's connection as long as nothing unusual is asked on it.
pub(super) struct Fast<'a> {
    client: &'a Rc<Client>,
    stream: &'a mut Stream,
    visited: Rc<Visited>,
    limits: HeadLimits,
    /// What was read and not yet answered: the request at hand first.
    held: Vec<u8>,
    /// So many bytes of `held` have no end of a head in them.
    searched: usize,
    /// `held` has bytes that were not looked at.
    unseen: bool,
    /// The client was told that the connection ends.
    said_close: bool,
    /// Bytes of an answer's body that came with its head and were not understood yet.
    spare: Vec<u8>,
    /// The fields that every request of this connection gets, up to the host.
    signed: Vec<u8>,
}

/// A request that may go out.
pub(super) struct Ready {
    backend: Arc<Backend>,
    permit: Permit,
    /// The head as it goes out.
    head: Vec<u8>,
    /// Length of the head as it came in.
    taken: usize,
    /// `HEAD`: its answer has no body.
    bodiless: bool,
}

enum Next {
    Ended(End),
    Ready(Ready),
}

enum Examined {
    Partial,
    Unusual,
    Ready(Ready),
}

/// Serves requests until the connection ends, or one comes that is not plain; then what was read is returned with it.
pub(crate) async fn serve(
    client: &Rc<Client>,
    stream: &mut Stream,
    visited: Rc<Visited>,
    limits: HeadLimits,
) -> (End, Vec<u8>) {
    let signed = client.signature();
    let (held, spare, searched, unseen, said_close) = Default::default();
    let mut fast =
        Fast { client, stream, visited, limits, held, searched, unseen, said_close, spare, signed };
    loop {
        let next = poll_fn(|cx| fast.poll_request(cx)).await;
        let ended = match next {
            Next::Ended(end) => Some(end),
            Next::Ready(ready) => fast.exchange(ready).await,
        };
        if let Some(end) = ended {
            return (end, fast.held);
        }
    }
}

impl Fast<'_> {
    /// Waits for a whole head.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        self.visited.note_waker(cx);
        loop {
            match self.visited.order() {
                Order::Close => return Poll::Ready(Next::Ended(End::Closed)),
                Order::Leave if self.held.is_empty() => return Poll::Ready(Next::Ended(End::Closed)),
                // Refused in the state that hyper's way looks at.
                Order::Refuse => return Poll::Ready(Next::Ended(End::Unusual)),
                Order::Leave | Order::GoOn | Order::TimedOut => {}
            }
            if self.unseen {
                self.unseen = false;
                let held = std::mem::take(&mut self.held);
                let examined = self.examine(&held);
                self.held = held;
                if let Some(next) = self.settle(examined) {
                    return Poll::Ready(next);
                }
            }
            let local = self.client.context.local.clone();
            let next = local.with_buffer(|buffer| {
                let mut read = ReadBuf::new(buffer);
                let failed = ready!(Pin::new(&mut *self.stream).poll_read(cx, &mut read)).is_err();
                let bytes = read.filled();
                if failed || bytes.is_empty() {
                    return Poll::Ready(Some(Next::Ended(End::Closed)));
                }
                self.client.state.note_read(bytes.len());
                if !self.held.is_empty() {
                    self.held.extend_from_slice(bytes);
                    self.unseen = true;
                    return Poll::Ready(None);
                }
                let examined = self.examine(bytes);
                self.held.extend_from_slice(bytes);
                Poll::Ready(self.settle(examined))
            });
            match next {
                Poll::Ready(Some(next)) => return Poll::Ready(next),
                Poll::Ready(None) => {}
                Poll::Pending => {
                    if self.held.is_empty() {
                        // Idle connections keep no memory.
                        self.held = Vec::new();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn settle(&mut self, examined: Examined) -> Option<Next> {
        match examined {
            Examined::Ready(ready) => {
                self.searched = 0;
                Some(Next::Ready(ready))
            }
            Examined::Unusual => Some(Next::Ended(End::Unusual)),
            Examined::Partial => {
                self.searched = self.held.len();
                self.client.state.set_in_head(true);
                None
            }
        }
    }

    /// Looks at what the client sent, from the beginning of a request on.
    fn examine(&self, bytes: &[u8]) -> Examined {
        let length = match head::end(bytes, self.searched) {
            Ok(Some(length)) if length <= self.limits.bytes => length,
            Ok(None) if bytes.len() <= self.limits.bytes => return Examined::Partial,
            _ => return Examined::Unusual,
        };
        match self.prepare(&bytes[..length]) {
            Some(ready) => Examined::Ready(ready),
            None => Examined::Unusual,
        }
    }

    /// The request as it goes out, and where to; `None` for everything that hyper's way should look at.
    fn prepare(&self, bytes: &[u8]) -> Option<Ready> {
        let client = self.client;
        let face = &client.context.face;
        // What is written down is written on hyper's way.
        if face.log.load().is_some() {
            return None;
        }
        let mut head = Vec::with_capacity(bytes.len() + self.signed.len() + 64);
        let request = request::copy(bytes, self.limits.fields, &mut head)?;
        let host = authority::host(request.host)?;
        if face.tls.sites.load().misdirects(&host, client.site.as_deref()) {
            return None;
        }
        let live = face.live.load();
        let (path, _) = request.target.split_once('?').unwrap_or((request.target, ""));
        // Only what is its own canonical form is forwarded as it came.
        if live.table.decides_by_path(&host) && path::canonical(path).ok()? != path {
            return None;
        }
        let led = client.context.local.with_routes(|routes| {
            let found = client.lead(&live, routes, Asked { host: &host, path })?;
            if !found.is_plain() {
                return None;
            }
            match routes.permit(client.caller(), &found.service) {
                Ok(allowed) => Some(allowed),
                Err(denial) => {
                    // Hyper's way answers, and must not ask again: rules count their hits.
                    client.denied.replace(Some(denial));
                    None
                }
            }
        });
        let (backend, permit) = led?;
        head.extend_from_slice(&self.signed);
        head.extend_from_slice(request.host.as_bytes());
        head.extend_from_slice(b"\r\n\r\n");
        Some(Ready { backend, permit, head, taken: bytes.len(), bodiless: request.bodiless })
    }
}
