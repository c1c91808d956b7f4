//! Listeners that come and go while the proxy runs: those of virtual addresses. Somebody else decides which;
//! here they are opened and closed.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use relay::accept::Accept;
use relay::udp::Toward;
use sys::listen::{self, Sharing};
use tokio::sync::{mpsc, oneshot};

use crate::listeners::UDP_BUFFER;
use crate::serve::{Entrance, Role, udp_config};

/// What a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transports {
    /// Connections.
    pub tcp: bool,
    /// Datagrams.
    pub udp: bool,
}

enum Request {
    Open {
        address: SocketAddr,
        service: Arc<str>,
        transports: Transports,
        reply: oneshot::Sender<io::Result<()>>,
    },
    Close {
        address: SocketAddr,
        reply: oneshot::Sender<()>,
    },
}

/// Opens and closes listeners in a running proxy. Clones share it.
#[derive(Clone)]
pub struct VirtualListeners(mpsc::Sender<Request>);

/// The proxy's end, see [`crate::Inputs`].
pub struct Openings(mpsc::Receiver<Request>);

/// Requests that may wait.
const QUEUE: usize = 64;

/// Both ends.
pub fn virtual_listeners() -> (VirtualListeners, Openings) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (VirtualListeners(sender), Openings(receiver))
}

impl VirtualListeners {
    /// Opens a listener that leads to `service`; once this returns, clients can connect. Nobody else may
    /// hold the address.
    ///
    /// # Errors
    /// The kernel's; also when the proxy is gone.
    pub async fn open(
        &self,
        address: SocketAddr,
        service: Arc<str>,
        transports: Transports,
    ) -> io::Result<()> {
        let (reply, outcome) = oneshot::channel();
        let request = Request::Open { address, service, transports, reply };
        self.0.send(request).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    /// Closes a listener; the address is free once this returns. Connections that were accepted live on.
    pub async fn close(&self, address: SocketAddr) {
        let (reply, done) = oneshot::channel();
        if self.0.send(Request::Close { address, reply }).await.is_ok() {
            // An error says that the proxy is gone, and then so is the listener.
            let _ = done.await;
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the proxy is not running")
}

/// One open listener: dropping `stop` ends it, `ended` resolves when the socket is closed.
struct Open {
    stop: Vec<oneshot::Sender<()>>,
    ended: Vec<oneshot::Receiver<()>>,
}

/// Carries out requests until everybody who could make some is gone.
pub(crate) async fn serve(mut openings: Openings, entrance: Entrance) {
    let mut listeners: HashMap<SocketAddr, Open> = HashMap::new();
    while let Some(request) = openings.0.recv().await {
        match request {
            Request::Open { address, service, transports, reply } => {
                let result = match listeners.contains_key(&address) {
                    true => Err(io::Error::new(io::ErrorKind::AddrInUse, "it is open already")),
                    false => open(&entrance, address, service, transports),
                };
                let result = result.map(|open| drop(listeners.insert(address, open)));
                // Whoever asked may have given up; then it stays open until it is closed.
                let _ = reply.send(result);
            }
            Request::Close { address, reply } => {
                if let Some(open) = listeners.remove(&address) {
                    drop(open.stop);
                    for ended in open.ended {
                        // An error means that the data thread is gone, and the socket with it.
                        let _ = ended.await;
                    }
                }
                let _ = reply.send(());
            }
        }
    }
}

/// A listener lives on one data thread, the least busy; what it accepts is dealt to all. One socket and not
/// one for each thread: there may be thousands of virtual addresses, and an exclusive socket is refused
/// where somebody else listens.
fn open(
    entrance: &Entrance,
    address: SocketAddr,
    service: Arc<str>,
    transports: Transports,
) -> io::Result<Open> {
    let tcp = transports.tcp.then(|| listen::tcp(address, Sharing::Exclusive)).transpose()?;
    let udp = transports.udp.then(|| listen::udp(address, Sharing::Exclusive, UDP_BUFFER)).transpose()?;
    let relay = entrance.face.relay.clone();
    let thread = (0..relay.threads()).min_by_key(|thread| relay.load(*thread)).unwrap_or(0);
    let mut open = Open { stop: Vec::new(), ended: Vec::new() };
    let mut switch = || {
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        open.stop.push(stop);
        open.ended.push(ended);
        (async move { drop(stopped.await) }, end)
    };
    if let Some(socket) = tcp {
        let (stop, end) = switch();
        let accept: Arc<dyn Accept> = Arc::new(entrance.with(Role::Virtual(service.clone(), address)));
        let (limits, drain) = (entrance.face.limits.clone(), entrance.face.drain.clone());
        relay.run_on(thread, move |local| {
            let serving = relay::accept::serve(local.clone(), socket, limits, accept, drain, stop);
            tokio::task::spawn_local(async move {
                report(address, serving.await);
                drop(end);
            });
        });
    }
    if let Some(socket) = udp {
        let (stop, end) = switch();
        let config = udp_config(&entrance.face, Toward::Service(service));
        let drain = entrance.face.drain.clone();
        relay.run_on(thread, move |local| {
            let serving = relay::udp::serve(local.clone(), socket, config, drain, stop);
            tokio::task::spawn_local(async move {
                report(address, serving.await);
                drop(end);
            });
        });
    }
    Ok(open)
}

pub(crate) fn report(address: SocketAddr, served: io::Result<()>) {
    if let Err(cause) = served {
        tracing::error!(%address, %cause, "a listener failed");
    }
}
