//! Nodes, services and checks as `catalog/*` and `health/*` list them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::{Labels, Locality, Proxy, ServiceConnect, TaggedAddresses, Text, Weights};

/// A node: an element of `catalog/nodes`, `Node` of `health/service`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// UUID, empty for nodes registered from outside without one.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Name.
    pub node: Text,
    /// Address.
    pub address: Text,
    /// Datacenter.
    pub datacenter: Text,
    /// Further addresses by their tag. `null` when none were given.
    pub tagged_addresses: Option<Labels>,
    /// Labels. `null` when none were given.
    pub meta: Option<Labels>,
    /// Index of its registration.
    pub create_index: u64,
    /// Index of its last change.
    pub modify_index: u64,
}

/// An element of `catalog/service/:name`: node and instance in one flat object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogService {
    /// UUID of the node.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Node name.
    pub node: Text,
    /// Node address.
    pub address: Text,
    /// Datacenter.
    pub datacenter: Text,
    /// Further addresses of the node.
    pub tagged_addresses: Option<Labels>,
    /// Labels of the node.
    pub node_meta: Option<Labels>,
    /// Always empty here.
    pub service_kind: Text,
    /// Instance id.
    #[serde(rename = "ServiceID")]
    pub service_id: Text,
    /// Service name.
    pub service_name: Text,
    /// Tags.
    pub service_tags: Vec<Text>,
    /// Address of the instance; empty means the node's.
    pub service_address: Text,
    /// Further addresses of the instance.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub service_tagged_addresses: TaggedAddresses,
    /// Weights by status.
    pub service_weights: Weights,
    /// Labels of the instance.
    pub service_meta: Labels,
    /// Port.
    pub service_port: u16,
    /// Always empty here.
    pub service_socket_path: Text,
    /// As registered.
    pub service_enable_tag_override: bool,
    /// Always empty here.
    pub service_proxy: Proxy,
    /// Whether it speaks the mesh's TLS itself.
    pub service_connect: ServiceConnect,
    /// Where it is, if that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_locality: Option<Locality>,
    /// Index of the registration.
    pub create_index: u64,
    /// Index of the last change.
    pub modify_index: u64,
}

/// An instance: `Service` of `health/service`, values of `catalog/node`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeService {
    /// Instance id.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Service name.
    pub service: Text,
    /// Tags.
    pub tags: Vec<Text>,
    /// Address; empty means the node's.
    pub address: Text,
    /// Further addresses by their tag.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: TaggedAddresses,
    /// Labels. `null` when none were given.
    pub meta: Option<Labels>,
    /// Port.
    pub port: u16,
    /// Weights by status.
    pub weights: Weights,
    /// As registered.
    pub enable_tag_override: bool,
    /// Always empty here.
    pub proxy: Proxy,
    /// Whether it speaks the mesh's TLS itself.
    pub connect: ServiceConnect,
    /// Where it is, if that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// Index of the registration.
    pub create_index: u64,
    /// Index of the last change.
    pub modify_index: u64,
}

/// A check as `health/*` and `agent/checks` list it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheck {
    /// Node name.
    pub node: Text,
    /// Check id.
    #[serde(rename = "CheckID")]
    pub check_id: Text,
    /// For people.
    pub name: Text,
    /// `passing`, `warning` or `critical`.
    pub status: Text,
    /// For people.
    pub notes: Text,
    /// What the probe said.
    pub output: Text,
    /// Instance that it judges; empty for a check of the node.
    #[serde(rename = "ServiceID")]
    pub service_id: Text,
    /// That instance's service.
    pub service_name: Text,
    /// That instance's tags.
    pub service_tags: Vec<Text>,
    /// `ttl`, `tcp`, `http`, `grpc`, `script`, or empty.
    #[serde(rename = "Type")]
    pub kind: Text,
    /// Time between probes, empty where there is none.
    pub interval: Text,
    /// Longest a probe may take, empty where there is none.
    pub timeout: Text,
    /// Always 0 here.
    pub exposed_port: u16,
    /// What it asks; empty where this node runs it.
    pub definition: Definition,
    /// Index of the registration.
    pub create_index: u64,
    /// Index of the last change.
    pub modify_index: u64,
}

/// An element of `health/service/:name`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceEntry {
    /// Where it runs.
    pub node: Node,
    /// The instance.
    pub service: NodeService,
    /// The node's checks, then its own.
    pub checks: Vec<HealthCheck>,
}

/// Answer of `catalog/node/:name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogNode {
    /// The node.
    pub node: Node,
    /// Instances by id.
    pub services: BTreeMap<Text, NodeService>,
}

/// Answer of `catalog/node-services/:name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeServiceList {
    /// The node; `null` when there is none of that name.
    pub node: Option<Node>,
    /// Instances in the order of their ids; `null` when there is no such node.
    pub services: Option<Vec<NodeService>>,
}

/// Answer of `catalog/services`: name to the tags of all its instances.
pub type ServiceTags = BTreeMap<Text, Vec<Text>>;
