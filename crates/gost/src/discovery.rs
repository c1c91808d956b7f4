//! What the verbs mean.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{
    CheckDef, CheckRegistration, Command, Deregister, InitialStatus, Instance, InstanceDef,
    InstanceRegistration, Kind, KvCommand, Probe, Register, Status,
};
use lease::{Leases, PassOn, ReportError, Sign};
use serde::{Deserialize, Serialize};
use store::{Store, SubmitError};

use crate::address::Address;
use crate::config::Config;

/// Renewals come this often by default; entries heard of in the same interval are equally fresh.
const RENEWAL: Duration = Duration::from_secs(15);

/// A tunnel connection as GOST speaks of it. Absent fields are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tunnel {
    /// Connector id.
    pub id: String,
    /// Tunnel id.
    pub name: String,
    /// Id of the server that holds the connection.
    pub node: String,
    /// `tcp` or `udp`.
    pub network: String,
    /// That server's entrypoint.
    pub address: String,
}

/// Why a verb was not carried out, in one sentence for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The request is wrong: HTTP 400, gRPC INVALID_ARGUMENT.
    #[error("{0}")]
    Invalid(String),
    /// This node cannot do it now: HTTP 503, gRPC UNAVAILABLE.
    #[error("{0}")]
    Unavailable(String),
}

/// The registry as GOST sees it. Share it in an `Arc`.
pub struct Discovery {
    store: Store,
    leases: Arc<Leases>,
    pass_on: Arc<dyn PassOn>,
    config: Config,
}

/// The check of an entry has the entry's own id.
fn entry_id(tunnel: &Tunnel) -> Arc<str> {
    format!("gost:{}:{}", tunnel.name, tunnel.id).into()
}

fn required(tunnel: &Tunnel) -> Result<(), Fault> {
    let fields = [("id", &tunnel.id), ("name", &tunnel.name), ("node", &tunnel.node)];
    match fields.iter().find(|(_, value)| value.is_empty()) {
        Some((field, _)) => Err(Fault::Invalid(format!("{field} is missing"))),
        None => Ok(()),
    }
}

fn fault(error: SubmitError) -> Fault {
    match error {
        SubmitError::Refused(refusal) => Fault::Invalid(refusal.to_string()),
        SubmitError::Log(cause) => Fault::Unavailable(cause.to_string()),
        other => Fault::Unavailable(other.to_string()),
    }
}

impl Discovery {
    /// Over this store and these leases; renewals of what another node keeps are passed on.
    pub fn new(store: Store, leases: Arc<Leases>, pass_on: Arc<dyn PassOn>, config: Config) -> Discovery {
        Discovery { store, leases, pass_on, config }
    }

    /// Nodes that have the entry: connector ids are unique, and GOST may ask any node.
    fn homes(&self, tunnel: &Tunnel, id: &str) -> Vec<Arc<str>> {
        let snapshot = self.store.now();
        let service = snapshot.service(&tunnel.name);
        let entries = service.into_iter().flat_map(|service| service.iter());
        entries.filter(|entry| *entry.def.id == *id).map(|entry| entry.node.clone()).collect()
    }

    /// Enters a tunnel connection, or replaces it. Durable when this returns.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn register(&self, tunnel: &Tunnel, caller: IpAddr) -> Result<(), Fault> {
        required(tunnel)?;
        let network = match &*tunnel.network {
            "" => "tcp",
            known @ ("tcp" | "udp") => known,
            other => return Err(Fault::Invalid(format!("network {other:?} is neither tcp nor udp"))),
        };
        let address = Address::parse(&tunnel.address, caller).map_err(Fault::Invalid)?;
        let meta = [("gost-id", &*tunnel.id), ("gost-node", &*tunnel.node), ("network", network)];
        let id = entry_id(tunnel);
        let def = InstanceDef {
            kind: Kind::Tunnel,
            address: address.host.into(),
            meta: meta.into(),
            ..InstanceDef::new(id.clone(), tunnel.name.as_str().into(), address.port)
        };
        let register = Register {
            node: None,
            on: self.store.node().clone(),
            instance: Some(InstanceRegistration { def, replace_checks: true }),
            checks: vec![self.check(&tunnel.name, id)],
        };
        let own = self.store.node().clone();
        let others = self.homes(tunnel, &entry_id(tunnel)).into_iter().filter(|node| *node != own);
        let leave = others.map(|node| self.removal(node, tunnel)).collect::<Vec<_>>();
        self.store.submit(Command::Register(Box::new(register))).await.map_err(fault)?;
        // What it had entered at another node before is this very connection, and it is here now.
        for command in leave {
            self.store.submit(command).await.map_err(fault)?;
        }
        Ok(())
    }

    fn removal(&self, node: Arc<str>, tunnel: &Tunnel) -> Command {
        let id = entry_id(tunnel);
        Command::Deregister(Deregister::Instance { node, id, registered_index: None })
    }

    fn check(&self, name: &str, id: Arc<str>) -> CheckRegistration {
        let def = CheckDef {
            id: id.clone(),
            name: "GOST tunnel renewal".into(),
            notes: "".into(),
            service_id: id,
            probe: Probe::Ttl { ttl_ms: self.config.ttl_of(name).as_millis().max(1) as u64 },
            deregister_after_ms: Some(self.config.forget_after.as_millis() as u64),
            success_before_passing: 0,
            failures_before_warning: 0,
            failures_before_critical: 0,
            definition: None,
        };
        CheckRegistration { def, status: InitialStatus::Set(Status::Passing), output: "".into() }
    }

    /// Renews an entry, from memory: GOST holds the tunnel's lock while it waits. Network and address are
    /// ignored, because GOST sends them empty. False when the entry is not known.
    ///
    /// An entry that had run out is brought back; the log hears of that behind the caller's back, and so does
    /// the node that keeps the entry, when that is another: a stalled disk or link delays nobody.
    ///
    /// # Errors
    /// [`Fault`]; not knowing the entry is no fault.
    pub fn renew(&self, tunnel: &Tunnel) -> Result<bool, Fault> {
        required(tunnel)?;
        let id = entry_id(tunnel);
        let snapshot = self.store.now();
        let mut homes = self.homes(tunnel, &id);
        // The own entry first.
        homes.sort_by_key(|node| node != self.store.node());
        let Some(node) = homes.into_iter().next() else { return Ok(false) };
        match self.leases.report(&snapshot, &node, &id, Status::Passing, "", Instant::now()) {
            Ok(None) => Ok(true),
            Ok(Some(revival)) => {
                let store = self.store.clone();
                tokio::spawn(async move {
                    if let Err(error) = store.submit(revival).await {
                        tracing::warn!(entry = %id, %error, "a renewed tunnel entry was not brought back");
                    }
                });
                Ok(true)
            }
            Err(ReportError::Unknown { .. }) => Ok(false),
            Err(ReportError::Elsewhere { .. }) => {
                let sign = Sign::Report { node, id, status: Status::Passing, output: "".into() };
                let pass_on = self.pass_on.clone();
                tokio::spawn(async move {
                    if let Err(error) = pass_on.pass_on(sign.clone()).await {
                        tracing::warn!(?sign, %error, "a renewal reached nobody who keeps the entry");
                    }
                });
                Ok(true)
            }
            Err(error) => Err(Fault::Unavailable(error.to_string())),
        }
    }

    /// Takes an entry away. Durable when this returns.
    ///
    /// # Errors
    /// [`Fault`]; not knowing the entry is no fault.
    pub async fn deregister(&self, tunnel: &Tunnel) -> Result<(), Fault> {
        required(tunnel)?;
        for node in self.homes(tunnel, &entry_id(tunnel)) {
            self.store.submit(self.removal(node, tunnel)).await.map_err(fault)?;
        }
        Ok(())
    }

    /// Living entries of a tunnel. The order is policy, because GOST dials the first that fits and no
    /// second: freshest first, shuffled among equals, entries on the caller's own host last.
    pub fn get(&self, name: &str, caller: IpAddr) -> Vec<Tunnel> {
        let snapshot = self.store.now();
        let now = Instant::now();
        let caller = caller.to_canonical().to_string();
        let Some(service) = snapshot.service(name).filter(|service| service.kind == Kind::Tunnel) else {
            return Vec::new();
        };
        let living = service.iter().filter(|instance| snapshot.health(instance) == Status::Passing);
        let mut ranked: Vec<_> = living
            .map(|instance| {
                let silence = self.leases.silence(&instance.node, &instance.def.id, now);
                let missed = silence.map_or(0, |silence| silence.as_millis() / RENEWAL.as_millis());
                let is_own = *instance.def.address == *caller;
                ((is_own, missed, fastrand::u32(..)), tunnel(instance))
            })
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, tunnel)| tunnel).collect()
    }

    /// Tunnel id for a public host, with or without its port; empty when there is no rule.
    pub fn rule(&self, host: &str) -> String {
        let snapshot = self.store.now();
        let rule = snapshot.key(&rule_key(host));
        rule.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).unwrap_or_default()
    }

    /// Sets the tunnel id for a public host; an empty one takes the rule away.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn set_rule(&self, host: &str, endpoint: &str) -> Result<(), Fault> {
        if without_port(host).is_empty() {
            return Err(Fault::Invalid("host is missing".into()));
        }
        let key: Arc<str> = rule_key(host).into();
        let value = bytes::Bytes::copy_from_slice(endpoint.as_bytes());
        let command = match endpoint {
            "" => KvCommand::Delete { key, cas: None },
            _ => KvCommand::Set { key, value, flags: 0, cas: None },
        };
        self.store.submit(Command::Kv(command)).await.map_err(fault)?;
        Ok(())
    }
}

fn tunnel(instance: &Instance) -> Tunnel {
    let meta = |name| instance.def.meta.get(name).map(|value| value.to_string()).unwrap_or_default();
    Tunnel {
        id: meta("gost-id"),
        name: instance.def.service.to_string(),
        node: meta("gost-node"),
        network: meta("network"),
        address: Address::show(&instance.def.address, instance.def.port),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Rules are keys, so that they are replicated, listed and edited like any other.
fn rule_key(host: &str) -> String {
    format!("gost/ingress/{}", without_port(host).to_ascii_lowercase())
}
