//! What an agent says of itself and of what is registered on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::listing::HealthCheck;
use crate::{Labels, Locality, ServiceConnect, TaggedAddresses, Text, Weights};

/// An instance as `agent/services` (by id) and `agent/service/:id` show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentService {
    /// Instance id.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Service name.
    pub service: Text,
    /// Tags.
    pub tags: Vec<Text>,
    /// Labels.
    pub meta: Labels,
    /// Port.
    pub port: u16,
    /// Address; empty means the node's.
    pub address: Text,
    /// Further addresses by their tag.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: TaggedAddresses,
    /// Weights by status.
    pub weights: Weights,
    /// As registered.
    pub enable_tag_override: bool,
    /// Whether it speaks the mesh's TLS itself; left out where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<ServiceConnect>,
    /// Where it is, if that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// Changes with the definition; only where one instance is asked for.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub content_hash: Text,
    /// Datacenter.
    pub datacenter: Text,
}

/// Answer of `agent/health/service/id/:id`, element of `agent/health/service/name/:name`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentServiceHealth {
    /// Worst of its checks, or `maintenance`.
    pub aggregated_status: Text,
    /// The instance.
    pub service: AgentService,
    /// Its checks and its node's.
    pub checks: Vec<HealthCheck>,
}

/// A member of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Member {
    /// Node name.
    pub name: Text,
    /// Address.
    pub addr: Text,
    /// Port of the mesh.
    pub port: u16,
    /// `role`, `dc`, `id`, `build`, …
    pub tags: Labels,
    /// 1 alive, 3 left, 4 failed.
    pub status: u8,
    /// Gossip protocol versions that Consul shows; fixed here.
    pub protocol_min: u8,
    /// See `protocol_min`.
    pub protocol_max: u8,
    /// See `protocol_min`.
    pub protocol_cur: u8,
    /// See `protocol_min`.
    pub delegate_min: u8,
    /// See `protocol_min`.
    pub delegate_max: u8,
    /// See `protocol_min`.
    pub delegate_cur: u8,
}

/// `Config` of [`AgentSelf`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SelfConfig {
    /// Datacenter.
    pub datacenter: Text,
    /// Always empty here.
    pub primary_datacenter: Text,
    /// Node name.
    pub node_name: Text,
    /// Node id, a UUID.
    #[serde(rename = "NodeID")]
    pub node_id: Text,
    /// Source revision of this daemon.
    pub revision: Text,
    /// True when the node votes.
    pub server: bool,
    /// Consul version whose API this is.
    pub version: Text,
    /// When the daemon was built, RFC 3339.
    pub build_date: Text,
    /// Ours: version of this daemon.
    pub portolan_version: Text,
}

/// Answer of `agent/self`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentSelf {
    /// What clients read.
    pub config: SelfConfig,
    /// A few settings under Consul's names.
    pub debug_config: serde_json::Map<String, serde_json::Value>,
    /// Always `null` here.
    pub coord: Option<crate::Empty>,
    /// Always empty here.
    #[serde(rename = "xDS")]
    pub xds: crate::Empty,
    /// This node as a member.
    pub member: Member,
    /// Counters by group.
    pub stats: BTreeMap<Text, BTreeMap<Text, Text>>,
    /// Labels of the node.
    pub meta: Labels,
}

/// Answer of `agent/version`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    /// Consul version whose API this is.
    #[serde(rename = "HumanVersion")]
    pub human_version: Text,
    /// The same without a suffix.
    #[serde(rename = "SHA")]
    pub sha: Text,
    /// When the daemon was built, RFC 3339.
    #[serde(rename = "BuildDate")]
    pub build_date: Text,
    /// Always empty here.
    #[serde(rename = "FIPS")]
    pub fips: Text,
    /// Ours: version of this daemon.
    #[serde(rename = "PortolanVersion")]
    pub portolan_version: Text,
}
