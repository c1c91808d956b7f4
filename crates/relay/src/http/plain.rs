//! Bare connections to endpoints, for whoever writes HTTP/1.1 by hand.
//!
//! They wait in the same pools as hyper's, in a stack of their own. One that the endpoint closed meanwhile is noticed
//! without a system call: the thread's poller was told.

use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use route::{Endpoint, Permit};
use tokio::io::{AsyncRead as _, ReadBuf};

use super::pool::Inner;
use crate::balance::{Flight, Stats};
use crate::dial::{dial, show};
use crate::local::Local;
use crate::stream::Stream;
use crate::tls::Speak;

/// A connection to an endpoint, between or within exchanges.
pub struct Plain {
    /// The connection.
    pub stream: Stream,
    /// It has carried an exchange before: if it fails without a byte, that tells nothing of the endpoint.
    pub used: bool,
    endpoint: Arc<Stats>,
    pools: Weak<Inner>,
}

/// A bare connection that waits.
pub(super) struct IdlePlain {
    stream: Stream,
    pub(super) since: Instant,
}

impl IdlePlain {
    /// True when nothing came since the last answer. Anything is wrong: an end, a reset, or bytes that nobody asked for.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        match &mut self.stream {
            Stream::Tcp(stream) => stream.poll_read_ready(&mut cx).is_pending(),
            Stream::Unix(stream) => stream.poll_read_ready(&mut cx).is_pending(),
            // Read, since what came may be none of ours: session tickets of TLS are taken up by this.
            Stream::Other(stream) => {
                let mut byte = [0];
                Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
            }
        }
    }
}

impl Plain {
    /// Keeps the connection for another exchange: the answer was read to its end, and not a byte more has come.
    pub fn give_back(self) {
        let Plain { stream, used: _, endpoint, pools } = self;
        let Some(pools) = pools.upgrade() else { return };
        pools.keep_plain(&endpoint, IdlePlain { stream, since: Instant::now() });
    }
}

/// True when the endpoint is reached by HTTP/1.1, as far as it says.
pub fn speaks_http1(endpoint: &Endpoint) -> bool {
    !matches!(endpoint.protocol.as_deref(), Some("h2c" | "grpc" | "h2" | "grpcs"))
}

/// An endpoint as people write it.
pub fn name(endpoint: &Endpoint) -> String {
    show(&endpoint.target)
}

/// The kept bare connection to the endpoint of `flight` that was used last. If it turns out to be dead, take a fresh one: whoever
/// ends connections on a request would be sent it over all of them.
pub fn kept(local: &Local, flight: &Flight) -> Option<Plain> {
    let pools = &local.pools.0;
    let stream = pools.pop_plain(flight.stats())?.stream;
    Some(Plain { stream, used: true, endpoint: flight.stats().clone(), pools: Rc::downgrade(pools) })
}

/// A new bare connection to the endpoint of `flight`.
pub(super) fn new(local: &Local, stream: Stream, flight: &Flight) -> Plain {
    let pools = Rc::downgrade(&local.pools.0);
    Plain { stream, used: false, endpoint: flight.stats().clone(), pools }
}

/// A new bare connection.
///
/// # Errors
/// Why there is none; the balancer knows of it.
pub async fn fresh(
    local: &Rc<Local>,
    endpoint: &Endpoint,
    permit: &Permit,
    flight: &Flight,
) -> io::Result<Plain> {
    let stream = dial(local, endpoint, permit, flight, Speak::Http1).await?;
    Ok(new(local, stream, flight))
}
