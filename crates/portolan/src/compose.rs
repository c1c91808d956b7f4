//! A node from its parts, in the order in which they depend on each other. Read it from top to bottom.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lease::Leases;
use log::Log;
use route::{Facts, OpenVirtual, VirtualSocket};
use state::{DrainTrigger, Publisher};
use store::{Events, Store};
use tokio::net::TcpListener;

use crate::config::{Config, Storage};
use crate::daemon::identity::Identity;
use crate::daemon::metrics;
use crate::daemon::tasks::Tasks;
use crate::listeners::{Addresses, Listeners, node_address};

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
    _facts: Publisher<Facts>,
}

/// Starts a node.
pub(crate) async fn start(config: Config, memory: Memory) -> anyhow::Result<Node> {
    // Fail before anything is touched: an address in use must not cost a half-started node.
    let listeners = Listeners::reserve(&config)?;
    let addresses = listeners.addresses()?;

    // Who this is, and what it knew: replayed before anybody sees it.
    let identity = identify(&config, &memory)?;
    let store = open_store(&config, &memory, &identity).await?;
    let itself = health::node_def(&identity.name, &identity.id, node_address(&config, &addresses));
    health::register_node(&store, &itself).await.context("register this node")?;

    // What the faces share.
    let (trigger, drain) = state::drain();
    let leases = Arc::new(Leases::new(&identity.name, config.health.leases.clone(), Instant::now()));
    let mut registry = metrics::registry(&store);
    let counted = registry.sub_registry_with_prefix("portolan");
    let mut tasks = Tasks::default();

    let health_metrics = health::Metrics::default();
    health_metrics.register(counted);
    tasks.spawn("health", {
        let (store, leases, drain) = (store.clone(), leases.clone(), drain.clone());
        let settings = config.health.clone();
        health::run(settings, itself, store, leases, health_metrics, drain)
    });

    // Virtual addresses: what of them holds on this host, and how one is opened.
    let observed = sys::host::addresses().unwrap_or_default();
    let (published, facts) = state::channel(Facts { own_addresses: observed, ..Facts::default() });
    let open_virtual: Arc<dyn OpenVirtual> = Arc::new(NoVirtual);

    let names = dns::Inputs {
        node: identity.name.as_str().into(),
        datacenter: config.node.datacenter.as_str().into(),
        views: store.reader(),
        facts,
        open_virtual,
    };
    let dns_metrics = dns::Metrics::register(counted);
    tasks.spawn("dns", dns::run(config.dns, listeners.dns, names, dns_metrics, drain.clone()));

    let discovery = gost::Discovery::new(store.clone(), leases.clone(), config.gost.clone());
    let gost = gost::Handler::new(&config.gost, discovery, counted)?;
    if let Some(listener) = listeners.gost {
        let listener = TcpListener::from_std(listener).context("watch the GOST listener")?;
        let (handler, drain) = (gost.clone(), drain.clone());
        tasks.spawn("gost", gost::run(listener, handler, drain));
    }

    let drain_timeout = config.node.drain_timeout;
    Ok(Node { addresses, identity, store, tasks, drain: trigger, drain_timeout, _facts: published })
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

/// A host without virtual addresses: names lead to endpoints.
struct NoVirtual;

impl OpenVirtual for NoVirtual {
    fn open(&self, _: &str) -> Pin<Box<dyn Future<Output = Option<VirtualSocket>> + Send + '_>> {
        Box::pin(std::future::ready(None))
    }
}

fn identify(config: &Config, memory: &Memory) -> anyhow::Result<Identity> {
    let name = config.node.name.as_deref();
    match memory {
        Memory::Volatile => Identity::passing(name),
        Memory::Durable(data_dir) => Identity::load(data_dir, name),
    }
}

async fn open_store(config: &Config, memory: &Memory, identity: &Identity) -> anyhow::Result<Store> {
    let (log, events): (Arc<dyn Log>, Events) = match memory {
        Memory::Volatile => {
            let (log, events) = log::memory::open(log::memory::Config::default());
            (log, events)
        }
        Memory::Durable(data_dir) => open_disk(&config.storage, &data_dir.join("log"))?,
    };
    let mut settings = store::Config::new(&identity.name);
    settings.checkpoint_bytes = config.storage.checkpoint_size;
    store::open(settings, log, events).await.context("open the catalog")
}

fn open_disk(settings: &Storage, folder: &Path) -> anyhow::Result<(Arc<dyn Log>, Events)> {
    let mut disk = log::solo::Config::new(folder);
    disk.segment_bytes = settings.segment_size;
    let opened = log::solo::open(&disk);
    let (log, events) = opened.with_context(|| format!("open the log in {}", folder.display()))?;
    for warning in log.status().warnings {
        tracing::warn!(warning, "the log was opened, but not as it was left");
    }
    Ok((log, events))
}
