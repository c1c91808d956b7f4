//! Keys, alone and in transactions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Text;

/// A key with its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct KvPair {
    /// How often it was locked.
    pub lock_index: u64,
    /// Key.
    pub key: Text,
    /// Opaque number.
    pub flags: u64,
    /// Value.
    pub value: Value,
    /// Session that holds the lock.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub session: Text,
    /// Index of its creation.
    pub create_index: u64,
    /// Index of its last change.
    pub modify_index: u64,
}

/// Bytes that are base64 in JSON and `null` when empty, as Go writes a byte slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Value(pub Bytes);

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            return serializer.serialize_none();
        }
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Value(bytes.into()))
    }
}

/// One operation of `PUT /v1/txn`. Exactly one field is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TxnOp {
    /// On a key.
    #[serde(rename = "KV", skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvOp>,
    /// On a node. Not supported.
    #[serde(rename = "Node", skip_serializing_if = "Option::is_none")]
    pub node: Option<crate::Empty>,
    /// On an instance. Not supported.
    #[serde(rename = "Service", skip_serializing_if = "Option::is_none")]
    pub service: Option<crate::Empty>,
    /// On a check. Not supported.
    #[serde(rename = "Check", skip_serializing_if = "Option::is_none")]
    pub check: Option<crate::Empty>,
}

/// An operation on a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct KvOp {
    /// `set`, `cas`, `get`, `get-tree`, `check-index`, `check-not-exists`, `delete`, `delete-tree`,
    /// `delete-cas`, `lock`, `unlock`, `check-session`.
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

/// Answer of `PUT /v1/txn`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TxnAnswer {
    /// What the operations left or read, in order; `null` when it was rolled back.
    pub results: Option<Vec<TxnResult>>,
    /// Why it was rolled back; `null` when it was not.
    pub errors: Option<Vec<TxnError>>,
}

/// What one operation left or read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TxnResult {
    /// A key.
    #[serde(rename = "KV")]
    pub kv: KvPair,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_base64_and_an_empty_one_null() {
        let pair = KvPair { key: "a".into(), value: Value("x".into()), ..KvPair::default() };
        let json = serde_json::to_string(&pair).expect("writes");
        assert_eq!(
            json,
            r#"{"LockIndex":0,"Key":"a","Flags":0,"Value":"eA==","CreateIndex":0,"ModifyIndex":0}"#
        );
        assert_eq!(crate::decode::<KvPair>(json.as_bytes()).expect("reads"), pair);
        let json = serde_json::to_string(&KvPair::default()).expect("writes");
        assert!(json.contains(r#""Value":null"#), "{json}");
    }
}
