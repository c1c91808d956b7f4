//! What a node is in the cluster that it belongs to, and its links, which everything else stands on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use catalog::Role;
use cluster::{Identity, Local};
use log::transport::LinkReceiver;
use mesh::{Mesh, Sockets};
use state::{Drain, DrainTrigger};
use tokio::task::JoinSet;

use super::carrier::Carrier;
use super::roster::{Acquaintance, Roster};
use super::threads::DataThreads;
use super::trust;
use crate::config::{Carried, Config};
use crate::daemon::home::Home;

/// How long peers may take to hear that this node leaves.
const FAREWELL: Duration = Duration::from_secs(1);

/// A node's place in its cluster.
pub(crate) struct Membership {
    pub(crate) local: Arc<Local>,
    own: Acquaintance,
    is_founder: bool,
    known: Vec<Acquaintance>,
}

impl Membership {
    /// As the data directory says; `None` when the node is alone.
    pub(crate) fn load(home: Option<&Home>) -> anyhow::Result<Option<Membership>> {
        let Some(home) = home.filter(|home| cluster::identity::exists(home.dir())) else { return Ok(None) };
        let identity = Identity::load(home.dir()).context("read this node's place in its cluster")?;
        Ok(Some(Membership::of(identity)))
    }

    fn of(identity: Identity) -> Membership {
        let facts = &identity.facts;
        let own = Acquaintance {
            name: facts.node.as_str().into(),
            role: facts.role,
            server_id: facts.server_id,
            disk: facts.disk,
            addresses: facts.addresses.iter().map(|address| address.as_str().into()).collect(),
        };
        let known = facts.servers.iter().map(|(name, server)| Acquaintance {
            name: name.as_str().into(),
            role: Role::Server,
            server_id: server.server_id,
            disk: server.disk,
            addresses: server.addresses.iter().map(|address| address.as_str().into()).collect(),
        });
        let (known, is_founder) = (known.collect(), facts.operator.is_some());
        Membership { own, known, is_founder, local: Local::new(identity) }
    }

    /// What the log knows this node by.
    pub(crate) fn number(&self) -> u64 {
        self.own.number()
    }

    /// True on the node that the cluster began on.
    pub(crate) fn is_founder(&self) -> bool {
        self.is_founder
    }

    /// Its number among the servers, 0 for an agent.
    pub(crate) fn server(&self) -> u64 {
        self.own.server_id
    }

    /// The cluster's name.
    pub(crate) fn cluster(&self) -> String {
        self.local.with(|identity| identity.facts.cluster.clone())
    }

    /// The number of another server by its name.
    pub(crate) fn server_called(&self, name: &str) -> Option<u64> {
        self.known.iter().find(|known| &*known.name == name).map(|known| known.server_id)
    }

    /// What a server is called.
    pub(crate) fn name_of(&self, server: u64) -> String {
        let mut all = self.known.iter().chain([&self.own]);
        let known = all.find(|known| known.server_id == server);
        known.map_or_else(|| format!("server {server}"), |known| known.name.to_string())
    }

    pub(crate) fn role(&self) -> Role {
        self.own.role
    }
}

/// The links of a member, and what travels on them for the log. It outlives the faces: what they leave in the log
/// when they end still has to be agreed on.
pub(crate) struct Links {
    pub(crate) mesh: Mesh,
    pub(crate) carrier: Carrier,
    pub(crate) roster: Arc<Roster>,
    tasks: JoinSet<()>,
    trigger: DrainTrigger,
    drain: Drain,
    /// Dropped last.
    _threads: DataThreads,
}

impl Links {
    /// Starts the mesh; nothing is carried for the log yet. With what the log's engine listens to.
    pub(crate) fn start(
        member: &Membership,
        sockets: Sockets,
        config: &Config,
    ) -> anyhow::Result<(Links, LinkReceiver)> {
        let credentials = member.local.credentials();
        let first = trust::trust(&credentials.now()).context("use this node's certificate")?;
        let (trust, believed) = state::channel(first);
        let peers = member.local.peers();
        let (wanted, wanted_peers) = state::channel(mesh::Peers((*peers.now()).clone()));
        let threads = DataThreads::start(&config.relay)?;
        let data = threads.handle.clone();
        let mesh = Mesh::start_on(sockets, config.mesh.clone(), believed, wanted_peers, data)?;
        let (carrier, links) = Carrier::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(trust::follow(credentials, trust));
        tasks.spawn(trust::follow_peers(peers, wanted));
        let (trigger, drain) = state::drain();
        let roster = Arc::new(Roster::new(member.own.clone(), &member.known));
        // Where etcd carries the order nodes have nothing to say to each other about it.
        if config.cluster.order == Carried::Servers {
            tasks.spawn(carrier.clone().run(mesh.clone(), roster.correspondents(), drain.clone()));
        }
        Ok((Links { mesh, carrier, roster, tasks, trigger, drain, _threads: threads }, links))
    }

    /// Ends them, once nothing is left to be agreed on.
    pub(crate) async fn stop(mut self) {
        self.trigger.start();
        drop(self.drain);
        self.mesh.close(FAREWELL).await;
        self.tasks.shutdown().await;
    }
}
