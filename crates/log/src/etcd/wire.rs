//! The part of etcd's v3 API that is used, as its JSON gateway writes it: keys and values in base64, numbers of 64
//! bits as strings, fields with default values left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Blob(pub(super) Bytes);

impl Blob {
    pub(super) fn text(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// The end of the range of all keys that begin with these bytes, which do not end in 0xff.
    pub(super) fn prefix_end(text: &str) -> Self {
        let mut end = text.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        Self(end.into())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map(|bytes| Self(bytes.into())).map_err(D::Error::custom)
    }
}

/// A number of 64 bits, as a string.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    pub(super) key: Blob,
    pub(super) value: Blob,
    #[serde(deserialize_with = "number")]
    pub(super) mod_revision: u64,
    #[serde(deserialize_with = "number")]
    pub(super) version: u64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct RangeRequest {
    pub(super) key: Blob,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) range_end: Option<Blob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sort_order: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sort_target: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min_mod_revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_mod_revision: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) keys_only: bool,
}

impl RangeRequest {
    pub(super) fn one(key: &str) -> Self {
        Self { key: Blob::text(key), ..Self::default() }
    }

    /// Keys that begin with `prefix`, oldest change first.
    pub(super) fn prefix(prefix: &str) -> Self {
        Self {
            key: Blob::text(prefix),
            range_end: Some(Blob::prefix_end(prefix)),
            sort_order: Some("ASCEND"),
            sort_target: Some("MOD"),
            ..Self::default()
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RangeResponse {
    pub(super) kvs: Vec<KeyValue>,
    pub(super) more: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Compare {
    key: Blob,
    result: &'static str,
    target: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mod_revision: Option<String>,
}

impl Compare {
    pub(super) fn absent(key: &str) -> Self {
        let key = Blob::text(key);
        Self { key, result: "EQUAL", target: "VERSION", version: Some("0".to_owned()), mod_revision: None }
    }

    pub(super) fn changed_at(key: &str, revision: u64) -> Self {
        let mod_revision = Some(revision.to_string());
        Self { key: Blob::text(key), result: "EQUAL", target: "MOD", version: None, mod_revision }
    }
}

#[derive(Debug, Serialize)]
pub(super) enum Op {
    #[serde(rename = "request_put")]
    Put { key: Blob, value: Blob },
    /// A put whose key goes with a lease.
    #[serde(rename = "request_put")]
    Lend { key: Blob, value: Blob, lease: String },
    #[serde(rename = "request_delete_range")]
    Delete {
        key: Blob,
        #[serde(skip_serializing_if = "Option::is_none")]
        range_end: Option<Blob>,
    },
}

#[derive(Debug, Default, Serialize)]
pub(super) struct TxnRequest {
    pub(super) compare: Vec<Compare>,
    pub(super) success: Vec<Op>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TxnResponse {
    pub(super) succeeded: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct WatchRequest {
    pub(super) create_request: WatchCreate,
}

#[derive(Debug, Serialize)]
pub(super) struct WatchCreate {
    pub(super) key: Blob,
    pub(super) range_end: Blob,
    pub(super) start_revision: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchLine {
    pub(super) result: WatchResult,
    pub(super) error: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchResult {
    pub(super) canceled: bool,
    pub(super) events: Vec<WatchEvent>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchEvent {
    /// Absent for a put.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) kv: KeyValue,
}

/// Version of a batch's bytes.
const BATCH: u8 = 1;

/// Commands as the value of one key.
pub(super) fn encode_batch(payloads: &[Bytes]) -> Bytes {
    let length = payloads.iter().map(|payload| 4 + payload.len()).sum::<usize>();
    let mut bytes = BytesMut::with_capacity(1 + length);
    bytes.put_u8(BATCH);
    for payload in payloads {
        // A command is bounded far below 4 GiB.
        bytes.put_u32_le(payload.len() as u32);
        bytes.put_slice(payload);
    }
    bytes.freeze()
}

/// Back from the value of one key; nothing when it is not a batch.
pub(super) fn decode_batch(mut bytes: Bytes) -> Option<Vec<Bytes>> {
    if bytes.try_get_u8().ok()? != BATCH {
        return None;
    }
    let mut payloads = Vec::new();
    while bytes.has_remaining() {
        let length = bytes.try_get_u32_le().ok()? as usize;
        if length > bytes.len() {
            return None;
        }
        payloads.push(bytes.split_to(length));
    }
    Some(payloads)
}

/// Decodes whatever could stand in a cluster that others write to; for fuzzers.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz_answer(bytes: &[u8]) {
    let _ = serde_json::from_slice::<RangeResponse>(bytes);
    let _ = serde_json::from_slice::<WatchLine>(bytes);
    let _ = decode_batch(Bytes::copy_from_slice(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_back_and_noise_does_not() {
        let payloads = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        let bytes = encode_batch(&payloads);
        assert_eq!(decode_batch(bytes.clone()), Some(payloads));
        assert_eq!(decode_batch(bytes.slice(..bytes.len() - 1)), None);
        assert_eq!(decode_batch(Bytes::from_static(b"\x02")), None);
        assert_eq!(decode_batch(Bytes::new()), None);
    }

    #[test]
    fn answers_read_as_the_gateway_writes_them() {
        let text = br#"{"header":{"revision":"9"},"kvs":[{"key":"YQ==","create_revision":"3","mod_revision":"7","version":"2","value":"Yg=="}],"more":true,"count":"12"}"#;
        let answer: RangeResponse = serde_json::from_slice(text).expect("it reads");
        let kv = &answer.kvs[0];
        assert_eq!(
            (&kv.key.0[..], &kv.value.0[..], kv.mod_revision, kv.version),
            (&b"a"[..], &b"b"[..], 7, 2)
        );
        assert!(answer.more);
        let line = br#"{"result":{"events":[{"type":"DELETE","kv":{"key":"YQ==","mod_revision":"8"}}]}}"#;
        let line: WatchLine = serde_json::from_slice(line).expect("it reads");
        assert_eq!(line.result.events[0].kind.as_deref(), Some("DELETE"));
        fuzz_answer(b"{\"kvs\":[{\"mod_revision\":\"x\"}]}");
    }
}
