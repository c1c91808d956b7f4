//! Reaching an endpoint. TCP here; a carrier through the mesh is another implementation of [`Dial`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use route::{Backend, Endpoint, Permit, Target};
use tokio::net::TcpStream;

use crate::balance::{Failure, Flight};
use crate::local::Local;
use crate::resolve;
use crate::stream::Stream;
use crate::tls::Speak;

/// What [`Dial::dial`] returns: it stays on the data thread that asked.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<Stream>> + 'a>>;

/// Reaches endpoints.
pub trait Dial: Send + Sync + 'static {
    /// Connects to `endpoint` for the connection that `permit` allows. The caller bounds the time.
    fn dial<'a>(&'a self, endpoint: &'a Endpoint, permit: &'a Permit) -> Dialing<'a>;

    /// The same for whoever hands a socket on and has no use for one that a runtime watches: one that is connected by now.
    /// `None` where that takes time or more than a socket, which [`Dial::dial`] has.
    fn at_once(&self, _endpoint: &Endpoint, _permit: &Permit) -> Option<std::net::TcpStream> {
        None
    }
}

/// Plain TCP from this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDial;

impl Dial for TcpDial {
    fn dial<'a>(&'a self, endpoint: &'a Endpoint, _permit: &'a Permit) -> Dialing<'a> {
        Box::pin(async move {
            let stream = match &endpoint.target {
                Target::Ip(address) => TcpStream::connect(address).await?,
                Target::Host(host, port) => by_name(host, *port).await?,
            };
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        })
    }

    /// On this host alone: elsewhere it would be begun twice.
    fn at_once(&self, endpoint: &Endpoint, _permit: &Permit) -> Option<std::net::TcpStream> {
        let Target::Ip(address) = &endpoint.target else { return None };
        let is_here = address.ip().to_canonical().is_loopback();
        is_here.then(|| sys::listen::connect_at_once(*address).ok().flatten()).flatten()
    }
}

/// Connects to the first address of a host that can be reached.
async fn by_name(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in resolve::addresses(host).await?.iter() {
        match TcpStream::connect((*address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(cause) => last = cause,
        }
    }
    Err(last)
}

/// A target as people write it.
pub(crate) fn show(target: &Target) -> String {
    match target {
        Target::Ip(address) => address.to_string(),
        Target::Host(host, port) => format!("{host}:{port}"),
    }
}

/// One endpoint that could not be reached.
#[derive(Debug)]
pub struct Attempt {
    /// Where.
    pub endpoint: String,
    /// Why not.
    pub cause: io::Error,
}

/// No endpoint could be reached; nothing was sent to any.
#[derive(Debug)]
pub struct Unreachable {
    /// Service that was wanted.
    pub service: Arc<str>,
    /// What was tried, in order.
    pub attempts: Vec<Attempt>,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connect to service \"{}\"", self.service)?;
        for (number, attempt) in self.attempts.iter().enumerate() {
            let separator = if number == 0 { ": " } else { "; " };
            write!(f, "{separator}{}: {}", attempt.endpoint, attempt.cause)?;
        }
        Ok(())
    }
}

impl std::error::Error for Unreachable {}

impl Unreachable {
    /// True when the last attempt ran out of time.
    pub fn timed_out(&self) -> bool {
        self.attempts.last().is_some_and(|attempt| attempt.cause.kind() == io::ErrorKind::TimedOut)
    }
}

/// A connection with the count of it in the balancer.
#[derive(Debug)]
pub struct Connection {
    /// The connection.
    pub stream: Stream,
    /// Which endpoint of the backend.
    pub at: usize,
    /// Counted as long as it lives.
    pub flight: Flight,
}

/// Connects to one endpoint after another, best first, until one answers. An endpoint at `except` is none:
/// it is the listener that the connection came in by, and would lead back to itself for ever.
///
/// # Errors
/// [`Unreachable`] with every attempt.
pub async fn connect(
    local: &Rc<Local>,
    backend: &Arc<Backend>,
    permit: &Permit,
    except: Option<SocketAddr>,
) -> Result<Connection, Unreachable> {
    let is_except = |endpoint: &Endpoint| except.is_some_and(|except| endpoint.target == Target::Ip(except));
    let circles = backend.endpoints.iter().enumerate().filter(|(_, endpoint)| is_except(endpoint));
    let mut tried: Vec<usize> = circles.map(|(at, _)| at).collect();
    let mut attempts = Vec::new();
    while attempts.len() < local.config().attempts.max(1)
        && let Some((at, flight)) = local.pick(backend, &tried, None)
    {
        match dial(local, &backend.endpoints[at], permit, &flight, Speak::Bytes).await {
            Ok(stream) => return Ok(Connection { stream, at, flight }),
            Err(cause) => {
                attempts.push(Attempt { endpoint: show(&backend.endpoints[at].target), cause });
                tried.push(at);
            }
        }
    }
    if let Some(except) = except.filter(|_| attempts.is_empty()) {
        let cause = io::Error::other("the service is registered at the listener that leads to it");
        attempts.push(Attempt { endpoint: except.to_string(), cause });
    }
    Err(Unreachable { service: backend.service.clone(), attempts })
}

/// A plain socket that leads to the best endpoint, where it is had without waiting. It does not block.
pub fn connect_at_once(
    local: &Rc<Local>,
    backend: &Arc<Backend>,
    permit: &Permit,
) -> Option<(std::net::TcpStream, usize)> {
    let (at, flight) = local.pick(backend, &[], None)?;
    let endpoint = &backend.endpoints[at];
    if !local.upstreams().leaves_plain(permit.service(), endpoint, Speak::Bytes) {
        return None;
    }
    let stream = local.dialer().at_once(endpoint, permit)?;
    flight.connected(local.now_ns());
    Some((stream, at))
}

/// Connects to one endpoint within the configured time, with TLS where it belongs, and tells the balancer how it went.
pub(crate) async fn dial(
    local: &Rc<Local>,
    endpoint: &Endpoint,
    permit: &Permit,
    flight: &Flight,
    speak: Speak,
) -> io::Result<Stream> {
    let metrics = local.metrics();
    let dialing = async {
        let stream = local.dialer().dial(endpoint, permit).await?;
        match local.upstreams().leaves_plain(permit.service(), endpoint, speak) {
            true => Ok(stream),
            // Boxed: few need it, and it would be the largest part of every connection's task.
            false => Box::pin(local.upstreams().secure(permit.service(), endpoint, speak, stream)).await,
        }
    };
    let result = match tokio::time::timeout(local.config().connect_timeout, dialing).await {
        Ok(result) => result,
        Err(_) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within the time that is allowed"))
        }
    };
    match &result {
        Ok(_) => flight.connected(local.now_ns()),
        Err(cause) => {
            metrics.connect_failures.inc();
            local.failed(flight, Failure::Connect);
            tracing::debug!(node = %endpoint.node, instance = %endpoint.id, %cause, "cannot connect");
        }
    }
    result
}
