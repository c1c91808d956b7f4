//! How each face is handed what it needs, and nothing else.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context as _;
use catalog::{NodeDef, Role};
use hyper::body::Incoming;
use lease::{Leases, PassOn};
use prometheus_client::registry::Registry;
use proxy::VirtualListeners;
use relay::tls::Certificates;
use relay::{Dial, Relay, StopOnDrop, TcpDial};
use route::{Facts, Here, OpenVirtual, Routes, Witness};
use state::{Drain, Publisher, Reader};
use store::Store;
use sys::host::{Ends, ThisHost};

use super::exposure::Outdoors;
use super::routes;
use crate::config::Config;
use crate::daemon::control::Control;
use crate::daemon::guard::Guards;
use crate::daemon::holders::Holders;
use crate::daemon::identity::Identity;
use crate::daemon::live::Live;
use crate::daemon::memory;
use crate::daemon::tasks::Tasks;
use crate::many::face::Linked;
use crate::many::member::Membership;
use crate::many::reach::{self, Reach, ThroughMesh};
use crate::many::witness::LogWitness;

/// What the faces share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) leases: Arc<Leases>,
    pub(super) pass_on: Arc<dyn PassOn>,
    pub(super) facts: Reader<Facts>,
    pub(super) routes: Reader<Routes>,
    pub(super) open_virtual: Arc<dyn OpenVirtual>,
    /// Services that local programs offer by a socket.
    pub(super) offers: Arc<broker::Offers>,
    /// What the proxy shows to TLS clients; whoever obtains certificates puts them here.
    pub(super) certificates: Arc<Certificates>,
    /// What the proxy shows to the world.
    pub(super) outdoors: Outdoors,
    pub(super) registry: Registry,
    pub(super) drain: Drain,
    pub(super) tasks: Tasks,
}

impl Shared {
    /// Every metric of a face begins with `portolan_`.
    pub(super) fn counted(&mut self) -> &mut Registry {
        self.registry.sub_registry_with_prefix("portolan")
    }

    /// Where every name leads, and who may follow it.
    pub(super) fn routes(&mut self, publisher: Publisher<Routes>) {
        self.tasks.spawn("routes", routes::follow(self.store.reader(), publisher, self.drain.clone()));
    }

    pub(super) fn health(&mut self, config: &Config, itself: NodeDef) {
        let metrics = health::Metrics::default();
        metrics.register(self.counted());
        let (store, leases, drain) = (self.store.clone(), self.leases.clone(), self.drain.clone());
        let config = config.health.clone();
        self.tasks.spawn("health", async move {
            // Where others decide too, that may take until they can be reached.
            tokio::select! {
                () = is_registered(&store, &itself.name) => {}
                () = drain.started() => return,
            }
            health::run(config, itself, store, leases, metrics, drain).await;
        });
    }

    pub(super) fn dns(&mut self, config: &Config, identity: &Identity, listeners: dns::Listeners) {
        let metrics = dns::Metrics::register(self.counted());
        let inputs = dns::Inputs {
            node: identity.name.as_str().into(),
            datacenter: config.node.datacenter.as_str().into(),
            views: self.store.reader(),
            facts: self.facts.clone(),
            routes: self.routes.clone(),
            indoors: self.outdoors.indoors(),
            open_virtual: self.open_virtual.clone(),
        };
        let drain = self.drain.clone();
        self.tasks.spawn("dns", dns::run(config.dns.clone(), listeners, inputs, metrics, drain));
    }

    /// The data threads with the routes that they read, and what listens on them: configured listeners, and
    /// those of virtual addresses, which hostnet decides.
    pub(super) fn proxy(
        &mut self,
        config: &Config,
        identity: &Identity,
        listeners: proxy::Listeners,
        live: &Live,
        (virtual_work, led): (hostnet::Work, Reader<hostnet::transparent::Led>),
        linked: Option<&Linked>,
    ) -> anyhow::Result<StopOnDrop> {
        let routes = self.routes.clone();
        let dial: Arc<dyn Dial> = match linked {
            Some(linked) => Arc::new(Reach { mesh: linked.mesh.clone() }),
            None => Arc::new(TcpDial),
        };
        // What programs of this host offer has no address that everybody may dial.
        let dial: Arc<dyn Dial> = Arc::new(broker::Dialer::new(self.offers.clone(), dial));
        let relay = Relay::start(config.relay.clone(), &routes, dial.clone(), self.counted())
            .context("start the data threads")?;
        let stopping = StopOnDrop(relay.clone());
        if let Some(linked) = linked {
            let answering = reach::Answering {
                mesh: linked.mesh.clone(),
                relay: relay.clone(),
                dial,
                routes: routes.clone(),
                node: identity.name.as_str().into(),
                domain: linked.local.with(|identity| identity.facts.cluster.as_str().into()),
            };
            self.tasks.spawn("calls", answering.serve(self.drain.clone()));
        }
        let (virtuals, openings) = proxy::virtual_listeners();
        self.outdoors.open_by(virtuals.clone());
        let inputs = proxy::Inputs {
            relay: relay.clone(),
            facts: self.facts.clone(),
            node: identity.name.as_str().into(),
            openings,
            certificates: self.certificates.clone(),
            shown: self.outdoors.shown(),
            metrics: proxy::Metrics::register(self.counted()),
        };
        self.tasks.spawn("proxy", proxy::run(live.proxy(), listeners, inputs, self.drain.clone()));
        let inputs = hostnet::Inputs {
            routes,
            store: self.store.clone(),
            host: Arc::new(ThisHost),
            listeners: Arc::new(VirtualSockets(virtuals)),
            work: virtual_work,
            led,
        };
        self.tasks.spawn("hostnet", hostnet::run(config.hostnet.clone(), inputs, self.drain.clone()));
        Ok(stopping)
    }

    /// Where local programs ask for connections, and remote clients if anywhere.
    pub(super) fn broker(
        &mut self,
        config: &Config,
        identity: &Identity,
        (listeners, gateway): (broker::Listeners, broker::gateway::Listeners),
        relay: &Relay,
        (linked, ends): (Option<&Linked>, Option<Arc<dyn Ends>>),
    ) {
        self.gateway(config, identity, gateway, relay, linked);
        listeners.paths().for_each(|path| tracing::info!(path = %path.display(), "local programs may ask"));
        let domain = linked.map(|linked| linked.local.with(|member| member.facts.cluster.clone()));
        let inputs = broker::Inputs {
            relay: relay.clone(),
            domain: domain.unwrap_or_else(|| identity.name.clone()).into(),
            offers: Some(self.offers.clone()),
            mesh: linked.map(|linked| Arc::new(ThroughMesh(linked.mesh.clone())) as Arc<dyn Dial>),
            routes: self.routes.clone(),
            ends,
            metrics: broker::Metrics::register(self.counted()),
            patience: config.node.drain_timeout,
        };
        self.tasks.spawn("broker", broker::run(config.broker.clone(), listeners, inputs, self.drain.clone()));
    }

    /// Where clients on other hosts ask for services, if anywhere.
    fn gateway(
        &mut self,
        config: &Config,
        identity: &Identity,
        listeners: broker::gateway::Listeners,
        relay: &Relay,
        linked: Option<&Linked>,
    ) {
        if listeners.is_empty() {
            return;
        }
        let domain = linked.map(|linked| linked.local.with(|member| member.facts.cluster.clone()));
        let domain: Arc<str> = domain.unwrap_or_else(|| identity.name.clone()).into();
        let inputs = broker::gateway::Inputs {
            relay: relay.clone(),
            node: identity.name.as_str().into(),
            domain: domain.clone(),
            facts: self.facts.clone(),
            credentials: Arc::new(Holders::new(self.store.reader(), domain)),
            certificates: self.certificates.clone(),
            libipc: config.broker.libipc.clone(),
            metrics: broker::gateway::Metrics::register(self.counted()),
            patience: config.node.drain_timeout,
        };
        let running = broker::gateway::run(config.gateway.clone(), listeners, inputs, self.drain.clone());
        self.tasks.spawn("gateway", running);
    }

    /// GOST's discovery: a port of its own where one is configured, and paths on the API's port always.
    pub(super) fn gost(
        &mut self,
        config: &Config,
        listener: Option<std::net::TcpListener>,
    ) -> anyhow::Result<Arc<dyn api::Guest>> {
        let discovery = gost::Discovery::new(
            self.store.clone(),
            self.leases.clone(),
            self.pass_on.clone(),
            config.gost.clone(),
        );
        let handler = gost::Handler::new(&config.gost, discovery, self.counted())?;
        if let Some(listener) = listener {
            let listener = tokio::net::TcpListener::from_std(listener).context("watch the GOST listener")?;
            self.tasks.spawn("gost", gost::run(listener, handler.clone(), self.drain.clone()));
        }
        Ok(Arc::new(GostGuest(handler)))
    }

    /// What a busy time leaves behind goes back to the kernel.
    pub(super) fn memory(&mut self) {
        self.tasks.spawn("memory", memory::run(self.store.reader(), self.drain.clone()));
    }

    /// NetSel's byte protocol, where it is configured.
    pub(super) fn netsel(
        &mut self,
        config: &Config,
        listener: Option<std::net::TcpListener>,
    ) -> anyhow::Result<()> {
        let Some(listener) = listener else { return Ok(()) };
        let listener = tokio::net::TcpListener::from_std(listener).context("watch the NetSel listener")?;
        let metrics = api::netsel::Metrics::default();
        metrics.register(self.counted());
        let (store, leases, drain) = (self.store.clone(), self.leases.clone(), self.drain.clone());
        let run = api::netsel::run(config.netsel.clone(), listener, store, leases, metrics, drain);
        self.tasks.spawn("netsel", run);
        Ok(())
    }

    /// The ways to topics that are not HTTP.
    pub(super) fn topics(&mut self, config: &Config) {
        let run = api::topics::run(config.topics.clone(), self.store.clone(), self.drain.clone());
        self.tasks.spawn("topics", run);
    }

    /// Last, because it shows what all others count.
    pub(super) fn api(
        mut self,
        config: &Config,
        node: api::Identity,
        listeners: api::Listeners,
        Seen { control, cluster, exposure, web }: Seen,
        guests: Vec<Arc<dyn api::Guest>>,
    ) -> Tasks {
        let metrics = api::Metrics::default();
        metrics.register(self.counted());
        let inputs = api::Inputs {
            store: self.store,
            leases: self.leases,
            facts: self.facts,
            routes: self.routes,
            open_virtual: self.open_virtual,
            node,
            control,
            cluster,
            exposure,
            web,
            pass_on: self.pass_on,
            exposition: Arc::new(self.registry),
            metrics,
            guests,
        };
        // One switch lets commands run, and health owns it.
        let config = api::Config {
            enable_script_checks: config.health.commands,
            bootstrap_reset: Some(config.node.data_dir.join("acl-bootstrap-reset")),
            ..config.api.clone()
        };
        self.tasks.spawn("api", api::run(config, listeners, inputs, self.drain));
        self.tasks
    }
}

/// What the API shows of others.
pub(super) struct Seen {
    pub(super) control: Arc<Control>,
    pub(super) cluster: Arc<dyn api::Cluster>,
    pub(super) exposure: Arc<dyn api::Exposure>,
    pub(super) web: Arc<dyn api::Web>,
}

/// What this host adds to the rules that were agreed on, and what ends connections that they forbid.
pub(super) fn here(config: &Config, identity: &Identity, guards: &Guards) -> (Here, Option<Arc<dyn Ends>>) {
    let witness: Arc<dyn Witness> = Arc::new(LogWitness::default());
    // Each was found good when the configuration was read.
    let rules = config.rules.iter().enumerate().filter_map(|(at, rule)| rule.intention(at).ok());
    let rules = rules.map(Arc::new).collect();
    let (node, ends) = (identity.name.as_str().into(), guards.ends());
    let ends_handed = ends.is_some();
    (Here { node, witness: Some(witness), rules, ends_handed, ..Here::default() }, ends)
}

/// Resolves once the catalog knows a node.
async fn is_registered(store: &Store, node: &str) {
    let mut views = store.reader();
    while views.now().node(node).is_none() {
        if views.next().await.is_none() {
            return;
        }
    }
}

/// How this node introduces itself over HTTP.
pub(super) fn introduction(
    config: &Config,
    identity: &Identity,
    address: IpAddr,
    member: Option<&Membership>,
) -> api::Identity {
    api::Identity {
        name: identity.name.as_str().into(),
        id: identity.id.as_str().into(),
        address: address.to_string().into(),
        datacenter: config.node.datacenter.as_str().into(),
        is_server: member.is_none_or(|member| member.role() == Role::Server),
        mesh_port: config.mesh.listen.port(),
        version: env!("CARGO_PKG_VERSION"),
        revision: option_env!("PORTOLAN_REVISION").unwrap_or(""),
    }
}

/// GOST's paths on the API's port.
struct GostGuest(gost::Handler);

impl api::Guest for GostGuest {
    fn serves(&self, path: &str) -> bool {
        gost::Handler::serves(path)
    }

    fn asks_by_itself(&self) -> bool {
        self.0.asks_for_a_token()
    }

    fn handle(
        &self,
        request: http::Request<Incoming>,
        caller: IpAddr,
    ) -> Pin<Box<dyn Future<Output = api::GuestReply> + Send + '_>> {
        Box::pin(self.0.handle(request, caller))
    }
}

/// The proxy opens what hostnet decides.
struct VirtualSockets(VirtualListeners);

impl hostnet::Listeners for VirtualSockets {
    fn open(
        &self,
        address: SocketAddrV4,
        service: Arc<str>,
        transports: hostnet::Transports,
    ) -> hostnet::BoxFuture<'_, io::Result<()>> {
        let transports = proxy::Transports { tcp: transports.tcp, udp: transports.udp };
        Box::pin(self.0.open(address.into(), service, transports))
    }

    fn close(&self, address: SocketAddrV4) -> hostnet::BoxFuture<'_, ()> {
        Box::pin(self.0.close(address.into()))
    }

    fn may_answer(&self, from: SocketAddr) -> io::Result<()> {
        sys::listen::udp_from(from).map(drop)
    }
}
