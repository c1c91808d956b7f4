//! What the requests mean.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use catalog::{
    Command, Instance, InstanceDef, InstanceRegistration, Kind, Lease, Refusal, Register, Snapshot, validate,
};
use lease::{Leases, RenewError};
use store::{Store, SubmitError};

use super::Config;

/// Why a name was not registered, in one sentence for the client.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0}")]
    Name(#[from] validate::Invalid),
    #[error("a GOST tunnel has that name")]
    Tunnel,
    #[error("no port from {first} to {last} is free for that address")]
    NoPort { first: u16, last: u16 },
    #[error("{0}")]
    Catalog(#[from] Refusal),
    #[error("the registry cannot record it now")]
    Unavailable(#[source] SubmitError),
}

/// Registers and renews on behalf of clients that state a name.
pub(super) struct Registrar {
    config: Config,
    store: Store,
    leases: Arc<Leases>,
    /// Ports that were chosen and are not in the catalog yet, by instance id.
    chosen: Mutex<HashMap<Arc<str>, Place>>,
}

/// Where an instance is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    source: IpAddr,
    port: u16,
}

/// The registry's own port in the seed, which the seed assigned to its first client.
const REGISTRY_PORT: u16 = 9000;

/// An instance's id says who registered what, so that the same client finds its own again.
const PREFIX: &str = "netsel:";

fn instance_id(name: &str, source: IpAddr) -> Arc<str> {
    format!("{PREFIX}{name}:{source}").into()
}

impl Registrar {
    pub(super) fn new(config: Config, store: Store, leases: Arc<Leases>) -> Registrar {
        Registrar { config, store, leases, chosen: Mutex::default() }
    }

    /// Registers `name` at the address that the client calls from; returns the address that the service is
    /// known by and the port assigned. Durable when this returns.
    pub(super) async fn register(&self, name: &str, source: IpAddr) -> Result<(IpAddr, u16), Refused> {
        validate::label("service name", name)?;
        let source = source.to_canonical();
        let id = instance_id(name, source);
        let port = self.choose(name, &id, source)?;
        let submitted = self.store.submit(self.command(name, &id, Place { source, port })).await;
        // Only now: until the catalog has the port, nobody else may take it.
        self.chosen().remove(&id);
        match submitted {
            Ok(_) => {
                // The lease counts from now and not from when a sweep first sees it.
                let renewed = self.renew(name, source, Instant::now());
                tracing::trace!(?renewed, name, "the first term of a lease");
                Ok((self.known_address(name).unwrap_or(source), port))
            }
            Err(SubmitError::Refused(refusal)) => Err(refusal.into()),
            Err(error) => Err(Refused::Unavailable(error)),
        }
    }

    /// Renews what `name` registered from that address.
    pub(super) fn renew(&self, name: &str, source: IpAddr, now: Instant) -> Result<(), RenewError> {
        let id = instance_id(name, source.to_canonical());
        self.leases.renew(&self.store.now(), self.store.node(), &id, now).map(drop)
    }

    /// Where the instance of `name` is that was renewed last, and how long ago that was. Only what has a
    /// lease here is looked at; for everything else there is DNS.
    pub(super) fn look_up(&self, name: &str, now: Instant) -> Option<(IpAddr, u16, Duration)> {
        let view = self.store.now();
        let found = view.service(name)?.iter().filter_map(|instance| {
            let unrenewed = self.leases.unrenewed_for(&instance.node, &instance.def.id, now)?;
            Some((address_of(instance)?, instance.def.port, unrenewed))
        });
        found.min_by_key(|(_, _, unrenewed)| *unrenewed)
    }

    fn command(&self, name: &str, id: &Arc<str>, place: Place) -> Command {
        let def = InstanceDef {
            kind: Kind::Netsel,
            address: place.source.to_string().into(),
            lease: Some(Lease { ttl_ms: self.config.lease.as_millis().max(1) as u64 }),
            ..InstanceDef::new(id.clone(), name.into(), place.port)
        };
        let instance = Some(InstanceRegistration { def, replace_checks: true });
        let register = Register { node: None, on: self.store.node().clone(), instance, checks: Vec::new() };
        Command::Register(Box::new(register))
    }

    /// The port that this client has, else the lowest that nobody has at its address.
    fn choose(&self, name: &str, id: &Arc<str>, source: IpAddr) -> Result<u16, Refused> {
        let mut chosen = self.chosen();
        // Looked at under the lock: whatever has left `chosen` is in this snapshot.
        let snapshot = self.store.now();
        if snapshot.service(name).is_some_and(|service| service.kind == Kind::Tunnel) {
            return Err(Refused::Tunnel);
        }
        let own = snapshot.instance(self.store.node(), id).map(|instance| instance.def.port);
        let port = match chosen.get(id).map(|place| place.port).or(own) {
            Some(port) => port,
            None => {
                let taken = self.taken(&snapshot, &chosen, source);
                let mut range = self.config.first_port..=self.config.last_port;
                let own = self.config.listen.map(|address| address.port());
                let may_be_assigned = |port: u16| port != REGISTRY_PORT && Some(port) != own;
                let free = range.find(|port| {
                    may_be_assigned(*port) && !taken.contains(port) && is_free_here(source, *port)
                });
                let (first, last) = (self.config.first_port, self.config.last_port);
                free.ok_or(Refused::NoPort { first, last })?
            }
        };
        chosen.insert(id.clone(), Place { source, port });
        Ok(port)
    }

    /// Ports that clients at this address have. All of loopback is one address: a program that binds every
    /// address takes the port on each.
    fn taken(&self, snapshot: &Snapshot, chosen: &HashMap<Arc<str>, Place>, source: IpAddr) -> BTreeSet<u16> {
        let is_here = |address: IpAddr| address == source || (address.is_loopback() && source.is_loopback());
        let from: Arc<str> = PREFIX.into();
        let registered = snapshot
            .node(self.store.node())
            .into_iter()
            .flat_map(|node| node.instances.range(from.clone()..))
            .take_while(|(id, _)| id.starts_with(PREFIX))
            .filter(|(_, instance)| address_of(instance).is_some_and(is_here))
            .map(|(_, instance)| instance.def.port);
        let under_way = chosen.values().filter(|place| is_here(place.source)).map(|place| place.port);
        registered.chain(under_way).collect()
    }

    /// The service's virtual address, which is what a client is told.
    fn known_address(&self, name: &str) -> Option<IpAddr> {
        self.store.now().service(name)?.virtual_ip.map(|address| address.0.into())
    }

    fn chosen(&self) -> MutexGuard<'_, HashMap<Arc<str>, Place>> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address_of(instance: &Instance) -> Option<IpAddr> {
    instance.def.address.parse().ok()
}

/// False when the client is on this host and somebody there has the port: it could not listen on it.
fn is_free_here(source: IpAddr, port: u16) -> bool {
    let wildcard: IpAddr = match source {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let is_ours = TcpListener::bind((source, 0)).is_ok();
    !is_ours || TcpListener::bind((wildcard, port)).is_ok()
}
