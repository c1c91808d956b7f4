//! The nouns. Definitions (`*Def`) are what somebody registered, kept whole; the types around them add what
//! the catalog knows: owner, status, indexes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::members::Down;
use crate::trust::Mode;
use crate::virtual_ip::{Range, VirtualIp};

/// Place of a command in the agreed order; also the version of whatever it touched.
pub type Index = u64;

/// Health, ordered from best to worst so that `max` is the verdict over several checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Works.
    Passing,
    /// Works, with a complaint.
    Warning,
    /// Does not work.
    Critical,
}

impl Status {
    /// Consul's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Passing => "passing",
            Status::Warning => "warning",
            Status::Critical => "critical",
        }
    }

    /// Reads Consul's word.
    pub fn parse(word: &str) -> Option<Status> {
        [Status::Passing, Status::Warning, Status::Critical].into_iter().find(|s| s.as_str() == word)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a service is to the faces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An ordinary service: name, endpoints, virtual address.
    #[default]
    Service,
    /// Registered by NetSel's byte protocol; otherwise ordinary.
    Netsel,
    /// A GOST tunnel: listed, not routed, no virtual address.
    Tunnel,
    /// Shows and demands certificates of the cluster's authority itself (Consul's `Connect.Native`); otherwise ordinary.
    Native,
}

/// Who owns an instance: the node that it registered with, in one of that node's lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Node name.
    pub node: Arc<str>,
    /// That node's boot epoch when it took the instance.
    pub epoch: u64,
}

/// Share of traffic by status, as in Consul: used as SRV weight and by the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// Weight while passing.
    pub passing: u16,
    /// Weight while warning.
    pub warning: u16,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { passing: 1, warning: 1 }
    }
}

/// A claim that must be renewed, or the instance is deregistered. Deadlines live outside the catalog, with
/// the owner; here is only the term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// How long one renewal lasts, in milliseconds.
    pub ttl_ms: u64,
}

/// A host, as registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDef {
    /// Unique name.
    pub name: Arc<str>,
    /// Unique id (UUID text), may be empty for nodes registered from outside.
    #[serde(default)]
    pub id: Arc<str>,
    /// IP address, or a host name for nodes registered from outside.
    pub address: Arc<str>,
    /// Consul's `TaggedAddresses`: `lan`, `wan`, …
    #[serde(default)]
    pub tagged_addresses: Labels,
    /// Free-form labels.
    #[serde(default)]
    pub meta: Labels,
}

impl NodeDef {
    /// A node at an address, with nothing else said of it.
    pub fn new(name: Arc<str>, address: Arc<str>) -> NodeDef {
        NodeDef { name, id: "".into(), address, tagged_addresses: Labels::default(), meta: Labels::default() }
    }
}

/// One copy of a service, as registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceDef {
    /// Unique on its node.
    pub id: Arc<str>,
    /// Service name.
    pub service: Arc<str>,
    /// What the service is.
    #[serde(default)]
    pub kind: Kind,
    /// Tags, in the order given.
    #[serde(default)]
    pub tags: Vec<Arc<str>>,
    /// IP address or host name; empty means the node's.
    #[serde(default)]
    pub address: Arc<str>,
    /// Port; 0 when the service has none.
    #[serde(default)]
    pub port: u16,
    /// Consul's `TaggedAddresses`, rendered `address:port`.
    #[serde(default)]
    pub tagged_addresses: Labels,
    /// Free-form labels.
    #[serde(default)]
    pub meta: Labels,
    /// Weights by status.
    #[serde(default)]
    pub weights: Weights,
    /// Consul's `EnableTagOverride`, carried for clients that ask.
    #[serde(default)]
    pub enable_tag_override: bool,
    /// Must be renewed when set.
    #[serde(default)]
    pub lease: Option<Lease>,
    /// Where it is, carried for clients that ask; nothing here decides by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<Box<Locality>>,
}

/// Where something is, in the words of whoever runs the hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locality {
    /// Like `us-west-1`.
    #[serde(default)]
    pub region: Arc<str>,
    /// Like `us-west-1a`.
    #[serde(default)]
    pub zone: Arc<str>,
}

impl InstanceDef {
    /// An ordinary instance at its node's own address, with nothing else said of it.
    pub fn new(id: Arc<str>, service: Arc<str>, port: u16) -> InstanceDef {
        InstanceDef {
            id,
            service,
            kind: Kind::default(),
            tags: Vec::new(),
            address: "".into(),
            port,
            tagged_addresses: Labels::default(),
            meta: Labels::default(),
            weights: Weights::default(),
            enable_tag_override: false,
            lease: None,
            locality: None,
        }
    }
}

/// One registered copy of a service on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Node name, shared with the node's entry.
    pub node: Arc<str>,
    /// As registered.
    pub def: Arc<InstanceDef>,
    /// Who may change its health.
    pub owner: Owner,
    /// Its own checks, by check id. Checks of the node are in [`NodeEntry::checks`].
    pub checks: Vec<Arc<Check>>,
    /// Index of the last registration, also one that changed nothing. A deregistration that was decided
    /// upon an older one is refused by it.
    pub registered_index: Index,
    /// Index of its first registration.
    pub create_index: Index,
    /// Index of its last change of definition.
    pub modify_index: Index,
}

/// How often a probe runs. All times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cadence {
    /// Time between two probes.
    pub interval_ms: u64,
    /// Longest a probe may take.
    pub timeout_ms: u64,
}

/// What an HTTP probe sends and expects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// `http://` or `https://` URL.
    pub url: Arc<str>,
    /// Method, `GET` when empty.
    #[serde(default)]
    pub method: Arc<str>,
    /// Header fields; each name with its values.
    #[serde(default)]
    pub headers: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Request body.
    #[serde(default)]
    pub body: Arc<str>,
    /// The answer's first 4 KiB must contain this text, unless empty.
    #[serde(default)]
    pub body_match: Arc<str>,
    /// Accept any certificate.
    #[serde(default)]
    pub tls_skip_verify: bool,
    /// Name to verify instead of the URL's host.
    #[serde(default)]
    pub tls_server_name: Arc<str>,
}

/// How a check gets its status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// Somebody else reports it (Consul's catalog registration); nobody here runs it.
    External,
    /// The service reports in; silence for `ttl_ms` makes it critical.
    Ttl {
        /// Term of one report.
        ttl_ms: u64,
    },
    /// A TCP connection to `address` (`host:port`).
    Tcp {
        /// `host:port`.
        address: Arc<str>,
        /// Cadence.
        cadence: Cadence,
    },
    /// An HTTP request.
    Http {
        /// What to send and expect.
        http: Box<HttpProbe>,
        /// Cadence.
        cadence: Cadence,
    },
    /// The gRPC health protocol (`grpc.health.v1.Health/Check`).
    Grpc {
        /// `host:port[/service]`.
        address: Arc<str>,
        /// Speak TLS.
        tls: bool,
        /// Accept any certificate.
        #[serde(default)]
        tls_skip_verify: bool,
        /// Cadence.
        cadence: Cadence,
    },
    /// A program: exit 0 passes, 1 warns, anything else is critical. Off unless enabled.
    Command {
        /// Program and arguments; no shell.
        args: Vec<Arc<str>>,
        /// Cadence.
        cadence: Cadence,
    },
}

impl Probe {
    /// How often it runs; `None` when nobody here runs it.
    pub fn cadence(&self) -> Option<&Cadence> {
        match self {
            Probe::External | Probe::Ttl { .. } => None,
            Probe::Tcp { cadence, .. }
            | Probe::Http { cadence, .. }
            | Probe::Grpc { cadence, .. }
            | Probe::Command { cadence, .. } => Some(cadence),
        }
    }

    /// Consul's `Type` of a check.
    pub fn type_name(&self) -> &'static str {
        match self {
            Probe::External => "",
            Probe::Ttl { .. } => "ttl",
            Probe::Tcp { .. } => "tcp",
            Probe::Http { .. } => "http",
            Probe::Grpc { .. } => "grpc",
            Probe::Command { .. } => "script",
        }
    }
}

/// A check, as registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDef {
    /// Unique on its node.
    pub id: Arc<str>,
    /// For people.
    pub name: Arc<str>,
    /// For people.
    #[serde(default)]
    pub notes: Arc<str>,
    /// Instance that it judges; empty judges the whole node.
    #[serde(default)]
    pub service_id: Arc<str>,
    /// How it gets its status.
    pub probe: Probe,
    /// Deregister the instance after it was critical for this long, in milliseconds.
    #[serde(default)]
    pub deregister_after_ms: Option<u64>,
    /// Successes in a row before it passes again; 0 counts as 1.
    #[serde(default)]
    pub success_before_passing: u16,
    /// Failures in a row before it warns.
    #[serde(default)]
    pub failures_before_warning: u16,
    /// Failures in a row before it is critical; 0 counts as 1.
    #[serde(default)]
    pub failures_before_critical: u16,
    /// What somebody else would ask for it, as JSON in Consul's words ([`Probe::External`]). Carried for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Arc<str>>,
}

/// A check with its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Node name, shared with the node's entry.
    pub node: Arc<str>,
    /// As registered.
    pub def: Arc<CheckDef>,
    /// Name of the service that it judges, empty for a node check.
    pub service: Arc<str>,
    /// Last decided status.
    pub status: Status,
    /// What the probe said, at most 4 KiB.
    pub output: Arc<str>,
    /// When the status last changed, in Unix milliseconds, as the command said.
    pub since_ms: u64,
    /// Index of its registration.
    pub create_index: Index,
    /// Index of its last change.
    pub modify_index: Index,
}

/// A node with everything registered on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// As registered.
    pub def: Arc<NodeDef>,
    /// Checks of the node itself, by id.
    pub checks: Vec<Arc<Check>>,
    /// Instances by id.
    pub instances: OrdMap<Arc<str>, Arc<Instance>>,
    /// Check id → instance id, for every check on this node that judges an instance.
    pub(crate) instance_checks: OrdMap<Arc<str>, Arc<str>>,
    /// Set while the node is taken for dead.
    pub down: Option<Down>,
    /// Index of its registration.
    pub create_index: Index,
    /// Index of the last change of its definition.
    pub modify_index: Index,
    /// Index of the last change of anything on it: definition, instances, checks.
    pub touched_index: Index,
}

/// A service: a name with its instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name as first registered.
    pub name: Arc<str>,
    /// What it is; the first registration decides.
    pub kind: Kind,
    /// Instances by (node, instance id): the one stable order that every answer uses.
    pub instances: OrdMap<(Arc<str>, Arc<str>), Arc<Instance>>,
    /// Stable address, where one was free.
    pub virtual_ip: Option<VirtualIp>,
    /// Port that belongs to the virtual address: the first registration's.
    pub port: u16,
    /// Index of the first registration in this life of the service.
    pub create_index: Index,
    /// Index of the last change of any instance, check or node of it.
    pub touched_index: Index,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvEntry {
    /// Value.
    pub value: Bytes,
    /// Opaque number for the client.
    pub flags: u64,
    /// How often the key was locked.
    pub lock_index: u64,
    /// Session that holds it.
    #[serde(default)]
    pub session: Option<Arc<str>>,
    /// Index of its creation.
    pub create_index: Index,
    /// Index of its last change.
    pub modify_index: Index,
}

/// What the cluster has agreed on about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Where virtual addresses come from.
    pub virtual_ips: Range,
    /// How long a released virtual address is kept from other services, in milliseconds.
    pub quarantine_ms: u64,
    /// How strictly it asks who is speaking.
    #[serde(default)]
    pub mode: Mode,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { virtual_ips: Range::default(), quarantine_ms: 10 * 60 * 1000, mode: Mode::Open }
    }
}
