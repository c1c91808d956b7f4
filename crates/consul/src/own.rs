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
