//! Whom the cluster believes: roots, issuers, keys that are denied, and how strictly it asks. Certificates
//! and hashes only; no private key and no secret is ever in the catalog.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::Index;

/// SHA-256 of something that must be told apart and not be shown: a certificate's `SubjectPublicKeyInfo`
/// (RFC 5280 section 4.1.2.7), a join secret, an operator's token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// Reads the 64 hexadecimal digits that `Display` writes.
    pub fn parse(text: &str) -> Option<KeyHash> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(KeyHash(hash))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(from)?;
        let hash = bytes[..].try_into();
        hash.map(KeyHash).map_err(|_| de::Error::invalid_length(bytes.len(), &"32 bytes"))
    }
}

/// How strictly the cluster asks who is speaking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Before there is a cluster: local programs may do anything.
    #[default]
    Open,
    /// Nothing is refused for want of permission; what would have been is recorded.
    Observe,
    /// What is not permitted is refused.
    Enforce,
}

/// Where a root stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootState {
    /// Trusted already, signs nothing yet: every node must have heard of it first.
    Next,
    /// Signs.
    Active,
    /// Still trusted, signs nothing any more.
    Retiring,
}

/// A root certificate of the cluster's own authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Hash of its public key.
    pub key: KeyHash,
    /// The certificate, DER.
    pub certificate: Bytes,
    /// The same key certified by the root before it, DER: who was away during a rotation and knows only the
    /// old root follows this to the new one.
    #[serde(default)]
    pub cross: Option<Bytes>,
    /// Where it stands.
    pub state: RootState,
    /// When that was decided, in Unix milliseconds.
    pub since_ms: u64,
    /// Index at which that was decided.
    pub modify_index: Index,
}

/// The certificate with which one server signs others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// Name of the server that holds its key.
    pub node: Arc<str>,
    /// Hash of its public key.
    pub key: KeyHash,
    /// Hash of the root's public key that signed it.
    pub root: KeyHash,
    /// The certificate, DER.
    pub certificate: Bytes,
}

/// A key that nobody may use any more, whatever its certificates say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// Hash of the public key.
    pub key: KeyHash,
    /// Why, for people.
    pub reason: Arc<str>,
    /// Since when, in Unix milliseconds.
    pub since_ms: u64,
    /// For so long links whose certificates it signed are still let be, in milliseconds: those whom a removed
    /// server had certified need the time to be certified anew.
    #[serde(default)]
    pub delay_ms: u64,
}
