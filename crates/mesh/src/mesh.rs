//! The mesh of one node: what the rest of the program holds.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, TransportConfig, VarInt};
use state::Reader;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use crate::carrier;
use crate::channel::{Channel, ChannelEvent};
use crate::config::Config;
use crate::dial;
use crate::gate::Gate;
use crate::greet::{Greeted, NoLink};
use crate::guest::{Guests, Visit};
use crate::hello::Use;
use crate::join::{JoinRequest, Joins};
use crate::link::{Close, Link, Proof, ending};
use crate::listen;
use crate::open::{Lane, OpenError};
use crate::preface::Kind;
use crate::serve::{self, Acceptors, Incoming};
use crate::stream::Stream;
use crate::table::{Links, Table};
use crate::tls;
use crate::trust::{Peers, Trust};

/// The mesh could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error("{0}")]
    Setting(String),
    /// A port is not to be had.
    #[error("bind the mesh to {address} ({transport})")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// UDP or TCP.
        transport: &'static str,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The certificate cannot be used for QUIC.
    #[error("prepare TLS for the mesh")]
    Tls(#[source] rustls::Error),
    /// There is no runtime here.
    #[error("the mesh must be started on a tokio runtime")]
    NoRuntime,
}

/// How often another port is asked for when the configuration leaves the choice to the kernel.
const PORTS_TRIED: usize = 32;

/// Sockets, bound before anything else is touched.
#[derive(Debug)]
pub struct Sockets {
    udp: UdpSocket,
    tcp: Option<TcpListener>,
}

/// A running mesh. Clones are the same one; when the last is dropped, the links end.
#[derive(Debug, Clone)]
pub struct Mesh(Arc<Running>);

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What the tasks of a mesh share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) trust: Reader<Trust>,
    pub(crate) peers: Reader<Peers>,
    pub(crate) endpoint: Endpoint,
    pub(crate) transport: Arc<TransportConfig>,
    pub(crate) table: Table,
    pub(crate) acceptors: Arc<Acceptors>,
    pub(crate) gate: Gate,
    pub(crate) joins: Joins,
    pub(crate) guests: Guests,
    /// Where control links live.
    pub(crate) control: Handle,
    /// Where data links live.
    pub(crate) data: Handle,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Sockets {
    /// Binds what the configuration says: UDP, and TCP on the same port.
    ///
    /// # Errors
    /// The address that is not to be had.
    pub fn bind(config: &Config) -> Result<Sockets, StartError> {
        let mut bound = Sockets::bind_once(config);
        for _ in 0..PORTS_TRIED {
            // A port that UDP was given may be taken for TCP; where any will do, another one is asked for.
            if config.listen.port() != 0 || !matches!(bound, Err(StartError::Bind { transport: "TCP", .. })) {
                break;
            }
            bound = Sockets::bind_once(config);
        }
        bound
    }

    fn bind_once(config: &Config) -> Result<Sockets, StartError> {
        let address = config.listen;
        let failed = |transport| move |cause| StartError::Bind { address, transport, cause };
        let udp = carrier::bind_udp(address).map_err(failed("UDP"))?;
        let port = udp.local_addr().map_err(failed("UDP"))?.port();
        let beside = SocketAddr::new(address.ip(), port);
        let tcp = config.carrier.then(|| carrier::bind_tcp(beside)).transpose().map_err(failed("TCP"))?;
        Ok(Sockets { udp, tcp })
    }

    /// The port's address.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

impl Mesh {
    /// Binds and starts. Must be called on the runtime that all links shall live on.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: Config, trust: Reader<Trust>, peers: Reader<Peers>) -> Result<Mesh, StartError> {
        config.check().map_err(StartError::Setting)?;
        let sockets = Sockets::bind(&config)?;
        let data = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        Mesh::start_on(sockets, config, trust, peers, data)
    }

    /// Starts on sockets that were bound before. Must be called on the runtime that the control links shall live on;
    /// data links live on `data`, so that what is encrypted there keeps no control message waiting.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start_on(
        sockets: Sockets,
        config: Config,
        trust: Reader<Trust>,
        peers: Reader<Peers>,
        data: Handle,
    ) -> Result<Mesh, StartError> {
        config.check().map_err(StartError::Setting)?;
        let control = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let transport = Arc::new(transport(&config));
        let endpoint = endpoint(&config, sockets.udp, &trust, transport.clone())?;
        let shared = Arc::new(Shared {
            gate: Gate::new(config.limits),
            joins: Joins::new(config.limits.joins),
            table: Table::new(fastrand::u64(1..)),
            acceptors: Arc::default(),
            guests: Guests::default(),
            config,
            trust,
            peers,
            endpoint,
            transport,
            control,
            data,
        });
        let mut tasks = vec![
            tokio::spawn(listen::run(shared.clone())),
            tokio::spawn(follow_peers(shared.clone())),
            tokio::spawn(follow_trust(shared.clone())),
            tokio::spawn(measure(shared.clone())),
        ];
        if let Some(listener) = sockets.tcp {
            tasks.push(shared.data.spawn(carrier::run(shared.clone(), listener)));
        }
        Ok(Mesh(Arc::new(Running { shared, tasks: Mutex::new(tasks) })))
    }

    /// This node's name, as its certificate says it.
    pub fn name(&self) -> String {
        self.0.shared.name()
    }

    /// Where links arrive.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.shared.endpoint.local_addr()
    }

    /// Who is linked, since when, and what went wrong last.
    pub fn links(&self) -> Reader<Links> {
        self.0.shared.table.reader()
    }

    /// The round trip to a linked peer, as measured by now.
    pub fn round_trip(&self, peer: &str) -> Option<Duration> {
        Some(self.0.shared.table.control(peer)?.link.round_trip())
    }

    /// Registers for streams of a kind. Whoever was registered for it before gets no more.
    pub fn accept(&self, kind: Kind) -> mpsc::Receiver<Incoming> {
        self.0.shared.acceptors.register(kind)
    }

    /// Opens a stream. On [`Lane::Control`] it waits for nothing but room for one more stream; on the others
    /// for a connection too. May be called from any tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`]. That the peer does not take the kind is found at the first read.
    pub async fn open(&self, peer: &str, kind: Kind, lane: Lane) -> Result<Stream, OpenError> {
        self.0.shared.open(peer, kind, lane).await
    }

    /// Opens a stream on the control link of `session`, or of whichever there is.
    ///
    /// # Errors
    /// [`OpenError::NotLinked`] also when that session has ended.
    pub async fn open_in_session(
        &self,
        peer: &str,
        kind: Kind,
        session: Option<u64>,
    ) -> Result<Stream, OpenError> {
        self.0.shared.open_in_session(peer, kind, session).await
    }

    /// Ends the control link of this session, on both sides; another one is made at once.
    pub fn end_session(&self, peer: &str, session: u64, reason: &str) {
        if let Some(control) = self.0.shared.table.control(peer).filter(|control| control.session == session)
        {
            control.link.close(Close::Replaced, reason);
        }
    }

    /// Messages in order to every linked peer that has a channel of this kind too: one stream for each of `lanes`,
    /// which both sides must give alike. More than `most_queued` bytes waiting to be sent to a peer end its session.
    pub fn channel(
        &self,
        kind: Kind,
        lanes: &[Lane],
        most_queued: usize,
    ) -> (Channel, mpsc::Receiver<ChannelEvent>) {
        let shared = &self.0.shared;
        let (channel, receiver, tasks) = Channel::open(shared, kind, lanes, most_queued);
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
        (channel, receiver)
    }

    /// Answers those who join. Until it is set they are told that this node admits nobody.
    pub fn on_join<F, A>(&self, answer: F)
    where
        F: Fn(JoinRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Vec<u8>, String>> + Send + 'static,
    {
        self.0.shared.joins.set(answer);
    }

    /// Registers for connections of [`Config::guests`]. Whoever was registered before gets no more.
    pub fn guests(&self) -> mpsc::Receiver<Visit> {
        self.0.shared.guests.register()
    }

    /// Takes a new socket, when the address that the mesh was bound to is this host's no more. Links move with
    /// it and are not cut.
    ///
    /// # Errors
    /// The address that is not to be had.
    pub fn rebind(&self, address: SocketAddr) -> Result<(), StartError> {
        let failed = |cause| StartError::Bind { address, transport: "UDP", cause };
        let socket = carrier::bind_udp(address).map_err(failed)?;
        self.0.shared.endpoint.rebind(socket).map_err(failed)
    }

    /// Tells every peer that this node leaves, and waits until they know or `within` is over.
    pub async fn close(&self, within: Duration) {
        self.0.end();
        let _ = tokio::time::timeout(within, self.0.shared.endpoint.wait_idle()).await;
    }
}

impl Running {
    fn end(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        self.shared.endpoint.close((Close::Leaving as u32).into(), b"the node leaves");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    pub(crate) fn name(&self) -> String {
        self.trust.now().name().to_owned()
    }

    /// Where a peer may be reached: where its control link is, then where it is said to be.
    pub(crate) fn addresses(&self, peer: &str) -> Vec<String> {
        let linked = self.table.control(peer).map(|control| control.link.address().to_string());
        linked.into_iter().chain(self.peers.now().0.get(peer).cloned().unwrap_or_default()).collect()
    }

    /// A caller by the name that it has among the wanted peers, where its certificate has several.
    pub(crate) fn called(&self, mut proof: Proof) -> Proof {
        let peers = self.peers.now();
        if let Some(name) = proof.names.iter().find(|name| peers.0.contains_key(*name)) {
            proof.peer.name = name.clone();
        }
        proof
    }

    /// Finds a greeted link its place and serves it from then on.
    pub(crate) async fn settle(self: &Arc<Self>, greeted: Greeted) -> Result<(), NoLink> {
        let link = greeted.link.clone();
        let limits = &self.config.limits;
        let streams = if link.purpose() == Use::Data { limits.data_streams } else { limits.control_streams };
        link.connection.set_max_concurrent_bi_streams(streams.into());
        let session = greeted.settle(&self.name(), &self.table).await?;
        tracing::info!(peer = link.peer.name, address = %link.address(), purpose = ?link.purpose(), "linked");
        tokio::spawn(hold(self.clone(), link.clone(), session));
        // The trust may have changed between the handshake and the link's place in the table.
        judge_again(&link, &self.trust.now());
        Ok(())
    }
}

/// Serves a link until its end.
async fn hold(shared: Arc<Shared>, link: Arc<Link>, session: Option<u64>) {
    let error = serve::link(&link, session, &shared.acceptors).await;
    let (reason, expected) = ending(&error);
    tracing::info!(peer = link.peer.name, purpose = ?link.purpose(), reason, "link ended");
    shared.table.remove(&link, (!expected).then_some(reason));
}

fn judge_again(link: &Link, trust: &Trust) {
    if let Err(disbelief) = link.judge_again(trust) {
        tracing::warn!(peer = link.peer.name, %disbelief, "link cut");
        link.close(Close::Disbelieved, &disbelief.to_string());
    }
}

/// One dialling task for each peer that is wanted.
async fn follow_peers(shared: Arc<Shared>) {
    let mut reader = shared.peers.clone();
    // They end with this task, and do not hold the mesh any longer.
    let mut tasks = JoinSet::new();
    let mut dialling: HashMap<String, AbortHandle> = HashMap::new();
    let mut wanted = reader.now();
    loop {
        let own = shared.name();
        dialling.retain(|peer, task| {
            let keep = wanted.0.contains_key(peer);
            if !keep {
                task.abort();
                shared.table.forget(peer);
            }
            keep
        });
        for peer in wanted.0.keys().filter(|peer| **peer != own) {
            let start = || tasks.spawn(dial::keep(shared.clone(), peer.clone()));
            dialling.entry(peer.clone()).or_insert_with(start);
        }
        while tasks.try_join_next().is_some() {}
        let Some(next) = reader.next().await else { break };
        wanted = next;
    }
    // Whoever said who is wanted is gone: what holds goes on, until the mesh is closed.
    std::future::pending::<()>().await;
}

/// Judges every link again when the trust changes.
async fn follow_trust(shared: Arc<Shared>) {
    let mut reader = shared.trust.clone();
    while let Some(trust) = reader.next().await {
        shared.table.all().iter().for_each(|link| judge_again(link, &trust));
    }
}

async fn measure(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        shared.table.measure();
    }
}

fn transport(config: &Config) -> TransportConfig {
    let limits = &config.limits;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(quinn::IdleTimeout::try_from(config.idle_timeout).ok())
        .keep_alive_interval(Some(config.keepalive))
        // Before the greeting a stranger has one stream; afterwards the link's own limit.
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(limits.stream_window))
        .receive_window(VarInt::from_u32(limits.link_window))
        .send_window(u64::from(limits.link_window));
    transport
}

fn endpoint(
    config: &Config,
    socket: UdpSocket,
    trust: &Reader<Trust>,
    transport: Arc<TransportConfig>,
) -> Result<Endpoint, StartError> {
    let guests: Vec<_> = config.guests.iter().map(|guest| guest.alpn.clone()).collect();
    let tls = tls::server(trust, &guests).map_err(StartError::Tls)?;
    let quic = QuicServerConfig::try_from(tls)
        .map_err(|error| StartError::Tls(rustls::Error::General(error.to_string())))?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(quic));
    server.transport_config(transport).max_incoming(1024).incoming_buffer_size_total(8 << 20);
    let runtime = quinn::default_runtime().ok_or(StartError::NoRuntime)?;
    let failed = |cause| StartError::Bind { address: config.listen, transport: "UDP", cause };
    Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime).map_err(failed)
}
