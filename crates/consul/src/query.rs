//! Prepared queries.

use serde::{Deserialize, Serialize};

use crate::listing::ServiceEntry;
use crate::{Labels, Text};

/// A prepared query: body of `POST /v1/query`, element of its list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueryDefinition {
    /// UUID; empty to create one.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Name to ask for it by.
    pub name: Text,
    /// Session that it ends with.
    pub session: Text,
    /// Token that it runs as.
    pub token: Text,
    /// How it answers to many names.
    pub template: QueryTemplate,
    /// What it finds.
    pub service: QueryService,
    /// How answers by DNS are marked.
    #[serde(rename = "DNS")]
    pub dns: QueryDns,
    /// Index of its creation.
    pub create_index: u64,
    /// Index of its last change.
    pub modify_index: u64,
}

/// How a query answers to many names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueryTemplate {
    /// Empty, or `name_prefix_match`.
    #[serde(rename = "Type")]
    pub kind: Text,
    /// Takes the name apart.
    pub regexp: Text,
    /// Forget tags of which nothing is left.
    pub remove_empty_tags: bool,
}

/// What a query finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueryService {
    /// Service name.
    pub service: Text,
    /// Where else to look.
    pub failover: QueryFailover,
    /// Leave out what passes with a warning.
    pub only_passing: bool,
    /// Checks that are not looked at.
    #[serde(rename = "IgnoreCheckIDs")]
    pub ignore_check_ids: Option<Vec<Text>>,
    /// Node whose instances come first.
    pub near: Text,
    /// Tags that must be there, or with `!` must not.
    pub tags: Option<Vec<Text>>,
    /// Labels of the node.
    pub node_meta: Option<Labels>,
    /// Labels of the instance.
    pub service_meta: Option<Labels>,
    /// Only instances that speak Consul's mesh.
    pub connect: bool,
}

/// Where else to look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueryFailover {
    /// How many other datacenters.
    pub nearest_n: i32,
    /// Which.
    pub datacenters: Option<Vec<Text>>,
}

/// How answers by DNS are marked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryDns {
    /// Time to live, as text.
    #[serde(rename = "TTL")]
    pub ttl: Text,
}

/// Answer of `POST /v1/query`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryCreated {
    /// Id of the new query.
    #[serde(rename = "ID")]
    pub id: Text,
}

/// Answer of `/v1/query/:name/execute`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueryResult {
    /// Service that was looked for.
    pub service: Text,
    /// Instances that were found.
    pub nodes: Vec<ServiceEntry>,
    /// How answers by DNS are marked.
    #[serde(rename = "DNS")]
    pub dns: QueryDns,
    /// Where they were found.
    pub datacenter: Text,
    /// How many other datacenters were asked.
    pub failovers: u32,
    /// Always 0, as in Consul.
    pub index: u64,
    /// Milliseconds since the leader was heard of.
    pub last_contact: u64,
    /// True when there is a leader.
    pub known_leader: bool,
    /// How fresh the answer is.
    pub consistency_level: Text,
}

/// Answer of `/v1/query/:name/explain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueryExplained {
    /// The query, with the name's parts put in.
    pub query: QueryDefinition,
    /// Always 0, as in Consul.
    pub index: u64,
    /// Milliseconds since the leader was heard of.
    pub last_contact: u64,
    /// True when there is a leader.
    pub known_leader: bool,
    /// How fresh the answer is.
    pub consistency_level: Text,
}
