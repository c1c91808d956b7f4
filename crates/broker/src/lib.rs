//! A local socket where programs ask for services by name and get connected descriptors.
//!
//! A program asks; the kernel says who it is; the name is resolved, judged and dialled; the connected socket is
//! handed over, and the daemon is out of the path. Where bytes must be transformed on their way (the mesh), the
//! program gets one end of a pair and the daemon moves the bytes.
//!
//! Where to look: what is said is in [`consul::broker`]; who is allowed to say how much in `seats`; what a request
//! comes to in `answer`; where a name or a URI leads in `reach`, a file for each scheme in `scheme`; how a connection
//! becomes a descriptor in `hand`, and how it ends when the rules change in `revoke`; what programs of libipc's speak in
//! [`libipc`]. Everything runs on the data threads of [`relay`], a task for each program that is connected; nothing here
//! waits for one of them with another's time.
//!
//! What is absent: no store on the way of a connection (it reads [`route::Routes`]), no permission of its own making.

mod answer;
mod config;
mod door;
mod explain;
pub mod fuzz;
pub mod gateway;
mod hand;
mod incoming;
pub mod libipc;
mod listen;
mod metrics;
pub mod network;
mod offer;
pub mod psk;
mod reach;
mod revoke;
mod scheme;
mod seats;
mod session;
pub mod uri;
pub mod websocket;

use std::sync::Arc;
use std::time::Duration;

use relay::{Dial, Relay};
use route::Routes;
use state::{Drain, Reader};
use sys::host::Ends;

pub use config::{Config, Identity, Libipc};
pub use incoming::Incoming;
pub use listen::{BindError, Listeners, default_socket};
pub use metrics::Metrics;
pub use offer::{Dialer, Offers};

use door::Door;

/// What connections get to end in once they are told to.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the broker is handed.
pub struct Inputs {
    /// The data threads, with the routes that they read.
    pub relay: Relay,
    /// Trust domain of identities that are named without one: the cluster's, else the node's name.
    pub domain: Arc<str>,
    /// Reaches instances of other nodes through the mesh and in no other way, where there is one.
    pub mesh: Option<Arc<dyn Dial>>,
    /// What programs of this host offer; none are taken where this is absent.
    pub offers: Option<Arc<Offers>>,
    /// Where names lead and who may follow them, for what is judged again after it was handed over.
    pub routes: Reader<Routes>,
    /// Ends connections that programs hold; `None` where nobody lets us, and they go on.
    pub ends: Option<Arc<dyn Ends>>,
    /// Counters.
    pub metrics: Metrics,
    /// How long relayed connections may take to finish when the node drains.
    pub patience: Duration,
}

/// Serves until the drain starts; then takes no more requests, lets relayed connections finish for a while, and
/// cuts the rest off. Those that were handed over are nobody's business from then on.
pub async fn run(config: Config, listeners: Listeners, inputs: Inputs, drain: Drain) {
    let (mut cut_trigger, cut) = state::drain();
    let patience = inputs.patience;
    let (routes, metrics) = (inputs.routes.clone(), inputs.metrics.clone());
    let door = Arc::new(Door::new(config, inputs, drain.clone(), cut));
    let (local, remote) = listeners.into_all();
    for listener in local {
        door::open(&door, listener);
    }
    incoming::open(&door, remote);
    if let Some(revocable) = door.revocable.clone() {
        revoke::follow(revocable, routes, metrics, drain.clone()).await;
    }
    drain.started().await;
    drop(door);
    if !cut_trigger.idle(patience).await {
        tracing::info!("the time to finish is over: cutting relayed connections off");
        cut_trigger.finish(FAREWELL).await;
    }
}
