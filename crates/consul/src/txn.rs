//! Transactions.

use serde::{Deserialize, Serialize};

use crate::Text;
use crate::kv::{KvPair, Value};
use crate::listing::{HealthCheck, Node, NodeService};

/// One operation of `PUT /v1/txn`. Exactly one field is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TxnOp {
    /// On a key.
    #[serde(rename = "KV", skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvOp>,
    /// On a node.
    #[serde(rename = "Node", skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeOp>,
    /// On an instance.
    #[serde(rename = "Service", skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceOp>,
    /// On a check.
    #[serde(rename = "Check", skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckOp>,
}

/// An operation on a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct KvOp {
    /// `set`, `cas`, `lock`, `unlock`, `get`, `get-tree`, `check-index`, `check-session`,
    /// `check-not-exists`, `delete`, `delete-tree`, `delete-cas`.
    pub verb: Text,
    /// Key.
    pub key: Text,
    /// Value to set.
    pub value: Value,
    /// Opaque number to set.
    pub flags: u64,
    /// Index to compare with.
    pub index: u64,
    /// Session.
    pub session: Text,
}

/// An operation on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeOp {
    /// `set`, `cas`, `get`, `delete`, `delete-cas`.
    pub verb: Text,
    /// The node; its `ModifyIndex` is what `cas` compares.
    pub node: Node,
}

/// An operation on an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceOp {
    /// `set`, `cas`, `get`, `delete`, `delete-cas`.
    pub verb: Text,
    /// Node name.
    pub node: Text,
    /// The instance; its `ModifyIndex` is what `cas` compares.
    pub service: NodeService,
}

/// An operation on a check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckOp {
    /// `set`, `cas`, `get`, `delete`, `delete-cas`.
    pub verb: Text,
    /// The check; its `ModifyIndex` is what `cas` compares.
    pub check: HealthCheck,
}

/// Answer of `PUT /v1/txn`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TxnAnswer {
    /// What the operations left or read, in order; `null` when it was rolled back.
    pub results: Option<Vec<TxnResult>>,
    /// Why it was rolled back; `null` when it was not.
    pub errors: Option<Vec<TxnError>>,
}

/// What one operation left or read: an object with one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TxnResult {
    /// A key.
    #[serde(rename = "KV")]
    Kv(KvPair),
    /// A node.
    Node(Node),
    /// An instance.
    Service(NodeService),
    /// A check.
    Check(HealthCheck),
}

/// Why one operation failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TxnError {
    /// Number of the operation, from 0.
    pub op_index: usize,
    /// Why.
    pub what: String,
}
