//! Keys.

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
