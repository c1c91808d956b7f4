//! Instances of other nodes that listen on their own loopback only: connections to them go through the mesh.
//!
//! ```text
//! request  frame with a `Call` as JSON, from the node whose client connects
//! answer   frame: empty when connected, else why not, in words; then the connection's own bytes
//! ```
//!
//! The node that has the instance judges for itself: the caller proved who it is, and the permit is this node's.

use std::borrow::Cow;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mesh::{Incoming, Kind, Lane, Mesh, Stream, frame};
use relay::pump::{self, Prefix};
use relay::{Dial, Dialing, Local, Relay, TcpDial};
use route::{Caller, Endpoint, Permit, Principal, Routes, Target};
use serde::{Deserialize, Serialize};
use state::{Drain, Reader};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// How rules name what comes here.
const QUIC: &Cow<'static, str> = &Cow::Borrowed("quic");
const KIND: Kind = Kind::of("connect");
const MAX_CALL: usize = 8 << 10;
/// How long a call may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which instance a connection is for.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    service: Arc<str>,
    instance: Arc<str>,
    /// For whom, where it is a program of the calling node's that the kernel or its configuration names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whom: Option<Whom>,
}

/// A program as its own node knows it.
#[derive(Debug, Serialize, Deserialize)]
struct Whom {
    uid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<Arc<str>>,
}

/// What the kernel calls no user: for programs that are known by name alone.
const NO_USER: u32 = u32::MAX;

impl Whom {
    /// What there is to say of a principal of this node. Callers of other nodes are not spoken for.
    fn of(principal: &Principal) -> Option<Whom> {
        match principal {
            Principal::Local { uid } => Some(Whom { uid: *uid, identity: None }),
            Principal::Identity { id } => Some(Whom { uid: NO_USER, identity: Some(id.clone()) }),
            _ => None,
        }
    }
}

/// Dials addresses that lead there, and goes through the mesh where none does: to what listens on another host's
/// loopback, whether that is what it registered or only what a plain connection finds out.
pub(crate) struct Reach {
    pub(crate) mesh: Mesh,
}

/// Dials through the mesh alone, also what an address would lead to.
pub(crate) struct ThroughMesh(pub(crate) Mesh);

impl Dial for ThroughMesh {
    fn dial<'a>(&'a self, endpoint: &'a Endpoint, permit: &'a Permit) -> Dialing<'a> {
        Box::pin(async move {
            if *endpoint.node == *self.0.name() {
                return TcpDial.dial(endpoint, permit).await;
            }
            Reach { mesh: self.0.clone() }.call(endpoint, permit).await
        })
    }
}

impl Dial for Reach {
    fn dial<'a>(&'a self, endpoint: &'a Endpoint, permit: &'a Permit) -> Dialing<'a> {
        Box::pin(async move {
            let is_elsewhere = self.is_other_node(&endpoint.node);
            if is_elsewhere && is_loopback(&endpoint.target) {
                return self.call(endpoint, permit).await;
            }
            match TcpDial.dial(endpoint, permit).await {
                Err(plain) if is_elsewhere && leads_nowhere(&plain) => {
                    self.call(endpoint, permit).await.map_err(|mesh| {
                        io::Error::new(plain.kind(), format!("{plain}; through the mesh: {mesh}"))
                    })
                }
                Err(plain) if leads_nowhere(&plain) && *endpoint.node == *self.mesh.name() => {
                    // A service that registered no address has the node's, and may listen on loopback alone.
                    connect_here(&endpoint.target).await.map(relay::Stream::Tcp).map_err(|_| plain)
                }
                dialed => dialed,
            }
        })
    }

    fn at_once(&self, endpoint: &Endpoint, permit: &Permit) -> Option<std::net::TcpStream> {
        if self.is_other_node(&endpoint.node) { None } else { TcpDial.at_once(endpoint, permit) }
    }
}

fn leads_nowhere(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

/// The same port on this host's loopback.
async fn connect_here(target: &Target) -> io::Result<TcpStream> {
    let Target::Ip(address) = target else { return Err(io::ErrorKind::Unsupported.into()) };
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Reach {
    /// Nodes that were registered from outside are no peers: whoever wrote their address meant it.
    fn is_other_node(&self, node: &str) -> bool {
        *node != *self.mesh.name() && self.mesh.links().now().0.contains_key(node)
    }

    async fn call(&self, endpoint: &Endpoint, permit: &Permit) -> io::Result<relay::Stream> {
        let opened = self.mesh.open(&endpoint.node, KIND, Lane::Data).await;
        let mut stream: Stream = opened.map_err(io::Error::other)?;
        let (service, whom) = (permit.service().clone(), Whom::of(permit.principal()));
        let call = Call { service, instance: endpoint.id.clone(), whom };
        frame::write(&mut stream, &serde_json::to_vec(&call)?).await?;
        stream.flush().await?;
        let answer = frame::read(&mut stream, MAX_CALL).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        match answer.is_empty() {
            true => Ok(relay::Stream::Other(Box::new(stream))),
            false => {
                Err(io::Error::other(format!("node {}: {}", endpoint.node, String::from_utf8_lossy(&answer))))
            }
        }
    }
}

fn is_loopback(target: &Target) -> bool {
    matches!(target, Target::Ip(address) if address.ip().to_canonical().is_loopback())
}

/// Takes calls from other nodes.
pub(crate) struct Answering {
    pub(crate) mesh: Mesh,
    pub(crate) relay: Relay,
    /// Reaches instances of this node.
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) routes: Reader<Routes>,
    /// This node's name.
    pub(crate) node: Arc<str>,
    /// Domain of the cluster's identities.
    pub(crate) domain: Arc<str>,
}

impl Answering {
    /// Takes calls until the drain starts. Connections live on the data threads, like all others.
    pub(crate) async fn serve(self, drain: Drain) {
        let mut incoming = self.mesh.accept(KIND);
        let shared = Arc::new(self);
        let turn = AtomicUsize::new(0);
        loop {
            let stream = tokio::select! {
                Some(stream) = incoming.recv() => stream,
                () = drain.started() => return,
            };
            let (answering, drain) = (shared.clone(), drain.clone());
            let thread = turn.fetch_add(1, Ordering::Relaxed) % shared.relay.threads();
            shared.relay.run_on(thread, move |local| {
                let local = local.clone();
                tokio::task::spawn_local(async move {
                    let peer = stream.peer.clone();
                    if let Err(error) = answering.answer(&local, stream).await {
                        tracing::debug!(peer, %error, "a call through the mesh came to nothing");
                    }
                    drop(drain);
                });
            });
        }
    }

    async fn answer(&self, local: &Rc<Local>, Incoming { peer, mut stream, .. }: Incoming) -> io::Result<()> {
        let request = tokio::time::timeout(PATIENCE, frame::read(&mut stream, MAX_CALL)).await??;
        let call: Call = serde_json::from_slice(&request.ok_or(io::ErrorKind::UnexpectedEof)?)?;
        let connected = match self.target(&peer, &call) {
            Ok((permit, endpoint)) => {
                let dialing =
                    tokio::time::timeout(local.config().connect_timeout, self.dial.dial(&endpoint, &permit));
                let late = |_| Err(io::ErrorKind::TimedOut.into());
                let dialed = dialing.await.unwrap_or_else(late);
                dialed.map(|up| (permit, up))
            }
            Err(why) => Err(io::Error::other(why)),
        };
        let (permit, upstream) = match connected {
            Ok(connected) => connected,
            Err(why) => {
                let mut why = why.to_string();
                why.truncate(why.floor_char_boundary(1024));
                frame::write(&mut stream, why.as_bytes()).await?;
                return stream.shutdown().await;
            }
        };
        frame::write(&mut stream, b"").await?;
        stream.flush().await?;
        let down = relay::Stream::Other(Box::new(stream));
        let outcome = pump::run(local, permit, down, upstream, Prefix::default(), None).await;
        outcome.broken.map_or(Ok(()), |broken| Err(io::Error::other(broken)))
    }

    /// The instance on this host, and the permit to go there.
    fn target(&self, peer: &str, call: &Call) -> Result<(Permit, Endpoint), String> {
        // The node proved itself; for whom it asks is its own word, and stays with its name.
        let caller = match &call.whom {
            Some(whom) => {
                Principal::Delegated { node: peer.into(), uid: whom.uid, identity: whom.identity.clone() }
            }
            None => Principal::Identity { id: format!("spiffe://{}/node/{peer}", self.domain).into() },
        };
        let (backend, permit) =
            self.routes.now().permit(Caller::by(&caller, QUIC), &call.service).map_err(|denial| {
                tracing::info!(%denial, "refused a call of another node");
                denial.to_string()
            })?;
        let mut endpoints = backend.endpoints.iter();
        let found = endpoints.find(|endpoint| endpoint.id == call.instance && endpoint.node == self.node);
        match found {
            Some(endpoint @ Endpoint { target: Target::Ip(_), .. }) => Ok((permit, endpoint.clone())),
            _ => Err(format!("no instance \"{}\" of \"{}\" takes traffic here", call.instance, call.service)),
        }
    }
}
