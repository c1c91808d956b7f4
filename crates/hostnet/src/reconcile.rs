//! Brings the plan about: opens on request, moves and closes as the services and the host change.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::Command;
use imbl::OrdMap;
use route::{Backend, Facts, Routes, VirtualSocket};
use state::{Drain, Failure, Reader, Report};
use store::Store;
use sys::host::Host;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::plan::{Known, Observed, Placement, Transports, Wish, place};
use crate::transparent::Led;
use crate::{Ask, Listeners, Work, registered_ports};

/// What the face is handed.
pub struct Inputs {
    /// Services.
    pub routes: Reader<Routes>,
    /// Registrations on this node, and the way to ask for another virtual address.
    pub store: Store,
    /// This host.
    pub host: Arc<dyn Host>,
    /// Opens and closes sockets.
    pub listeners: Arc<dyn Listeners>,
    /// This face's end of its handle.
    pub work: Work,
    /// What the kernel leads to one listener, see [`crate::transparent`].
    pub led: Reader<Led>,
}

/// How often the host is looked at although nothing changed in the catalog.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long a look at the socket tables is good for. A stale one costs a failed bind and a second try.
const LOOK_HOLDS: Duration = Duration::from_secs(1);
/// Shortest time between two rounds that changes of the catalog cause.
const ROUND: Duration = Duration::from_millis(200);
/// Ports tried for one service before giving up for now.
const TRIES: usize = 8;
/// Addresses of one service that this host may refuse in one life: two hosts, or two daemons on one, that
/// disagree must not chase a service through the whole range.
const MOST_AVOIDED: u32 = 3;

/// Opens sockets for those who ask, and keeps what is open in order, until the drain starts.
pub async fn run(config: Config, inputs: Inputs, drain: Drain) {
    let Inputs { mut routes, store, host, listeners, mut work, mut led } = inputs;
    let mut asks = std::mem::replace(&mut work.asks, tokio::sync::mpsc::channel(1).1);
    let mut face = Reconciler::new(config, routes.clone(), store, host, listeners, work);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut changed, mut rounds) = (false, interval(ROUND));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = drain.started() => return,
            Some(ask) = asks.recv() => face.answer(ask).await,
            Some(led) = led.next() => {
                face.observed.led = Led::clone(&led);
                face.round().await;
            }
            news = routes.next(), if !changed => match news {
                Some(_) => changed = true,
                None => return,
            },
            _ = rounds.tick(), if changed => {
                changed = false;
                face.round().await;
            }
            _ = looks.tick() => {
                face.look().await;
                face.round().await;
            }
        }
    }
}

/// A socket that is open.
struct Open {
    wish: Wish,
    socket: VirtualSocket,
    /// What is listened on for it.
    bound: Transports,
}

struct Reconciler {
    config: Config,
    routes: Reader<Routes>,
    store: Store,
    host: Arc<dyn Host>,
    listeners: Arc<dyn Listeners>,
    work: Work,
    /// By service name in lower case.
    open: BTreeMap<Arc<str>, Open>,
    /// Why services that were asked for are not open.
    failures: BTreeMap<Arc<str>, Failure>,
    known: Known,
    observed: Observed,
    looked: Option<Instant>,
    avoided: BTreeMap<Arc<str>, u32>,
    asked_to_avoid: BTreeMap<Ipv4Addr, Instant>,
}

impl Reconciler {
    fn new(
        config: Config,
        routes: Reader<Routes>,
        store: Store,
        host: Arc<dyn Host>,
        listeners: Arc<dyn Listeners>,
        work: Work,
    ) -> Reconciler {
        let addresses = work.facts.now().own_addresses.clone();
        let observed = Observed { uid: sys::process::user(), addresses, ..Observed::default() };
        Reconciler {
            config,
            routes,
            store,
            host,
            listeners,
            work,
            observed,
            open: BTreeMap::new(),
            failures: BTreeMap::new(),
            known: Known::default(),
            looked: None,
            avoided: BTreeMap::new(),
            asked_to_avoid: BTreeMap::new(),
        }
    }

    /// Answers one who asks; opens first if need be.
    async fn answer(&mut self, ask: Ask) {
        let Ask { service, reply } = ask;
        let routes = self.routes.now();
        if let Some(wish) = routes.backend(&service).and_then(|backend| wish(backend, None)) {
            let key: Arc<str> = service.as_str().into();
            let settled = self.open.get(&key).is_some_and(|open| open.wish == wish);
            if !settled && (self.open.contains_key(&key) || self.open.len() < self.config.max_open) {
                self.settle(&key, wish).await;
                self.publish();
            }
        }
        let socket = self.open.get(&*service).map(|open| open.socket.clone());
        // Whoever asked may have given up waiting.
        let _ = reply.send(socket);
    }

    /// Looks at everything that is open again.
    async fn round(&mut self) {
        let routes = self.routes.now();
        self.failures.retain(|service, _| routes.backend(service).is_some());
        self.avoided.retain(|service, _| routes.backend(service).is_some());
        let open: Vec<(Arc<str>, Transports)> =
            self.open.iter().map(|(key, open)| (key.clone(), open.wish.transports)).collect();
        for (key, transports) in open {
            match routes.backend(&key).and_then(|backend| wish(backend, Some(transports))) {
                Some(wish) => self.settle(&key, wish).await,
                None => self.close(&key).await,
            }
        }
        self.publish();
    }

    /// Brings one service's socket to where the plan wants it.
    async fn settle(&mut self, key: &Arc<str>, wish: Wish) {
        self.look_if_stale().await;
        for _ in 0..TRIES {
            let held = self.open.get(key).map(|open| &open.socket);
            let placement = place(&wish, held, &self.observed, &self.known, &self.config);
            match placement {
                Placement::At(socket) => match self.hold(key, &wish, socket.clone()).await {
                    Ok(()) => return,
                    Err(cause) => {
                        if let Some(failure) = self.refused(&wish, socket.address, &cause) {
                            return self.fail(key, failure).await;
                        }
                    }
                },
                Placement::Avoid(why) => {
                    self.avoid(key, wish.address, &why).await;
                    return self.fail(key, failure(&wish, why)).await;
                }
                Placement::Nowhere(why) => return self.fail(key, failure(&wish, why)).await,
            }
        }
        let why = format!("{TRIES} ports were refused one after the other");
        self.fail(key, failure(&wish, why)).await;
    }

    /// Opens the new socket first, tells everybody, then closes the old one.
    async fn hold(&mut self, key: &Arc<str>, wish: &Wish, socket: VirtualSocket) -> io::Result<()> {
        let bound = self.observed.bound(wish.address, wish.transports);
        let before = self.open.get(key).map(|open| (open.socket.address, open.bound));
        if before == Some((socket.address, bound)) {
            self.open.insert(key.clone(), Open { wish: wish.clone(), socket, bound });
            return Ok(());
        }
        if let Some((address, bound)) = before.filter(|(address, _)| *address == socket.address) {
            // The same socket for other protocols: it cannot be open twice.
            self.open.remove(key);
            self.release(address, bound).await;
        }
        if bound.any() {
            self.listeners.open(socket.address, wish.service.clone(), bound).await?;
        } else if wish.transports.udp {
            let six = socket.six.map(|six| SocketAddr::from((six, socket.address.port())));
            [Some(socket.address.into()), six]
                .into_iter()
                .flatten()
                .try_for_each(|at| self.listeners.may_answer(at))?;
        }
        let VirtualSocket { address, moved, .. } = &socket;
        match moved {
            None => tracing::info!(service = %wish.service, %address, "opened a virtual address"),
            Some(why) => {
                tracing::info!(service = %wish.service, %address, %why, "opened a virtual address elsewhere")
            }
        }
        self.known.ours.insert(*address, key.clone());
        self.failures.remove(key);
        let replaced = self.open.insert(key.clone(), Open { wish: wish.clone(), socket, bound });
        if let Some(replaced) = replaced {
            self.publish();
            self.release(replaced.socket.address, replaced.bound).await;
        }
        Ok(())
    }

    /// Remembers why a socket could not be bound; the failure to report when another port would not help.
    fn refused(&mut self, wish: &Wish, address: SocketAddrV4, cause: &io::Error) -> Option<Failure> {
        let why = match cause.kind() {
            io::ErrorKind::AddrInUse => "another program holds it".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "binding it needs a privilege (CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start)"
                    .to_owned()
            }
            _ => return Some(failure(wish, format!("bind {address}: {cause}"))),
        };
        self.known.refused.insert(address, why.into());
        None
    }

    async fn avoid(&mut self, key: &Arc<str>, address: Ipv4Addr, why: &str) {
        let now = Instant::now();
        self.asked_to_avoid.retain(|_, asked| now.duration_since(*asked) < LOOK_EVERY * 6);
        let times = self.avoided.entry(key.clone()).or_default();
        if *times >= MOST_AVOIDED || self.asked_to_avoid.contains_key(&address) {
            return;
        }
        *times += 1;
        self.asked_to_avoid.insert(address, now);
        tracing::warn!(service = %key, %address, why, "asking for another virtual address");
        if let Err(cause) = self.store.submit(Command::AvoidVirtualIp { address }).await {
            tracing::warn!(service = %key, %address, %cause, "cannot ask for another virtual address");
        }
    }

    async fn fail(&mut self, key: &Arc<str>, failure: Failure) {
        if self.failures.get(key) != Some(&failure) {
            tracing::warn!(attempted = failure.attempted, cause = failure.cause, "no virtual address here");
        }
        self.failures.insert(key.clone(), failure);
        self.close(key).await;
    }

    /// Tells everybody first, then closes.
    async fn close(&mut self, key: &Arc<str>) {
        if let Some(open) = self.open.remove(key) {
            self.publish();
            tracing::info!(service = %key, address = %open.socket.address, "closed a virtual address");
            self.release(open.socket.address, open.bound).await;
        }
    }

    async fn release(&mut self, address: SocketAddrV4, bound: Transports) {
        if bound.any() {
            self.listeners.close(address).await;
        }
        self.known.ours.remove(&address);
    }

    async fn look_if_stale(&mut self) {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_HOLDS) {
            self.look_at_sockets().await;
        }
        let view = self.store.now();
        let node = view.node(self.store.node());
        let facts = self.work.facts.now();
        self.observed.registered = node.map_or_else(BTreeMap::new, |node| registered_ports(node, &facts));
    }

    /// Looks at the host. Forgets what the kernel refused: whoever held it may be gone.
    async fn look(&mut self) {
        match self.host.addresses() {
            Ok(addresses) => self.observed.addresses = addresses,
            Err(cause) => tracing::warn!(%cause, "cannot read this host's addresses"),
        }
        self.known.refused.clear();
        if !self.open.is_empty() {
            self.look_at_sockets().await;
        }
    }

    /// Reads the kernel's tables, on a thread that may block: with many connections they are long.
    async fn look_at_sockets(&mut self) {
        let host = self.host.clone();
        match tokio::task::spawn_blocking(move || host.listening()).await {
            Ok(Ok(listening)) => self.observed.listening = listening,
            Ok(Err(cause)) => tracing::warn!(%cause, "cannot read this host's socket tables"),
            Err(cause) => tracing::warn!(%cause, "reading this host's socket tables was given up"),
        }
        self.looked = Some(Instant::now());
    }

    fn publish(&self) {
        let sockets = self.open.iter().map(|(key, open)| (key.clone(), open.socket.clone()));
        let own_addresses = self.observed.addresses.clone();
        let virtual_sockets: OrdMap<Arc<str>, VirtualSocket> = sockets.collect();
        let six = self.observed.led.six.map(|range| range.network());
        self.work.facts.publish_if_changed(Facts { virtual_sockets, own_addresses, six });
        let failures = self.failures.values().cloned().collect();
        self.work.reports.publish_if_changed(Report { generation: self.routes.now().index(), failures });
    }
}

/// What a service wants here; `None` when it has no virtual address or no port. Without an endpoint nobody
/// knows what it takes: then what is open stays as it is.
fn wish(backend: &Backend, open: Option<Transports>) -> Option<Wish> {
    let address = backend.virtual_ip?;
    let (service, port) = (backend.service.clone(), backend.port);
    let transports = open.filter(|_| backend.endpoints.is_empty()).unwrap_or_else(|| transports(backend));
    (port != 0).then_some(Wish { service, address, port, transports })
}

fn transports(backend: &Backend) -> Transports {
    Transports { tcp: backend.takes_connections(), udp: backend.takes_datagrams() }
}

fn failure(wish: &Wish, cause: String) -> Failure {
    let attempted = format!("listen on {}:{} for service \"{}\"", wish.address, wish.port, wish.service);
    Failure { attempted, cause }
}
