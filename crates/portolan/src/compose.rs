//! A node from its parts, in the order in which they depend on each other. Read [`start`] from top to bottom;
//! what each face is handed is in `faces`.

mod faces;
mod order;
mod routes;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lease::Leases;
use relay::Relay;
use state::DrainTrigger;
use store::Store;
use sys::host::ThisHost;

use crate::config::Config;
use crate::daemon::control::Control;
use crate::daemon::home::Home;
use crate::daemon::identity::Identity;
use crate::daemon::live::Live;
use crate::daemon::metrics;
use crate::daemon::tasks::Tasks;
use crate::listeners::{Addresses, Listeners, node_address};
use faces::{Shared, introduction};

/// What the faces get beyond the time to drain, to cut off what is left.
const GRACE: Duration = Duration::from_secs(3);

/// Where a node keeps what it must not forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Nowhere: everything is gone when it stops.
    Volatile,
    /// In this directory.
    Durable(PathBuf),
}

/// A node that serves.
pub(crate) struct Node {
    pub(crate) addresses: Addresses,
    pub(crate) identity: Identity,
    store: Store,
    tasks: Tasks,
    relay: Relay,
    control: Arc<Control>,
    drain: DrainTrigger,
    drain_timeout: Duration,
    /// Given up last.
    _home: Option<Home>,
}

/// Starts a node.
///
/// # Errors
/// What could not be had, before anything was changed where that is possible.
pub(crate) async fn start(
    config: Config,
    memory: Memory,
    control: Arc<Control>,
    live: &Live,
) -> anyhow::Result<Node> {
    // Fail before anything is touched: an address in use must not cost a half-started node.
    let mut listeners = Listeners::reserve(&config)?;
    let addresses = listeners.addresses()?;

    // Who this is, and where it lives.
    let home = memory.claim()?;
    listeners.open_local(&config, home.as_ref())?;
    let identity = identify(&config, home.as_ref())?;

    // What it knew, replayed before anybody sees it.
    let store = order::open(&config.storage, home.as_ref(), &identity.name).await?;
    let address = node_address(&config, &addresses);
    let itself = health::node_def(&identity.name, &identity.id, address);
    settings::agree(&store, &config.hostnet).await?;
    health::register_node(&store, &itself).await.context("register this node")?;

    // What the faces share.
    let (trigger, drain) = state::drain();
    let (virtuals, virtual_work) = hostnet::handle(&ThisHost);
    let mut shared = Shared {
        leases: Arc::new(Leases::new(&identity.name, config.health.leases.clone(), Instant::now())),
        registry: metrics::registry(&store, &control),
        store: store.clone(),
        facts: virtuals.facts(),
        open_virtual: Arc::new(virtuals),
        drain,
        tasks: Tasks::default(),
    };

    // The faces, each by its name.
    shared.health(&config, itself);
    shared.dns(&config, &identity, listeners.dns);
    let relay = shared.proxy(&config, &identity, listeners.proxy, live, virtual_work)?;
    let gost = shared.gost(&config, listeners.gost)?;
    shared.netsel(&config, listeners.netsel)?;
    shared.topics(&config);
    let introduction = introduction(&config, &identity, address);
    let tasks = shared.api(&config, introduction, listeners.api, control.clone(), vec![gost]);

    let drain_timeout = config.node.drain_timeout;
    Ok(Node { addresses, identity, store, tasks, relay, control, drain: trigger, drain_timeout, _home: home })
}

impl Node {
    /// Resolves when it is time to stop: somebody asked for it, or a face ended by itself.
    ///
    /// # Errors
    /// Which face, and why.
    pub(crate) async fn until_end(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            () = self.control.leaving() => Ok(()),
            Some(ended) = self.tasks.next_end() => Err(ended.too_early()),
        }
    }

    /// Stops accepting, lets the faces finish what is in progress, makes everything durable.
    ///
    /// # Errors
    /// The first face that failed while finishing, or the names of those that took too long.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let finished = self.drain.finish(self.drain_timeout + GRACE).await;
        let mut result = Ok(());
        if finished {
            while let Some(ended) = self.tasks.next_end().await {
                let ended_well = ended.result.with_context(|| format!("stop {}", ended.name));
                result = result.and(ended_well);
            }
        } else {
            let late = self.tasks.running().join(", ");
            result = Err(anyhow::anyhow!("gave up waiting for {late} after {:?}", self.drain_timeout));
        }
        // Joins threads, which may not block a runtime's.
        let relay = self.relay;
        let _ = tokio::task::spawn_blocking(move || relay.stop()).await;
        self.store.close().await;
        result
    }
}

impl Memory {
    fn claim(&self) -> anyhow::Result<Option<Home>> {
        match self {
            Memory::Volatile => Ok(None),
            Memory::Durable(data_dir) => Home::claim(data_dir).map(Some),
        }
    }
}

fn identify(config: &Config, home: Option<&Home>) -> anyhow::Result<Identity> {
    let name = config.node.name.as_deref();
    match home {
        None => Identity::passing(name),
        Some(home) => Identity::load(home.dir(), name),
    }
}
