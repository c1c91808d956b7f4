//! Intentions, and certificates of services, as Consul's clients write and read them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Labels, Text};

/// An intention: who may connect to which service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Intention {
    /// UUID; empty for one that was put by its names.
    #[serde(rename = "ID", skip_serializing_if = "str::is_empty")]
    pub id: Text,
    /// For people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Text,
    /// Namespace of the source: `default`, or empty, which is the same.
    #[serde(rename = "SourceNS")]
    pub source_ns: Text,
    /// Service that connects; `*` for every one.
    pub source_name: Text,
    /// Namespace of the destination.
    #[serde(rename = "DestinationNS")]
    pub destination_ns: Text,
    /// Service that is connected to; `*` for every one.
    pub destination_name: Text,
    /// `consul`, or empty, which is the same.
    pub source_type: Text,
    /// `allow` or `deny`.
    pub action: Text,
    /// Conditions on HTTP requests. Never shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<Value>,
    /// Labels.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub meta: Labels,
    /// Those with a higher number are asked first. Not taken.
    pub precedence: u32,
    /// RFC 3339. Not taken.
    pub created_at: Text,
    /// RFC 3339. Not taken.
    pub updated_at: Text,
    /// Index of its creation. Not taken.
    pub create_index: u64,
    /// Index of its last change. Not taken.
    pub modify_index: u64,
    /// Another cluster. Never shown.
    #[serde(skip_serializing)]
    pub source_peer: Text,
    /// Never shown.
    #[serde(skip_serializing)]
    pub source_partition: Text,
    /// Never shown.
    #[serde(skip_serializing)]
    pub destination_partition: Text,
    /// Never shown.
    #[serde(skip_serializing)]
    pub source_sameness_group: Text,
}

/// Answer to the creation or the change of an intention by its id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IntentionId {
    /// UUID.
    #[serde(rename = "ID")]
    pub id: Text,
}

/// Every intention of one destination: the configuration entry `service-intentions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceIntentions {
    /// `service-intentions`.
    pub kind: Text,
    /// The destination.
    pub name: Text,
    /// Who may connect, and who may not.
    pub sources: Vec<IntentionSource>,
    /// Index of the creation of the first of them. Not taken.
    pub create_index: u64,
    /// Index of their last change. Given with `?cas`.
    pub modify_index: u64,
    /// Labels. Never shown.
    #[serde(skip_serializing)]
    pub meta: Labels,
    /// Conditions on tokens of HTTP requests. Never shown.
    #[serde(rename = "JWT", skip_serializing)]
    pub jwt: Option<Value>,
}

/// One source of [`ServiceIntentions`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IntentionSource {
    /// Service that connects; `*` for every one.
    pub name: Text,
    /// `allow` or `deny`.
    pub action: Text,
    /// Those with a higher number are asked first. Not taken.
    pub precedence: u32,
    /// UUID of one that was created under an id.
    #[serde(rename = "LegacyID", skip_serializing_if = "str::is_empty")]
    pub legacy_id: Text,
    /// `consul`, or empty, which is the same.
    #[serde(rename = "Type")]
    pub kind: Text,
    /// For people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: Text,
    /// Conditions on HTTP requests. Never shown.
    #[serde(skip_serializing)]
    pub permissions: Vec<Value>,
    /// Another cluster. Never shown.
    #[serde(skip_serializing)]
    pub peer: Text,
    /// Never shown.
    #[serde(skip_serializing)]
    pub sameness_group: Text,
}

/// Answer of `connect/intentions/check`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Checked {
    /// Whether the source may connect.
    pub allowed: bool,
}

/// Body of `agent/connect/authorize`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Authorize {
    /// Service that somebody wishes to connect to.
    pub target: Text,
    /// SPIFFE id in the client's certificate.
    #[serde(rename = "ClientCertURI")]
    pub client_cert_uri: Text,
    /// Its serial number. Not looked at.
    pub client_cert_serial: Text,
}

/// Answer to [`Authorize`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Authorized {
    /// Whether it may.
    pub authorized: bool,
    /// Why, for people.
    pub reason: Text,
}

/// Answer of `connect/ca/roots`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Roots {
    /// The one that signs.
    #[serde(rename = "ActiveRootID")]
    pub active_root_id: Text,
    /// Begin of every SPIFFE id.
    pub trust_domain: Text,
    /// Every one that is trusted.
    pub roots: Vec<Root>,
}

/// A root certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Root {
    /// Hash of its public key.
    #[serde(rename = "ID")]
    pub id: Text,
    /// For people.
    pub name: Text,
    /// Last 8 bytes of its serial number.
    pub serial_number: u64,
    /// Hash of its public key, in pairs of digits.
    #[serde(rename = "SigningKeyID")]
    pub signing_key_id: Text,
    /// Trust domain of its own.
    pub external_trust_domain: Text,
    /// RFC 3339.
    pub not_before: Text,
    /// RFC 3339.
    pub not_after: Text,
    /// PEM.
    #[serde(rename = "RootCert")]
    pub certificate: Text,
    /// PEM: this root's key, certified by the root before it.
    #[serde(rename = "IntermediateCerts")]
    pub intermediates: Option<Vec<Text>>,
    /// Whether it signs.
    pub active: bool,
    /// Kind of its key.
    pub private_key_type: Text,
    /// Size of its key.
    pub private_key_bits: u32,
    /// Index of its creation.
    pub create_index: u64,
    /// Index of its last change.
    pub modify_index: u64,
}

/// A service's key with its certificate: secret. Nothing prints it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Leaf {
    /// Serial number, in pairs of digits.
    pub serial_number: Text,
    /// The certificate and its issuer's.
    #[serde(rename = "CertPEM")]
    pub certificate: Text,
    /// The private key.
    #[serde(rename = "PrivateKeyPEM")]
    pub key: Text,
    /// Service that it is for.
    pub service: Text,
    /// SPIFFE id in it.
    #[serde(rename = "ServiceURI")]
    pub service_uri: Text,
    /// RFC 3339.
    pub valid_after: Text,
    /// RFC 3339.
    pub valid_before: Text,
    /// Index at which it was made.
    pub create_index: u64,
    /// The same.
    pub modify_index: u64,
}

/// `aa:bb:cc` for bytes in hexadecimal.
pub fn in_pairs(hex: &str) -> String {
    let pairs: Vec<&str> = hex.as_bytes().chunks(2).filter_map(|pair| str::from_utf8(pair).ok()).collect();
    pairs.join(":")
}
