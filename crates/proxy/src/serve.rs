//! The proxy at work: what all its connections share, and what becomes of an accepted one.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use relay::accept::Accept;
use relay::limit::{Limits, Place};
use relay::pump::{Broken, Outcome};
use relay::udp::Toward;
use relay::{Keeping, Local, Relay, Stream};
use route::{Facts, Principal};
use state::{Drain, Reader};

use crate::config::{Config, ServiceListener};
use crate::http::conn::Arrival;
use crate::http::headers::Signature;
use crate::http::log::Log;
use crate::http::table::Table;
use crate::meant;
use crate::metrics::{Metrics, Miss};
use crate::preface;
use crate::public::{Door, Shown};
use crate::tls::keep::Keep;

/// Configuration with what is derived from it; replaced as a whole when it changes.
pub(crate) struct Live {
    pub(crate) config: Config,
    pub(crate) table: Table,
}

impl Live {
    pub(crate) fn new(config: Config) -> Live {
        Live { table: Table::new(&config.http), config }
    }

    pub(crate) fn response_timeout(&self) -> Option<Duration> {
        unless_zero(self.config.http.response_timeout)
    }

    pub(crate) fn tcp_idle(&self) -> Option<Duration> {
        unless_zero(self.config.tcp_idle_timeout)
    }
}

/// A limit, where zero means none.
pub(crate) fn unless_zero(limit: Duration) -> Option<Duration> {
    (!limit.is_zero()).then_some(limit)
}

/// Shared by all connections on all threads.
pub(crate) struct Face {
    pub(crate) live: ArcSwap<Live>,
    pub(crate) tls: Keep,
    pub(crate) shown: Shown,
    pub(crate) relay: Relay,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Metrics,
    /// Where requests are written down, if anywhere.
    pub(crate) log: ArcSwapOption<Log>,
    pub(crate) facts: Reader<Facts>,
    pub(crate) node: Arc<str>,
    /// This proxy in a `Via` field.
    pub(crate) signature: Signature,
    pub(crate) drain: Drain,
    /// Started when connections must go at once; the proxy has drained when the last holder of it is gone.
    pub(crate) cut: Drain,
}

impl Face {
    /// Takes another configuration.
    pub(crate) fn follow(&self, config: &Config) {
        self.tls.follow(&config.tls);
        self.open_log(config);
        self.live.store(Arc::new(Live::new(config.clone())));
    }

    /// Opens the access log anew: somebody may have moved the file away. One that cannot be opened leaves the one before
    /// in use, when it is the same.
    pub(crate) fn open_log(&self, config: &Config) {
        let Some(path) = &config.http.access_log else { return self.log.store(None) };
        match Log::open(path, &self.metrics) {
            Ok(log) => self.log.store(Some(log)),
            Err(cause) => {
                tracing::error!(path = %path.display(), %cause, "cannot open the access log");
                if self.log.load().as_ref().is_some_and(|log| log.path() != path) {
                    self.log.store(None);
                }
            }
        }
    }

    /// Whether an address is one of this host's own.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        is_local(&self.facts, address)
    }

    /// Resolves when connections must go at once.
    pub(crate) async fn deadline(&self) {
        self.cut.started().await;
    }

    /// Notes how a relayed connection ended.
    pub(crate) fn note(&self, outcome: &Outcome) {
        let Some(broken) = &outcome.broken else { return };
        if let Broken::Failed { side: relay::pump::Side::Upstream, .. } = broken {
            self.metrics.missed(Miss::Broken);
        }
        tracing::debug!(%broken, sent = outcome.moved.sent, received = outcome.moved.received, "cut off");
    }
}

fn identify(node: &Arc<str>, facts: &Reader<Facts>, from: IpAddr) -> Principal {
    match is_local(facts, from) {
        true => Principal::Node { name: node.clone() },
        false => Principal::Anonymous { from: from.to_canonical() },
    }
}

fn is_local(facts: &Reader<Facts>, address: IpAddr) -> bool {
    address.to_canonical().is_loopback() || facts.now().is_local(address)
}

/// One connection's surroundings.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) face: Arc<Face>,
    pub(crate) local: Rc<Local>,
}

impl Context {
    /// Who connected, as far as the kernel tells: a user of this host where the rules ask for users, else this node.
    /// Asking costs some ten microseconds, and so it is only done where it matters. A client that a proxy before us
    /// announced has no socket that leads here, and so is nobody's.
    pub(crate) fn identify(&self, stream: &tokio::net::TcpStream, peer: SocketAddr) -> Principal {
        let principal = identify(&self.face.node, &self.face.facts, peer.ip());
        let asks = || self.local.with_routes(|routes| routes.policy().asks_users());
        if !matches!(principal, Principal::Node { .. }) || !asks() {
            return principal;
        }
        match stream.local_addr().and_then(|at| sys::host::owner(peer, at)) {
            Ok(Some(uid)) => Principal::Local { uid },
            // Another network namespace of this host has it.
            Ok(None) => principal,
            Err(cause) => {
                tracing::warn!(client = %peer, %cause, "cannot tell whose a connection is");
                principal
            }
        }
    }
}

/// What a listener is for.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// The client names a service first.
    Named,
    /// One service; the listener's own address.
    Service(Arc<ServiceListener>, SocketAddr),
    /// One service, by its virtual address.
    Virtual(Arc<str>, SocketAddr),
    /// Whichever service has the virtual address that the client meant.
    Transparent,
    /// HTTP.
    Http,
    /// TLS, and what the name that is asked for says.
    Tls,
    /// HTTP for the world.
    PublicHttp,
    /// HTTPS for the world.
    PublicTls,
}

/// Takes connections in.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub(crate) face: Arc<Face>,
    role: Role,
}

impl Entrance {
    pub(crate) fn new(face: Arc<Face>) -> Entrance {
        Entrance { face, role: Role::Named }
    }

    pub(crate) fn with(&self, role: Role) -> Entrance {
        Entrance { role, ..self.clone() }
    }
}

impl Accept for Entrance {
    fn accept(&self, local: &Rc<Local>, socket: TcpStream, peer: SocketAddr, place: Place) {
        let stream = match tokio::net::TcpStream::from_std(socket) {
            Ok(stream) => stream,
            Err(cause) => {
                tracing::warn!(%cause, "cannot register a connection");
                return;
            }
        };
        let context = Context { face: self.face.clone(), local: local.clone() };
        let busy = local.busy();
        let metrics = &self.face.metrics;
        match self.role.clone() {
            Role::Named => {
                metrics.named.inc();
                tokio::task::spawn_local(Keeping::new(
                    (place, busy),
                    crate::tcp::named(context, stream, peer),
                ));
            }
            Role::Service(listener, at) => {
                metrics.service.inc();
                let serving = crate::tcp::by_listener(context, listener, stream, peer, at);
                tokio::task::spawn_local(Keeping::new((place, busy), serving));
            }
            Role::Virtual(service, at) => {
                metrics.by_virtual_ip.inc();
                let serving = crate::tcp::to_service(context, service, stream, peer, at);
                tokio::task::spawn_local(Keeping::new((place, busy), serving));
            }
            Role::Transparent => {
                metrics.by_virtual_ip.inc();
                let serving = crate::tcp::by_address(context, stream, peer);
                tokio::task::spawn_local(Keeping::new((place, busy), serving));
            }
            Role::Http => {
                metrics.http.inc();
                let serving = async move {
                    let listed = &context.face.live.load_full().config.http.accept_proxy;
                    if let Some((stream, ends)) = preface::ends(&context, stream, peer, listed).await {
                        let principal = context.identify(&stream, ends.from);
                        let arrival = Arrival { peer: ends.from, principal, site: None, door: Door::Usual };
                        crate::http::conn::serve(context, Stream::Tcp(stream), arrival).await;
                    }
                };
                tokio::task::spawn_local(Keeping::new((place, busy), serving));
            }
            Role::Tls => {
                metrics.tls.inc();
                let serving = async move {
                    let listed = &context.face.live.load_full().config.http.accept_proxy;
                    if let Some((stream, ends)) = preface::ends(&context, stream, peer, listed).await {
                        crate::tls::serve::serve(context, stream, ends.from, Door::Usual).await;
                    }
                };
                tokio::task::spawn_local(Keeping::new((place, busy), serving));
            }
            Role::PublicHttp => {
                metrics.http.inc();
                let principal = context.identify(&stream, peer);
                let arrival = Arrival { peer, principal, site: None, door: Door::Plain };
                let serving = crate::http::conn::serve(context, Stream::Tcp(stream), arrival);
                tokio::task::spawn_local(Keeping::new((place, busy), serving));
            }
            Role::PublicTls => {
                metrics.tls.inc();
                let serving = crate::tls::serve::serve(context, stream, peer, Door::Public);
                tokio::task::spawn_local(Keeping::new((place, busy), serving));
            }
        }
    }
}

/// Whichever service has the virtual address that was meant, and takes datagrams.
pub(crate) fn toward_meant(face: &Face) -> Toward {
    let facts = face.facts.clone();
    Toward::Meant(Arc::new(move |routes, at| {
        let backend = meant::backend(routes, &facts.now(), at)?;
        backend.takes_datagrams().then(|| backend.service.clone())
    }))
}

pub(crate) fn udp_config(face: &Face, toward: Toward) -> relay::udp::Config {
    let live = face.live.load();
    let (node, facts) = (face.node.clone(), face.facts.clone());
    relay::udp::Config {
        toward,
        idle: live.config.udp_idle_timeout.max(Duration::from_millis(1)),
        per_client: live.config.max_udp_sessions_per_address,
        total: live.config.max_udp_sessions,
        identify: Arc::new(move |from| identify(&node, &facts, from)),
    }
}
