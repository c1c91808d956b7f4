//! Secrets are known by their SHA-256.

use catalog::KeyHash;
use ring::digest::{SHA256, digest};

/// What the catalog knows of a secret.
pub fn hash(secret: &str) -> KeyHash {
    content_hash(secret.trim().as_bytes())
}

/// SHA-256.
pub fn content_hash(bytes: &[u8]) -> KeyHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    KeyHash(hash)
}
