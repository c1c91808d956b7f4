//! The projection: every service with the endpoints that may get traffic.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use catalog::{Instance, Kind, Service, Snapshot, Status};
use imbl::OrdMap;

use crate::policy::{Here, Policy};

/// Where an endpoint is dialed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// An address.
    Ip(SocketAddr),
    /// A host name that the dialer resolves, and a port.
    Host(Arc<str>, u16),
}

/// A dialable place with the instance that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Node name.
    pub node: Arc<str>,
    /// Instance id on that node.
    pub id: Arc<str>,
    /// Where to dial.
    pub target: Target,
    /// Share of traffic, at least 1.
    pub weight: u16,
    /// Passing or warning.
    pub status: Status,
    /// Tags of the instance.
    pub tags: Vec<Arc<str>>,
    /// What it speaks, when its registration says so: label `protocol`, else a tag `protocol=…`. `h2c` and
    /// `grpc` are reached by HTTP/2, `udp` by datagrams, `tcp+udp` by both; anything else says nothing here.
    pub protocol: Option<Arc<str>>,
}

/// A service as the data plane sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Service name as registered.
    pub service: Arc<str>,
    /// Endpoints that may get traffic, in the stable order (node, id). Critical ones, those without a port
    /// and those of weight 0 are left out.
    pub endpoints: Vec<Endpoint>,
    /// Instances registered in all, to tell "unknown" from "unhealthy".
    pub registered: usize,
    /// Stable address.
    pub virtual_ip: Option<Ipv4Addr>,
    /// Port that belongs to the virtual address; 0 when the service has none.
    pub port: u16,
    /// Index of the service's last change.
    pub index: u64,
}

impl Backend {
    /// One service of `snapshot`.
    pub fn project(snapshot: &Snapshot, service: &Service) -> Backend {
        Backend {
            service: service.name.clone(),
            endpoints: service.iter().filter_map(|instance| endpoint(snapshot, instance)).collect(),
            registered: service.instances.len(),
            virtual_ip: service.virtual_ip.map(|virtual_ip| virtual_ip.0),
            port: service.port,
            index: service.touched_index,
        }
    }

    /// True when some endpoint is reached by datagrams.
    pub fn takes_datagrams(&self) -> bool {
        self.speaks("udp") || self.speaks("tcp+udp")
    }

    /// True when some endpoint is reached by connections: all are that say nothing else.
    pub fn takes_connections(&self) -> bool {
        self.speaks("tcp+udp") || !self.speaks("udp")
    }

    fn speaks(&self, wanted: &str) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.protocol.as_deref() == Some(wanted))
    }
}

/// Every service by its name in lower case. Cloning costs a reference count; successors share structure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    index: u64,
    backends: OrdMap<Arc<str>, Arc<Backend>>,
    by_virtual_ip: OrdMap<Ipv4Addr, Arc<str>>,
    policy: Arc<Policy>,
}

impl Routes {
    /// The whole projection, for a host that adds nothing of its own.
    pub fn project(snapshot: &Snapshot) -> Routes {
        Routes::project_on(snapshot, Arc::default())
    }

    /// The whole projection.
    pub fn project_on(snapshot: &Snapshot, here: Arc<Here>) -> Routes {
        let policy = Arc::new(Policy::compile(snapshot, here, None));
        Routes::project_with(snapshot, policy)
    }

    fn project_with(snapshot: &Snapshot, policy: Arc<Policy>) -> Routes {
        let mut routes = Routes { index: snapshot.index(), policy, ..Routes::default() };
        snapshot.services().for_each(|service| routes.put(snapshot, service));
        routes
    }

    /// The projection of `snapshot`, reusing this one for every service that did not change. Equal to
    /// [`Routes::project`], only cheaper.
    pub fn advance(&self, snapshot: &Snapshot) -> Routes {
        let policy = self.policy.advance(snapshot).map_or_else(|| self.policy.clone(), Arc::new);
        let Some(touched) = snapshot.services_touched_since(self.index) else {
            return Routes::project_with(snapshot, policy);
        };
        let mut routes = Routes { index: snapshot.index(), policy, ..self.clone() };
        for name in touched {
            routes.remove(name);
            if let Some(service) = snapshot.service(name) {
                routes.put(snapshot, service);
            }
        }
        routes
    }

    /// The projection with the rules of `snapshot` and the services that it had; `None` when the rules are the
    /// same. Rules are in force at once, however much else there is to project.
    pub fn advance_rules(&self, snapshot: &Snapshot) -> Option<Routes> {
        let policy = Arc::new(self.policy.advance(snapshot)?);
        Some(Routes { policy, ..self.clone() })
    }

    /// The projection under another configuration of this host.
    pub fn with_here(&self, snapshot: &Snapshot, here: Arc<Here>) -> Routes {
        let policy = Arc::new(Policy::compile(snapshot, here, Some(&self.policy)));
        Routes { policy, ..self.clone() }
    }

    /// Rules and redirections, as they are used here.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    fn remove(&mut self, name: &str) {
        if let Some(backend) = self.backends.remove(&*name.to_ascii_lowercase())
            && let Some(address) = backend.virtual_ip
            && self.by_virtual_ip.get(&address).is_some_and(|holder| holder.eq_ignore_ascii_case(name))
        {
            self.by_virtual_ip.remove(&address);
        }
    }

    fn put(&mut self, snapshot: &Snapshot, service: &Service) {
        if service.kind == Kind::Tunnel {
            return;
        }
        let key: Arc<str> = service.name.to_ascii_lowercase().into();
        let backend = Backend::project(snapshot, service);
        if let Some(address) = backend.virtual_ip {
            self.by_virtual_ip.insert(address, key.clone());
        }
        self.backends.insert(key, Arc::new(backend));
    }

    /// Index of the snapshot that this was projected from.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// A service by name, in any case.
    pub fn backend(&self, name: &str) -> Option<&Arc<Backend>> {
        match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => self.backends.get(&*name.to_ascii_lowercase()),
            false => self.backends.get(name),
        }
    }

    /// A name that leads somewhere, as it is written where it was registered or redirected; asked for in any case.
    pub fn known(&self, name: &str) -> Option<Arc<str>> {
        let backend = self.backend(name).map(|backend| backend.service.clone());
        backend.or_else(|| self.policy.redirects().redirection(name).map(|found| found.name.clone()))
    }

    /// The service that holds a virtual address.
    pub fn backend_of(&self, address: Ipv4Addr) -> Option<&Arc<Backend>> {
        self.backends.get(self.by_virtual_ip.get(&address)?)
    }

    /// All services, by name.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.backends.iter().map(|(_, backend)| backend)
    }
}

fn endpoint(snapshot: &Snapshot, instance: &Instance) -> Option<Endpoint> {
    let status = snapshot.health(instance);
    let weight = match status {
        Status::Passing => instance.def.weights.passing,
        Status::Warning => instance.def.weights.warning,
        Status::Critical => 0,
    };
    if weight == 0 || instance.def.port == 0 {
        return None;
    }
    let address = snapshot.address_of(instance);
    let target = match address.parse::<IpAddr>() {
        Ok(ip) => Target::Ip(SocketAddr::new(ip, instance.def.port)),
        Err(_) => Target::Host(address, instance.def.port),
    };
    let tags = instance.def.tags.clone();
    let (node, id, protocol) = (instance.node.clone(), instance.def.id.clone(), protocol(instance));
    Some(Endpoint { node, id, target, weight, status, tags, protocol })
}

fn protocol(instance: &Instance) -> Option<Arc<str>> {
    let tagged = || instance.def.tags.iter().find_map(|tag| tag.strip_prefix("protocol=").map(Arc::from));
    instance.def.meta.get("protocol").cloned().or_else(tagged)
}
