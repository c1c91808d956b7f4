//! What Portolan holds on this host's network: the sockets of virtual addresses, and, in [`firewall`], the
//! ports that others may reach; in [`endings`], the end of connections that other programs hold.
//!
//! [`plan`] decides, purely, where a service's virtual address listens here and why not on its own port;
//! [`reconcile`] opens it when somebody first asks, closes it when the service is gone, and publishes what
//! holds as [`Facts`]. The listener itself is somebody else's ([`Listeners`]): this crate decides which
//! there are.
//!
//! What is absent: privilege. With CAP_NET_ADMIN one transparent socket serves any range of addresses
//! ([`transparent`]); then no listener is opened here, and what is decided is only which port a service has.

mod config;
pub mod endings;
pub mod firewall;
pub mod plan;
mod reconcile;
pub mod transparent;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::sync::Arc;

use route::{Facts, OpenVirtual, VirtualSocket};
use state::{Publisher, Reader, Report};
use sys::host::Host;
use tokio::sync::{mpsc, oneshot};

pub use config::{Config, Interface, Range6, Virtual};
pub use plan::Transports;
pub use reconcile::{Inputs, run};

/// A future that may be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens and closes the listeners of virtual addresses.
pub trait Listeners: Send + Sync {
    /// Opens one. Clients can connect once it resolves; nobody else may hold the address.
    fn open(
        &self,
        address: SocketAddrV4,
        service: Arc<str>,
        transports: Transports,
    ) -> BoxFuture<'_, io::Result<()>>;

    /// Closes one. The address is free once it resolves; accepted connections live on.
    fn close(&self, address: SocketAddrV4) -> BoxFuture<'_, ()>;

    /// Whether answers to datagrams could leave from there, where one listener takes them for all addresses: nothing stays
    /// open.
    ///
    /// # Errors
    /// The kernel's: somebody's wildcard socket is in the way.
    fn may_answer(&self, from: SocketAddr) -> io::Result<()>;
}

/// Somebody wants to know where a service's virtual address listens.
struct Ask {
    service: String,
    reply: oneshot::Sender<Option<VirtualSocket>>,
}

/// What others hold of this face.
#[derive(Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    facts: Reader<Facts>,
    reports: Reader<Report>,
}

/// The face's own end, see [`Inputs`].
pub struct Work {
    asks: mpsc::Receiver<Ask>,
    facts: Publisher<Facts>,
    reports: Publisher<Report>,
}

/// Asks that may wait. More wait at the door.
const QUEUE: usize = 1024;

/// Both ends. The addresses of this host are observed here, so that the first facts are right.
pub fn handle(host: &dyn Host) -> (Handle, Work) {
    let own_addresses = host.addresses().unwrap_or_else(|cause| {
        tracing::warn!(%cause, "cannot read this host's addresses");
        Vec::new()
    });
    let (asks, received) = mpsc::channel(QUEUE);
    let (facts_out, facts) = state::channel(Facts { own_addresses, ..Facts::default() });
    let (reports_out, reports) = state::channel(Report::default());
    let work = Work { asks: received, facts: facts_out, reports: reports_out };
    (Handle { asks, facts, reports }, work)
}

impl Handle {
    /// What this host observed.
    pub fn facts(&self) -> Reader<Facts> {
        self.facts.clone()
    }

    /// What holds of the plan, and what does not.
    pub fn reports(&self) -> Reader<Report> {
        self.reports.clone()
    }
}

impl OpenVirtual for Handle {
    fn open(&self, service: &str) -> BoxFuture<'_, Option<VirtualSocket>> {
        let service = service.to_ascii_lowercase();
        if let Some(open) = self.facts.now().virtual_sockets.get(&*service) {
            return Box::pin(std::future::ready(Some(open.clone())));
        }
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.asks.send(Ask { service, reply }).await.ok()?;
            answer.await.ok()?
        })
    }
}

/// Ports that instances on a node are registered with, leaving out those that live elsewhere.
fn registered_ports(node: &catalog::NodeEntry, facts: &Facts) -> BTreeMap<u16, Arc<str>> {
    let here = |address: &str| match address.parse() {
        Ok(address) => facts.is_local(address),
        // No address means the node's own; a name may lead here as well as elsewhere.
        Err(_) => true,
    };
    let instances = node.instances.iter().map(|(_, instance)| &instance.def);
    let local = instances.filter(|def| def.port != 0 && here(&def.address));
    local.map(|def| (def.port, def.id.clone())).collect()
}
