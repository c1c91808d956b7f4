//! A node from its parts, in the order in which they depend on each other. Read [`start`] from top to bottom;
//! what each face is handed is in `faces`.

mod acl;
mod cluster;
mod consent;
pub(crate) mod etcd;
mod exposure;
mod faces;
mod leading;
mod order;
mod routes;
mod settings;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lease::{Leases, NobodyElse, PassOn};
use log::transport::LinkReceiver;
use relay::StopOnDrop;
use relay::tls::Certificates;
use state::DrainTrigger;
use store::Store;
use sys::host::ThisHost;

use crate::config::Config;
use crate::daemon::control::{Control, End};
use crate::daemon::guard::Guards;
use crate::daemon::home::Home;
use crate::daemon::identity::Identity;
use crate::daemon::live::Live;
use crate::daemon::metrics;
use crate::daemon::tasks::Tasks;
use crate::listeners::{Addresses, Listeners, node_address};
use crate::many::begin;
use crate::many::face::{Face, Linked};
use crate::many::member::{Links, Membership};
use crate::many::order::SharedOrder;
use crate::many::signs::Signs;
pub(crate) use exposure::keeper;
use faces::{Shared, here, introduction};
use order::Order;
pub(crate) use order::recover;

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
    relay: StopOnDrop,
    control: Arc<Control>,
    links: Option<Links>,
    drain: DrainTrigger,
    drain_timeout: Duration,
}

/// Starts a node.
///
/// # Errors
/// What could not be had, before anything was changed where that is possible.
pub(crate) async fn start(
    config: Config,
    home: Option<Arc<Home>>,
    control: Arc<Control>,
    live: &Live,
    guards: Guards,
) -> anyhow::Result<Node> {
    // Fail before anything is touched: an address in use must not cost a half-started node.
    let membership = settle(&config, home.as_deref())?;
    let mut listeners = Listeners::reserve(&config, membership.is_some(), guards.leader.as_deref())?;
    let addresses = listeners.addresses()?;
    // Who this is, and where it lives.
    listeners.open_local(&config, home.as_deref())?;
    let identity = identify(&config, home.as_deref())?;

    // The links, and what it knows: replayed before anybody sees it.
    let (links, frames) = begin_links(membership.as_ref(), listeners.mesh.take(), &config)?;
    let part = membership.as_ref().zip(links.as_ref()).zip(frames);
    let part = part.map(|((member, links), frames)| order::Part { member, carrier: &links.carrier, frames });
    let Order { store, shared: log } = order::open(&config, home.as_deref(), part, &identity.name).await?;
    let address = node_address(&config, &addresses);
    let outdoors = exposure::Outdoors::new(&addresses, home.as_deref());
    let itself = outdoors.introduce(&config, labelled(&config, &identity, address));
    begin_alone(membership.as_ref(), &store, &config, &itself).await?;

    // What the faces share.
    let (trigger, drain) = state::drain();
    let (virtuals, virtual_work) = hostnet::handle(&ThisHost);
    let leases = Arc::new(Leases::new(&identity.name, config.health.leases.clone(), Instant::now()));
    let linked = link(membership.as_ref(), links.as_ref(), log);
    let (here, ends) = here(&config, &identity, &guards);
    let (publisher, routes) = state::channel(routes::first(&store.reader(), here.into()));
    let (offers, taking_back) = broker::Offers::new(store.clone(), &config.broker, drain.clone());
    let mut shared = Shared {
        pass_on: pass_on(linked.as_ref(), &store, &leases),
        leases,
        registry: metrics::registry(&store, &control),
        store: store.clone(),
        facts: virtuals.facts(),
        routes,
        open_virtual: Arc::new(virtuals),
        offers,
        certificates: Certificates::new(),
        outdoors,
        drain,
        tasks: Tasks::default(),
    };

    // The faces, each by its name.
    shared.routes(publisher);
    shared.tasks.spawn("offers", taking_back);
    take_part(&mut shared, &config, membership.as_ref().zip(linked.as_ref()).zip(links.as_ref()), &itself)?;
    shared.health(&config, itself);
    shared.dns(&config, &identity, listeners.dns);
    let virtuals = (virtual_work, shared.leading(&config, guards.leader)?);
    let relay = shared.proxy(&config, &identity, listeners.proxy, live, virtuals, linked.as_ref())?;
    shared.broker(&config, &identity, (listeners.broker, listeners.gateway), &relay, (linked.as_ref(), ends));
    let gost = shared.gost(&config, listeners.gost)?;
    shared.netsel(&config, listeners.netsel)?;
    let lookout = shared.lookout(&config, linked.as_ref());
    let exposure = shared.exposure(&config, &identity, guards.firewall, lookout)?;
    shared.memory();
    shared.topics(&config);
    let introduction = introduction(&config, &identity, address, membership.as_ref());
    let face = Arc::new(Face::new(&config, home.clone(), &store, &control, linked));
    let seen = faces::Seen { control: control.clone(), cluster: face, exposure, web: live.web() };
    let tasks = shared.api(&config, introduction, listeners.api, seen, vec![gost]);
    let drain_timeout = config.node.drain_timeout;
    Ok(Node { addresses, identity, store, tasks, relay, control, links, drain: trigger, drain_timeout })
}

impl Node {
    /// Resolves when it is time to stop: somebody asked for it, or a face ended by itself.
    ///
    /// # Errors
    /// Which face, and why.
    pub(crate) async fn until_end(&mut self) -> anyhow::Result<End> {
        tokio::select! {
            end = self.control.ended() => Ok(end),
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
        let _ = tokio::task::spawn_blocking(move || drop(relay)).await;
        self.store.close().await;
        if let Some(links) = self.links {
            links.stop().await;
        }
        result
    }
}

impl Memory {
    /// Keeps others out of the data directory, where there is one.
    ///
    /// # Errors
    /// Another process has it.
    pub(crate) fn claim(&self) -> anyhow::Result<Option<Arc<Home>>> {
        match self {
            Memory::Volatile => Ok(None),
            Memory::Durable(data_dir) => Home::claim(data_dir).map(|home| Some(Arc::new(home))),
        }
    }
}

/// Whether this node belongs to a cluster; before the data directory says so, what it left is forgotten.
fn settle(config: &Config, home: Option<&Home>) -> anyhow::Result<Option<Membership>> {
    config.hostnet.check().map_err(anyhow::Error::msg)?;
    home.map_or(Ok(()), |home| begin::forget_if_left(home.dir()))?;
    etcd::check(config)?;
    Membership::load(home)
}

fn identify(config: &Config, home: Option<&Home>) -> anyhow::Result<Identity> {
    let name = config.node.name.as_deref();
    match home {
        None => {
            let passing = Identity::passing(name)?;
            Ok(Identity { id: config.node.id.clone().unwrap_or(passing.id), ..passing })
        }
        Some(home) => Identity::load(home.dir(), name),
    }
}

/// This node with the operator's labels beside those that every node has.
fn labelled(config: &Config, identity: &Identity, address: IpAddr) -> catalog::NodeDef {
    let itself = health::node_def(&identity.name, &identity.id, address);
    let own = config.node.meta.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let plain = itself.meta.iter().map(|(name, value)| (&**name, &**value));
    let all: BTreeMap<&str, &str> = plain.chain(own).collect();
    catalog::NodeDef { meta: all.into_iter().collect(), ..itself }
}

fn begin_links(
    member: Option<&Membership>,
    sockets: Option<mesh::Sockets>,
    config: &Config,
) -> anyhow::Result<(Option<Links>, Option<LinkReceiver>)> {
    let Some((member, sockets)) = member.zip(sockets) else { return Ok((None, None)) };
    let (links, frames) = Links::start(member, sockets, config).context("start the mesh")?;
    Ok((Some(links), Some(frames)))
}

/// What keeps a member one, where this node is one.
fn take_part(
    shared: &mut Shared,
    config: &Config,
    part: Option<((&Membership, &Linked), &Links)>,
    itself: &catalog::NodeDef,
) -> anyhow::Result<()> {
    let Some(((member, linked), links)) = part else { return Ok(()) };
    shared.cluster(config, member, linked, links.roster.clone(), itself.clone())
}

/// What a node that nobody else decides with writes down before it serves. A member cannot wait for it: it serves
/// what it knows also where nothing can be decided, and `cluster` registers it.
async fn begin_alone(
    member: Option<&Membership>,
    store: &Store,
    config: &Config,
    itself: &catalog::NodeDef,
) -> anyhow::Result<()> {
    if member.is_some() {
        return Ok(());
    }
    settings::agree(store, &config.hostnet).await?;
    acl::begin(store, &config.acl).await?;
    health::register_node(store, itself).await.context("register this node")
}

/// Where signs of life go that concern another node.
fn pass_on(linked: Option<&Linked>, store: &Store, leases: &Arc<Leases>) -> Arc<dyn PassOn> {
    match linked {
        None => Arc::new(NobodyElse),
        Some(linked) => {
            Arc::new(Signs { store: store.clone(), leases: leases.clone(), mesh: linked.mesh.clone() })
        }
    }
}

fn link(member: Option<&Membership>, links: Option<&Links>, order: Option<SharedOrder>) -> Option<Linked> {
    let ((member, links), order) = member.zip(links).zip(order)?;
    Some(Linked { local: member.local.clone(), mesh: links.mesh.clone(), order })
}
