//! Answers of the few paths of our own, under `/v1/portolan/`, in Consul's style.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::kv::Value;
use crate::{GoDuration, Labels, Text};

/// How many instances a service has, by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StatusCounts {
    /// Passing.
    pub passing: usize,
    /// Warning.
    pub warning: usize,
    /// Critical.
    pub critical: usize,
}

/// A service's stable address, as it holds on the host that answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Virtual {
    /// Address.
    pub address: Text,
    /// The same by IPv6, with the same port; empty where there is none.
    #[serde(rename = "AddressV6", skip_serializing_if = "str::is_empty")]
    pub address_v6: Text,
    /// Port to connect to on that host.
    pub port: u16,
    /// True when somebody listens there now; `?open` opens it.
    pub open: bool,
    /// Why the port is not the service's own, in words; empty when it is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub moved: Text,
}

/// An element of `GET /v1/portolan/services`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceSummary {
    /// Service name.
    pub name: Text,
    /// `service`, `netsel` or `tunnel`.
    pub kind: Text,
    /// Tags of all instances.
    pub tags: Vec<Text>,
    /// Port that the first registration named.
    pub port: u16,
    /// Stable address; `null` when it has none.
    pub r#virtual: Option<Virtual>,
    /// Instances by status.
    pub instances: StatusCounts,
    /// Index of its first registration.
    pub create_index: u64,
    /// Index of the last change of anything of it.
    pub modify_index: u64,
}

/// Answer of `GET /v1/portolan/resolve/:name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Resolution {
    /// Service name as registered.
    pub name: Text,
    /// Stable address, opened if it was not; `null` when there is none.
    pub r#virtual: Option<Virtual>,
    /// Endpoints that may get traffic, in the stable order.
    pub endpoints: Vec<Endpoint>,
    /// Instances registered in all.
    pub registered: usize,
}

/// A dialable place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// Node name.
    pub node: Text,
    /// Instance id.
    #[serde(rename = "ID")]
    pub id: Text,
    /// IP address or host name.
    pub address: Text,
    /// Port.
    pub port: u16,
    /// `passing` or `warning`.
    pub status: Text,
    /// Share of traffic.
    pub weight: u16,
    /// Tags.
    pub tags: Vec<Text>,
    /// Labels.
    pub meta: Labels,
}

/// Answer of `PUT /v1/agent/service/renew/:id`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Renewal {
    /// Time until the lease runs out, in milliseconds.
    pub expires_in_ms: u64,
}

/// A topic: an element of `GET /v1/portolan/topics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Topic {
    /// Name.
    pub topic: Text,
    /// Number of the oldest message that is kept.
    pub first: u64,
    /// Number of the next message.
    pub next: u64,
    /// How many are kept.
    pub count: usize,
    /// Their bytes together.
    pub bytes: u64,
    /// What is kept.
    #[serde(flatten)]
    pub retention: Retention,
    /// Index of the last change.
    pub modify_index: u64,
}

/// How much of a topic is kept: body of `PUT /v1/portolan/topics/:name`. Zero is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Retention {
    /// Most messages.
    pub max_count: u64,
    /// Most bytes.
    pub max_bytes: u64,
    /// Oldest message.
    pub max_age: GoDuration,
}

impl Default for Retention {
    fn default() -> Self {
        let week = Duration::from_secs(7 * 24 * 60 * 60);
        Retention { max_count: 10_000, max_bytes: 16 << 20, max_age: GoDuration(week) }
    }
}

/// Answer of `GET /v1/portolan/topic/:name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Messages {
    /// Number of the oldest message that is kept: those before it are gone.
    pub first: u64,
    /// What to ask for next.
    pub next: u64,
    /// Messages in order.
    pub messages: Vec<Message>,
}

/// One message of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Message {
    /// Its number in the topic.
    pub index: u64,
    /// When it was decided, in Unix milliseconds.
    pub time: u64,
    /// Node that it came through.
    pub node: Text,
    /// What was published.
    pub payload: Value,
}

/// Answer of `PUT /v1/portolan/topic/:name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Published {
    /// Number of the last message of the request.
    pub last: u64,
    /// How many of them were new.
    pub count: u64,
}

/// An element of `GET /v1/portolan/members`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Member {
    /// Node name.
    pub name: Text,
    /// `server` or `agent`.
    pub role: Text,
    /// True when it votes on the order.
    pub votes: bool,
    /// True when it leads, as far as the node that answers knows.
    pub leads: bool,
    /// `alive`, or `dead` while the others have given it up.
    pub status: Text,
    /// Mesh addresses, `host:port`.
    pub addresses: Vec<Text>,
    /// SHA-256 of its public key, in hexadecimal.
    pub key: Text,
    /// Highest version of commands and state that it understands.
    pub feature_level: u32,
}

/// What a node sees of a peer's link.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Link {
    /// Peer's node name.
    pub peer: Text,
    /// True while it is connected.
    pub up: bool,
    /// How long it has been so, in milliseconds.
    pub for_ms: u64,
    /// Round trip in microseconds, while it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// Address that it is connected to.
    pub address: Text,
    /// Why it is not connected, in words.
    pub problem: Text,
}

/// How a node takes part in the cluster, as itself sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeStatus {
    /// Node name.
    pub node: Text,
    /// `alone`, `server` or `agent`.
    pub role: Text,
    /// Name of the cluster (its trust domain); empty when alone.
    pub cluster: Text,
    /// `open`, `observe` or `enforce`.
    pub mode: Text,
    /// Engine that carries the order: `solo`, `memory`, `paxos`, `follow`, `etcd`.
    pub engine: Text,
    /// Node that leads; empty when nobody is known to.
    pub leader: Text,
    /// Nodes that vote.
    pub voters: Vec<Text>,
    /// Index of the last command that is applied here.
    pub applied_index: u64,
    /// Index of the last command that is known here to be decided.
    pub decided_index: u64,
    /// How long ago this node last heard from a leader that it is up to date, in milliseconds; 0 when it leads
    /// or is alone.
    pub last_contact_ms: u64,
    /// Why nothing can be decided here, in words; empty when it can.
    pub problem: Text,
    /// Links to every other member.
    pub links: Vec<Link>,
    /// When this node's certificate ends, in Unix seconds; 0 when it has none.
    pub certificate_ends_s: u64,
    /// When this node's certificate began, in Unix seconds.
    pub certificate_began_s: u64,
    /// Version of the daemon.
    pub version: Text,
    /// Directory on its host where it keeps everything durable; empty when it keeps nothing, and in what others tell.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub data_dir: Text,
}

/// Answer of `GET /v1/portolan/status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ClusterStatus {
    /// The node that answers.
    pub own: NodeStatus,
    /// The others that answered, with `?all`.
    pub others: Vec<NodeStatus>,
    /// Members that did not, and why.
    pub silent: Vec<Silent>,
}

/// A member that was asked and did not answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Silent {
    /// Node name.
    pub node: Text,
    /// Why, in words.
    pub problem: Text,
}

/// Body of `PUT /v1/portolan/init`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InitRequest {
    /// Name of the cluster; one is made up when empty.
    pub cluster: Text,
}

/// Answer of `PUT /v1/portolan/init`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Initialised {
    /// Name of the cluster.
    pub cluster: Text,
    /// Node name.
    pub node: Text,
    /// Mesh addresses that others will be told, `host:port`.
    pub addresses: Vec<Text>,
    /// File on the daemon's host with the operator's token.
    pub operator_token_file: Text,
}

/// Body of `PUT /v1/portolan/join`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JoinRequest {
    /// The token. It is a secret: this type does not print it.
    pub token: Text,
    /// Join although this node holds keys of its own, which are lost by it.
    pub discard: bool,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest").field("discard", &self.discard).finish_non_exhaustive()
    }
}

/// Answer of `PUT /v1/portolan/join`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Joined {
    /// Name of the cluster.
    pub cluster: Text,
    /// Node name.
    pub node: Text,
    /// `server` or `agent`.
    pub role: Text,
}

/// Body of `PUT /v1/portolan/token`: a token to join with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TokenRequest {
    /// `server` or `agent`; empty is `server`.
    pub role: Text,
    /// How many nodes may join with it; 0 is one.
    pub uses: u32,
    /// How long it can be used, in milliseconds; 0 is an hour.
    pub ttl_ms: u64,
}

/// Answer of `PUT /v1/portolan/token`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Token {
    /// The token, a secret, told this once.
    pub token: Text,
    /// What it is listed by.
    pub id: Text,
    /// When it ends, in Unix milliseconds.
    pub expires_ms: u64,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An element of `GET /v1/portolan/tokens`: nothing of it is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TokenEntry {
    /// What it is revoked by.
    pub id: Text,
    /// `server` or `agent`.
    pub role: Text,
    /// How many nodes may still join with it.
    pub uses: u32,
    /// When it ends, in Unix milliseconds.
    pub expires_ms: u64,
}
