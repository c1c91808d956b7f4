//! The cluster as operators see it through the API.

use std::sync::Arc;

use api::{Answering, Refused, Wish};
use catalog::Cluster as Known;
use cluster::Local;
use cluster::ca::Alone;
use consul::own;
use mesh::Mesh;
use store::Store;

use crate::config::Config;
use crate::daemon::control::Control;
use crate::daemon::home::Home;
use crate::many::order::SharedOrder;

/// What a face of the cluster looks at.
pub(crate) struct Face {
    pub(crate) config: Config,
    pub(crate) home: Option<Arc<Home>>,
    pub(crate) store: Store,
    pub(crate) control: Arc<Control>,
    /// Nothing when this node is alone.
    pub(crate) membership: Option<Linked>,
    /// What signs for services while it is, where that was asked for.
    own_authority: Option<Alone>,
}

/// A member's handles.
#[derive(Clone)]
pub(crate) struct Linked {
    pub(crate) local: Arc<Local>,
    pub(crate) mesh: Mesh,
    pub(crate) order: SharedOrder,
}

impl Linked {
    /// Tells whether this node leads, as far as it knows.
    pub(crate) fn leads(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let order = self.order.clone();
        move || order.leads()
    }
}

impl api::Cluster for Face {
    fn members(&self) -> Vec<own::Member> {
        let view = self.store.now();
        let order = self.membership.as_ref().map(|linked| &linked.order);
        let (voters, leader) =
            (order.map_or(Vec::new(), |order| order.voters()), order.and_then(SharedOrder::leader));
        let shown = |member: &Arc<catalog::Member>| {
            let server = (member.server_id != 0).then_some(member.server_id);
            own::Member {
                name: member.name.clone(),
                role: member.role.as_str().into(),
                votes: server.is_some_and(|server| voters.contains(&server)),
                leads: server.is_some() && leader == server,
                status: if view.down(&member.name).is_some() { "dead" } else { "alive" }.into(),
                addresses: member.addresses.clone(),
                key: member.key.to_string().into(),
                feature_level: member.features,
            }
        };
        view.cluster().members().map(shown).collect()
    }

    fn status(&self, all: bool) -> Answering<'_, own::ClusterStatus> {
        Box::pin(async move {
            let own = self.own_status();
            match self.membership.as_ref().filter(|_| all) {
                None => own::ClusterStatus { own, ..own::ClusterStatus::default() },
                Some(linked) => super::survey::everybody(own, &self.store, &linked.mesh).await,
            }
        })
    }

    fn tokens(&self) -> Vec<own::TokenEntry> {
        let view = self.store.now();
        let shown = |secret: &catalog::JoinSecret| own::TokenEntry {
            id: secret.hash.to_string().into(),
            role: secret.role.as_str().into(),
            uses: secret.uses_left,
            expires_ms: secret.expires_ms,
        };
        view.cluster().join_secrets().map(shown).collect()
    }

    fn roots(&self) -> Option<consul::connect::Roots> {
        let own = || super::certify::own_root(self.own_authority.as_ref()?);
        super::certify::roots(self.store.now().cluster()).or_else(own)
    }

    fn certify(&self, service: &str) -> Result<api::Certified, Refused> {
        let signers = (self.membership.as_ref(), self.own_authority.as_ref());
        super::certify::service(signers, &self.config.node.datacenter, service)
    }

    fn carry_out(&self, wish: Wish) -> Answering<'_, Result<serde_json::Value, Refused>> {
        Box::pin(self.wish(wish))
    }
}

impl Face {
    /// What the API asks about the cluster, and wishes of it.
    pub(crate) fn new(
        config: &Config,
        home: Option<Arc<Home>>,
        store: &Store,
        control: &Arc<Control>,
        membership: Option<Linked>,
    ) -> Face {
        let is_alone = membership.is_none();
        let own_authority = is_alone.then(|| super::certify::alone(config, home.as_deref())).flatten();
        let (store, control) = (store.clone(), control.clone());
        Face { config: config.clone(), home, store, control, membership, own_authority }
    }

    fn own_status(&self) -> own::NodeStatus {
        let dir = self.home.as_ref().map(|home| home.dir().display().to_string().into());
        own::NodeStatus {
            data_dir: dir.unwrap_or_default(),
            ..own_status(&self.store, self.membership.as_ref())
        }
    }
}

/// How this node takes part.
pub(crate) fn own_status(store: &Store, linked: Option<&Linked>) -> own::NodeStatus {
    let (view, log) = (store.now(), store.log_status());
    let base = own::NodeStatus {
        node: store.node().clone(),
        role: "alone".into(),
        mode: match view.mode() {
            catalog::Mode::Open => "open",
            catalog::Mode::Observe => "observe",
            catalog::Mode::Enforce => "enforce",
        }
        .into(),
        engine: log.engine.into(),
        applied_index: view.index(),
        decided_index: log.last_index,
        problem: log.stopped.unwrap_or_default().into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..own::NodeStatus::default()
    };
    match linked {
        None => base,
        Some(linked) => as_member(base, view.cluster(), linked),
    }
}

fn as_member(base: own::NodeStatus, known: &Known, linked: &Linked) -> own::NodeStatus {
    let name = |server: u64| match known.server(server) {
        Some(member) => member.name.clone(),
        None => format!("server {server}").into(),
    };
    let voters = linked.order.voters().into_iter().map(name).collect();
    let problem = match (&*base.problem, linked.order.problem()) {
        ("", Some(problem)) => problem.into(),
        _ => base.problem.clone(),
    };
    let identity = linked.local.with(|identity| {
        let facts = &identity.facts;
        (facts.cluster.clone(), facts.role, facts.validity)
    });
    own::NodeStatus {
        role: identity.1.as_str().into(),
        cluster: identity.0.into(),
        leader: linked.order.leader().map(name).unwrap_or_default(),
        voters,
        last_contact_ms: linked
            .order
            .last_contact()
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        problem,
        links: links(known, &base.node, &linked.mesh),
        certificate_began_s: identity.2.from_ms / 1000,
        certificate_ends_s: identity.2.until_ms / 1000,
        ..base
    }
}

/// Every member that this node is or should be linked with.
fn links(known: &Known, own: &str, mesh: &Mesh) -> Vec<own::Link> {
    let seen = mesh.links().now();
    let mut peers: Vec<&str> = known.members().map(|member| &*member.name).collect();
    // Who left is linked with no more, and is no member.
    peers.extend(seen.0.iter().filter(|(_, state)| state.up.is_some()).map(|(peer, _)| peer.as_str()));
    peers.sort_unstable();
    peers.dedup();
    let link = |peer: &str| {
        let state = seen.0.get(peer)?;
        let problem = state.last_error.as_ref().map(|(_, error)| error.as_str()).unwrap_or_default();
        Some(match &state.up {
            Some(up) => own::Link {
                peer: peer.into(),
                up: true,
                for_ms: up
                    .since
                    .elapsed()
                    .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
                round_trip_us: Some(u64::try_from(up.round_trip.as_micros()).unwrap_or(u64::MAX)),
                address: up.address.to_string().into(),
                problem: "".into(),
            },
            None => own::Link { peer: peer.into(), problem: problem.into(), ..own::Link::default() },
        })
    };
    peers.into_iter().filter(|peer| *peer != own).filter_map(link).collect()
}
