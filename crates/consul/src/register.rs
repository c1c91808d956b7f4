//! What clients send to register and to report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::{Empty, GoDuration, Labels, Locality, TaggedAddresses, Text, Weights};

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_zero(value: &u16) -> bool {
    *value == 0
}

/// Body of `PUT /v1/agent/service/register`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceRegistration {
    /// Instance id; the name when empty.
    #[serde(rename = "ID", skip_serializing_if = "str::is_empty")]
    pub id: Text,
    /// Service name.
    pub name: Text,
    /// Tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Text>,
    /// IP address or host name; the node's when empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub address: Text,
    /// Further addresses by their tag.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: TaggedAddresses,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: Labels,
    /// Port.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: u16,
    /// Path of a Unix socket. Not supported, named so that it is refused and not ignored.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub socket_path: Text,
    /// Weights by status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Carried for clients that ask.
    #[serde(skip_serializing_if = "is_false")]
    pub enable_tag_override: bool,
    /// One check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckRegistration>,
    /// More checks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckRegistration>,
    /// `connect-proxy` and the like. Only empty is supported.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: Text,
    /// Service mesh options of Consul.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Connect>,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// Namespace; only `default` exists.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: Text,
    /// Partition; only `default` exists.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub partition: Text,
    /// Ours: the registration is a claim that must be renewed within this time
    /// (`PUT /v1/agent/service/renew/:id`, or any TTL report), or it is deregistered. Zero: no lease.
    #[serde(skip_serializing_if = "GoDuration::is_zero")]
    pub lease: GoDuration,
}

/// `Connect` of a registration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Connect {
    /// The service speaks Consul's mesh itself.
    #[serde(skip_serializing_if = "is_false")]
    pub native: bool,
    /// Present when a sidecar is wished. Not supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar_service: Option<Empty>,
}

/// A check: body of `PUT /v1/agent/check/register`, and `Check`, `Checks` of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckRegistration {
    /// Check id, in the check's own registration.
    #[serde(rename = "ID", skip_serializing_if = "str::is_empty")]
    pub id: Text,
    /// Check id, inside a service's registration.
    #[serde(rename = "CheckID", skip_serializing_if = "str::is_empty")]
    pub check_id: Text,
    /// For people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Text,
    /// For people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub notes: Text,
    /// Instance that it judges.
    #[serde(rename = "ServiceID", skip_serializing_if = "str::is_empty")]
    pub service_id: Text,
    /// Status to begin with.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status: Text,
    /// Program and arguments.
    #[serde(alias = "ScriptArgs", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Text>,
    /// A shell line; Consul dropped it in 1.1.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub script: Text,
    /// URL of an HTTP probe.
    #[serde(rename = "HTTP", skip_serializing_if = "str::is_empty")]
    pub http: Text,
    /// Header fields of the HTTP probe.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<Text, Vec<Text>>,
    /// Its method.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub method: Text,
    /// Its body.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub body: Text,
    /// Ours: text that the answer must contain.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub body_match: Text,
    /// `host:port` of a TCP probe.
    #[serde(rename = "TCP", skip_serializing_if = "str::is_empty")]
    pub tcp: Text,
    /// `host:port` of a UDP probe. Not supported.
    #[serde(rename = "UDP", skip_serializing_if = "str::is_empty")]
    pub udp: Text,
    /// `host:port[/service]` of a gRPC probe.
    #[serde(rename = "GRPC", skip_serializing_if = "str::is_empty")]
    pub grpc: Text,
    /// With TLS.
    #[serde(rename = "GRPCUseTLS", skip_serializing_if = "is_false")]
    pub grpc_use_tls: bool,
    /// `host:port` of an HTTP/2 ping. Not supported.
    #[serde(rename = "H2PING", skip_serializing_if = "str::is_empty")]
    pub h2_ping: Text,
    /// Service of the operating system. Not supported.
    #[serde(rename = "OSService", skip_serializing_if = "str::is_empty")]
    pub os_service: Text,
    /// Container to run a command in. Not supported.
    #[serde(rename = "DockerContainerID", skip_serializing_if = "str::is_empty")]
    pub docker_container_id: Text,
    /// Node of an alias check. Not supported.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub alias_node: Text,
    /// Service of an alias check. Not supported.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub alias_service: Text,
    /// Term of a report.
    #[serde(rename = "TTL", skip_serializing_if = "GoDuration::is_zero")]
    pub ttl: GoDuration,
    /// Time between probes.
    #[serde(skip_serializing_if = "GoDuration::is_zero")]
    pub interval: GoDuration,
    /// Longest a probe may take.
    #[serde(skip_serializing_if = "GoDuration::is_zero")]
    pub timeout: GoDuration,
    /// Name to verify instead of the URL's host.
    #[serde(rename = "TLSServerName", skip_serializing_if = "str::is_empty")]
    pub tls_server_name: Text,
    /// Accept any certificate.
    #[serde(rename = "TLSSkipVerify", skip_serializing_if = "is_false")]
    pub tls_skip_verify: bool,
    /// Successes in a row before it passes.
    #[serde(skip_serializing_if = "is_zero")]
    pub success_before_passing: u16,
    /// Failures in a row before it warns.
    #[serde(skip_serializing_if = "is_zero")]
    pub failures_before_warning: u16,
    /// Failures in a row before it is critical.
    #[serde(skip_serializing_if = "is_zero")]
    pub failures_before_critical: u16,
    /// Deregister the instance after it was critical for this long.
    #[serde(skip_serializing_if = "GoDuration::is_zero")]
    pub deregister_critical_service_after: GoDuration,
}

impl CheckRegistration {
    /// The id in whichever field it came; empty when in none.
    pub fn any_id(&self) -> &Text {
        if self.id.is_empty() { &self.check_id } else { &self.id }
    }
}

/// Body of `PUT /v1/agent/check/update/:id`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckUpdate {
    /// `passing`, `warning` or `critical`.
    pub status: Text,
    /// What to show beside it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub output: Text,
}

/// Body of `PUT /v1/catalog/register`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogRegistration {
    /// Node id (UUID).
    #[serde(rename = "ID", skip_serializing_if = "str::is_empty")]
    pub id: Text,
    /// Node name.
    pub node: Text,
    /// Node address.
    pub address: Text,
    /// Datacenter; ours when empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub datacenter: Text,
    /// Further addresses of the node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: Labels,
    /// Labels of the node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_meta: Labels,
    /// An instance on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<CatalogService>,
    /// One check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CatalogCheck>,
    /// More checks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CatalogCheck>,
    /// Leave the node as it is when it exists.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_node_update: bool,
}

/// `Service` of a catalog registration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogService {
    /// Instance id; the name when empty.
    #[serde(rename = "ID", skip_serializing_if = "str::is_empty")]
    pub id: Text,
    /// Service name.
    pub service: Text,
    /// `connect-proxy` and the like. Only empty is supported.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: Text,
    /// Tags.
    pub tags: Vec<Text>,
    /// IP address or host name; the node's when empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub address: Text,
    /// Further addresses by their tag.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: TaggedAddresses,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: Labels,
    /// Port.
    pub port: u16,
    /// Weights by status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Carried for clients that ask.
    pub enable_tag_override: bool,
    /// Service mesh options of Consul.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Connect>,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
}

/// A check of a catalog registration. Nobody here runs it, unless somebody else (esm) reads its definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogCheck {
    /// Node; the registration's when empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub node: Text,
    /// Check id; the name when empty.
    #[serde(rename = "CheckID", alias = "ID", skip_serializing_if = "str::is_empty")]
    pub check_id: Text,
    /// For people.
    pub name: Text,
    /// For people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub notes: Text,
    /// Status; critical when empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub status: Text,
    /// What to show beside it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub output: Text,
    /// Instance that it judges; the node when empty.
    #[serde(rename = "ServiceID", skip_serializing_if = "str::is_empty")]
    pub service_id: Text,
    /// What it asks.
    pub definition: Definition,
}

/// Body of `PUT /v1/catalog/deregister`: the check, else the instance, else the whole node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogDeregistration {
    /// Node name.
    pub node: Text,
    /// Datacenter; ours when empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub datacenter: Text,
    /// Check to take away.
    #[serde(rename = "CheckID", skip_serializing_if = "str::is_empty")]
    pub check_id: Text,
    /// Instance to take away.
    #[serde(rename = "ServiceID", skip_serializing_if = "str::is_empty")]
    pub service_id: Text,
}
