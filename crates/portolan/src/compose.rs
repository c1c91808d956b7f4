//! A node from its parts, in the order in which they depend on each other. Read it from top to bottom.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use catalog::{Command, NodeDef, NodeRegistration, Register};
use log::Log as _;
use state::DrainTrigger;
use store::Store;

use crate::config::Config;
use crate::daemon::identity::Identity;
use crate::daemon::metrics;
use crate::daemon::tasks::Tasks;
use crate::listeners::{Addresses, Listeners};

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
    pub(crate) store: Store,
    pub(crate) tasks: Tasks,
    drain: DrainTrigger,
    drain_timeout: Duration,
}

/// Starts a node.
pub(crate) async fn start(config: Config, memory: Memory) -> anyhow::Result<Node> {
    // Fail before anything is touched: an address in use must not cost a half-started node.
    let listeners = Listeners::reserve(&config)?;
    let addresses = listeners.addresses();

    let identity = identify(&config, &memory)?;
    let store = open_store(&config, &memory, &identity).await?;
    register_node(&config, &store, &identity, &addresses).await?;

    let registry = metrics::registry(&store);
    let (trigger, drain) = state::drain();
    let tasks = Tasks::default();
    drop((registry, drain, listeners));

    let drain_timeout = config.node.drain_timeout;
    Ok(Node { addresses, identity, store, tasks, drain: trigger, drain_timeout })
}

impl Node {
    /// Resolves when a face ends by itself, with which one and why: time to stop.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.next_end().await {
            Some(ended) => ended.too_early(),
            None => std::future::pending().await,
        }
    }

    /// Stops accepting, lets the faces finish what is in progress, makes everything durable.
    ///
    /// # Errors
    /// The first face that failed while finishing, or the names of those that took too long.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let finished = self.drain.finish(self.drain_timeout).await;
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
        self.store.close().await;
        result
    }
}

fn identify(config: &Config, memory: &Memory) -> anyhow::Result<Identity> {
    let name = config.node.name.as_deref();
    match memory {
        Memory::Volatile => Identity::passing(name),
        Memory::Durable(data_dir) => Identity::load(data_dir, name),
    }
}

/// Replays what is on disk, then publishes.
async fn open_store(config: &Config, memory: &Memory, identity: &Identity) -> anyhow::Result<Store> {
    let mut settings = store::Config::new(&identity.name);
    settings.checkpoint_bytes = config.storage.checkpoint_size;
    match memory {
        Memory::Volatile => {
            let (log, events) = log::memory::open(log::memory::Config::default());
            store::open(settings, log, events).await.context("open the catalog in memory")
        }
        Memory::Durable(data_dir) => {
            let folder = data_dir.join("log");
            let mut disk = log::solo::Config::new(&folder);
            disk.segment_bytes = config.storage.segment_size;
            let (log, events) =
                log::solo::open(&disk).with_context(|| format!("open the log in {}", folder.display()))?;
            for warning in log.status().warnings {
                tracing::warn!(warning, "the log was opened, but not as it was left");
            }
            store::open(settings, log, events).await.context("replay the log")
        }
    }
}

/// Puts this node into its own catalog, so that what registers here has a node to belong to.
async fn register_node(
    config: &Config,
    store: &Store,
    identity: &Identity,
    addresses: &Addresses,
) -> anyhow::Result<()> {
    let address = crate::listeners::node_address(config, addresses);
    let def = NodeDef {
        name: identity.name.as_str().into(),
        id: identity.id.as_str().into(),
        address: address.to_string().into(),
        tagged_addresses: [(Arc::from("lan"), Arc::from(address.to_string()))].into(),
        meta: [(Arc::from("portolan-version"), Arc::from(env!("CARGO_PKG_VERSION")))].into(),
    };
    let on = def.name.clone();
    let node = Some(NodeRegistration { def, only_if_absent: false });
    let register = Register { node, on, ..Register::default() };
    store.submit(Command::Register(Box::new(register))).await.context("register this node")?;
    Ok(())
}
