//! Tokens, policies and roles, as Consul's clients write and read them.

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use crate::{GoDuration, Text};

/// Shown in place of a secret that is not known, or not for whoever asks.
pub const HIDDEN: &str = "<hidden>";

/// Bytes as Go writes them in JSON.
pub fn hash_text(bytes: &[u8]) -> Text {
    base64::engine::general_purpose::STANDARD.encode(bytes).into()
}

/// A link to a policy or a role: by id, by name, or by both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    /// UUID.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Name.
    #[serde(rename = "Name")]
    pub name: Text,
}

/// The rules of a service for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceIdentity {
    /// Service name.
    pub service_name: Text,
    /// Datacenters that it counts in; none is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub datacenters: Vec<Text>,
}

/// The rules of a node's agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeIdentity {
    /// Node name.
    pub node_name: Text,
    /// Datacenter that it counts in.
    pub datacenter: Text,
}

/// A token: body of `PUT /v1/acl/token…`, and what is answered. What is not known is refused when it is sent,
/// because a slip of the hand in a bound must not pass for no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Token {
    /// The secret again, for clients of old; in the answer to a bootstrap only.
    #[serde(rename = "ID", skip_serializing_if = "str::is_empty")]
    pub id: Text,
    /// What it is called by; not secret.
    #[serde(rename = "AccessorID")]
    pub accessor_id: Text,
    /// The secret, in the answer to its creation; [`HIDDEN`] afterwards.
    #[serde(rename = "SecretID", skip_serializing_if = "str::is_empty")]
    pub secret_id: Text,
    /// For people.
    pub description: Text,
    /// Policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Link>,
    /// Roles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Link>,
    /// Services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_identities: Vec<ServiceIdentity>,
    /// Nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_identities: Vec<NodeIdentity>,
    /// Good in this datacenter only.
    pub local: bool,
    /// How it was made; there is no way but this.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub auth_method: Text,
    /// Good before this, RFC 3339.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub expiration_time: Text,
    /// The same as a time from now; only sent.
    #[serde(rename = "ExpirationTTL", skip_serializing_if = "Option::is_none")]
    pub expiration_ttl: Option<SignedDuration>,
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub create_time: Text,
    /// Equal tokens have equal ones.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub hash: Text,
    /// Always empty here, or `default`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: Text,
    /// Always empty here, or `default`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub partition: Text,
    /// Index of its creation.
    pub create_index: u64,
    /// Index of its last change.
    pub modify_index: u64,
}

/// A duration as it was sent: a time in the past must be told from none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SignedDuration {
    /// Go's text.
    Text(Text),
    /// Nanoseconds.
    Nanoseconds(i64),
}

impl SignedDuration {
    /// The duration; with its text when it is none, or below zero.
    ///
    /// # Errors
    /// The text.
    pub fn read(&self) -> Result<GoDuration, String> {
        match self {
            SignedDuration::Text(text) => GoDuration::parse(text).map_err(|_| text.to_string()),
            SignedDuration::Nanoseconds(n) => match u64::try_from(*n) {
                Ok(n) => Ok(GoDuration(std::time::Duration::from_nanos(n))),
                Err(_) => Err(format!("{}s", n / 1_000_000_000)),
            },
        }
    }
}

/// A policy: body of `PUT /v1/acl/policy…`, and what is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Policy {
    /// UUID.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Unique name.
    pub name: Text,
    /// For people.
    pub description: Text,
    /// As written; in no list.
    pub rules: Text,
    /// Datacenters that it counts in; none is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub datacenters: Vec<Text>,
    /// Equal policies have equal ones.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub hash: Text,
    /// Always empty here, or `default`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: Text,
    /// Always empty here, or `default`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub partition: Text,
    /// Index of its creation.
    pub create_index: u64,
    /// Index of its last change.
    pub modify_index: u64,
}

/// A policy in a list: without its rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PolicyStub {
    /// UUID.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Unique name.
    pub name: Text,
    /// For people.
    pub description: Text,
    /// Datacenters that it counts in; `null` is all.
    pub datacenters: Option<Vec<Text>>,
    /// Equal policies have equal ones.
    pub hash: Text,
    /// Index of its creation.
    pub create_index: u64,
    /// Index of its last change.
    pub modify_index: u64,
}

/// A role: body of `PUT /v1/acl/role…`, and what is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Role {
    /// UUID.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Unique name.
    pub name: Text,
    /// For people.
    pub description: Text,
    /// Policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Link>,
    /// Services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_identities: Vec<ServiceIdentity>,
    /// Nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_identities: Vec<NodeIdentity>,
    /// Equal roles have equal ones.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub hash: Text,
    /// Always empty here, or `default`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: Text,
    /// Always empty here, or `default`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub partition: Text,
    /// Index of its creation.
    pub create_index: u64,
    /// Index of its last change.
    pub modify_index: u64,
}

/// Body of `PUT /v1/acl/bootstrap`, which may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Bootstrap {
    /// Secret that the token is to have; a new one when empty.
    pub bootstrap_secret: Text,
}

/// Body of `PUT /v1/agent/token/:kind`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentToken {
    /// The secret; none when empty.
    pub token: Text,
}
