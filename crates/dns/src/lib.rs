//! Answers names: who stands behind `<service>.svc.internal`, and what Consul's clients ask for.
//!
//! ```text
//! Reader<View>  ┐                       ┌ data thread ─ fast ┬ answer
//! Reader<Facts> ┴ zoner ─ plan ─► Zone ─┤                    └ slow ┬ answer
//!                                       └ tcp ────────────── slow   └ later ─ open, forward ─ answer
//! ```
//!
//! [`plan`] projects the snapshot into a [`Zone`], an immutable value that is swapped whole. `names` says what
//! a name asks for, `lookup` what stands there for whoever asks; `fast` writes the answer to a plain query
//! straight into the buffer that is sent, `slow` does everything else on a library's types. Between a
//! packet and its answer there is no lock and no await, unless a virtual address must be opened first or
//! another server asked (`later`). `guard` keeps answers from being turned against others.
//!
//! For a new record type, see `slow::records` (and `fast`, if it is asked for often); for a new form of name,
//! `names` and `lookup`.
//!
//! Deliberately absent: recursion, zone transfers, DNSSEC, dynamic updates.

mod config;
mod fast;
mod forward;
pub mod fuzz;
mod guard;
mod later;
mod listen;
mod lookup;
mod metrics;
mod names;
pub mod plan;
mod responder;
mod serve;
mod slow;
mod tcp;
mod wire;
mod zone;
mod zoner;

use std::io;
use std::net::{Shutdown, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use catalog::exposure::Indoors;
use route::{Facts, OpenVirtual, Routes};
use socket2::SockRef;
use state::{Drain, Reader};
use store::View;
use tokio::sync::mpsc;

#[cfg(test)]
mod tests;

pub use config::{Config, ConsulNames, Cookies, Forward, Network, RateLimit, Secret, TcpLimits};
pub use forward::ForwardError;
pub use listen::{BindError, Listeners};
pub use metrics::Metrics;
pub use names::BadName;
pub use plan::Plan;
pub use zone::Zone;

use forward::Forwarder;
use responder::Responder;
use serve::Worker;
use zoner::Zoner;

/// What the face reads.
pub struct Inputs {
    /// Name of this node: the name server of our zones.
    pub node: Arc<str>,
    /// Name of the datacenter in Consul's names.
    pub datacenter: Arc<str>,
    /// Snapshots.
    pub views: Reader<View>,
    /// What this host observed.
    pub facts: Reader<Facts>,
    /// Of these, the names that lead elsewhere.
    pub routes: Reader<Routes>,
    /// What clients inside this home are answered for public names.
    pub indoors: Reader<Indoors>,
    /// Opens virtual addresses when they are first asked for.
    pub open_virtual: Arc<dyn OpenVirtual>,
}

/// Why the face did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A configured name is none.
    #[error(transparent)]
    Name(#[from] BadName),
    /// Forwarding is on and impossible.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A thread could not be started or a socket not be used.
    #[error("{attempted}")]
    Start {
        /// What was attempted.
        attempted: &'static str,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

/// What every path shares.
pub(crate) struct Shared {
    responder: Responder,
    zone: Arc<ArcSwap<Zone>>,
    metrics: Metrics,
    open_virtual: Arc<dyn OpenVirtual>,
    routes: Reader<Routes>,
    forwarder: Option<Forwarder>,
    turns: later::Turns,
}

/// Checks a configuration without using it.
///
/// # Errors
/// The [`BadName`] that [`run`] would fail with.
pub fn check(config: &Config, datacenter: &str) -> Result<(), BadName> {
    names::Names::new(config, datacenter).map(drop)
}

/// Answers on `listeners` until the drain starts. Call inside a tokio runtime with time and I/O: TCP, slow
/// opens and forwarding live there; datagrams and the projection have threads of their own.
///
/// # Errors
/// [`RunError`] before the first query is answered.
pub async fn run(
    config: Config,
    listeners: Listeners,
    inputs: Inputs,
    metrics: Metrics,
    drain: Drain,
) -> Result<(), RunError> {
    let responder = Responder::new(&config, &inputs.node, &inputs.datacenter)?;
    let forwarder = Forwarder::new(&config.forward, listeners.addresses())?;
    let zone = Arc::new(ArcSwap::from_pointee(Zone::default()));
    let zoner = Zoner {
        plan: Plan::new(&config),
        views: inputs.views,
        facts: inputs.facts,
        routes: inputs.routes.clone(),
        indoors: inputs.indoors,
        zone: zone.clone(),
        metrics: metrics.clone(),
    };
    zoner.first();
    let zoner = start_zoner(zoner, drain.clone())?;
    let (open_virtual, routes, turns) = (inputs.open_virtual, inputs.routes, later::Turns::new());
    let shared = Arc::new(Shared { responder, zone, metrics, open_virtual, routes, forwarder, turns });
    for listener in listeners.tcp {
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|cause| RunError::Start { attempted: "serve DNS by TCP", cause })?;
        tokio::spawn(tcp::run(shared.clone(), listener, config.tcp.clone(), drain.clone()));
    }
    let workers = start_workers(&shared, listeners.udp)?;
    drain.started().await;
    let joined = tokio::task::spawn_blocking(|| {
        drop(workers);
        zoner.join().is_ok()
    });
    if !joined.await.unwrap_or(false) {
        tracing::error!("a DNS thread panicked");
    }
    Ok(())
}

/// The threads that answer datagrams. Dropping it ends them, also when whoever ran [`run`] gives it up: no socket is
/// left behind.
struct Workers {
    sockets: Vec<Arc<UdpSocket>>,
    leaving: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Relaxed);
        for socket in &self.sockets {
            // An unconnected socket answers with an error, and wakes whoever waits on it all the same.
            let _ = SockRef::from(&**socket).shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a DNS thread panicked");
            }
        }
    }
}

fn start_zoner(zoner: Zoner, drain: Drain) -> Result<std::thread::JoinHandle<()>, RunError> {
    let error = |cause| RunError::Start { attempted: "start the DNS projection's thread", cause };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(error)?;
    let work = move || runtime.block_on(zoner.run(drain));
    std::thread::Builder::new().name("dns-zone".into()).spawn(work).map_err(error)
}

fn start_workers(shared: &Arc<Shared>, sockets: Vec<UdpSocket>) -> Result<Workers, RunError> {
    let (later, queue) = mpsc::channel(later::MOST_WAITING);
    tokio::spawn(later::run(shared.clone(), queue));
    let sockets = sockets.into_iter().map(Arc::new).collect();
    let mut workers = Workers { sockets, leaving: Arc::default(), threads: Vec::new() };
    for (number, socket) in workers.sockets.iter().enumerate() {
        let (shared, leaving, later) = (shared.clone(), workers.leaving.clone(), later.clone());
        let worker = Worker { shared, socket: socket.clone(), later, leaving };
        let work = move || {
            if let Err(cause) = worker.run() {
                tracing::error!(%cause, "a DNS thread cannot use its socket");
            }
        };
        let thread = std::thread::Builder::new().name(format!("dns-{number}")).spawn(work);
        workers
            .threads
            .push(thread.map_err(|cause| RunError::Start { attempted: "start a DNS thread", cause })?);
    }
    Ok(workers)
}
