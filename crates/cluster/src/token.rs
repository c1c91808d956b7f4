//! Join tokens: one string with everything that a new host needs.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use catalog::{ClusterCommand, Command, KeyHash, Role};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::keys::{random, sha256};

/// What every token begins with; the number is the version of what follows.
const PREFIX: &str = "portolan-join-";
const VERSION: u32 = 1;
/// Bytes of the checksum: enough against a slip of the hand, which is all that it is for.
const CHECKSUM: usize = 4;
/// Longest token that is looked at.
const MOST_LENGTH: usize = 8 * 1024;

/// Why a string is no token that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else was pasted.
    #[error(
        "read the join token: it does not begin with \"{PREFIX}\"; copy the whole line that `portolan token create` printed"
    )]
    NotAToken,
    /// Of another version.
    #[error(
        "read the join token: it is of version {found}, and this program reads version {VERSION}; use the same version on both hosts"
    )]
    OtherVersion {
        /// Its version.
        found: u32,
    },
    /// Cut off, or changed on the way.
    #[error(
        "read the join token: it is damaged or cut off; copy the whole line that `portolan token create` printed"
    )]
    Damaged,
    /// Too old.
    #[error(
        "the join token expired {ago_s} s ago by this host's clock; make another with `portolan token create`"
    )]
    Expired {
        /// For how long, in seconds.
        ago_s: u64,
    },
    /// For another cluster than this data directory's.
    #[error("the join token is for cluster {wanted}, and this node belongs to cluster {known}")]
    OtherCluster {
        /// The token's.
        wanted: String,
        /// The node's.
        known: String,
    },
}

/// Something that must not be shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret([u8; 16]);

impl Secret {
    /// A new one: 128 random bits.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Secret, Error> {
        random().map(Secret)
    }

    /// What the catalog knows of it.
    pub fn hash(&self) -> KeyHash {
        sha256(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// A token, read. `Debug` leaves the secret out; only [`JoinToken::reveal`] writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// The cluster's id.
    pub cluster: String,
    /// Addresses of servers, `host:port`.
    pub addresses: Vec<String>,
    /// Hash of the root's public key: the server must prove it before it hears the secret.
    pub root: KeyHash,
    /// What opens the door.
    pub secret: Secret,
    /// Not after this, in Unix milliseconds.
    pub expires_ms: u64,
    /// The role to join as unless another is asked for.
    pub role: Role,
}

/// What a token is to be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Most that may be joined as.
    pub role: Role,
    /// How many may join with it.
    pub uses: u32,
    /// How long it is good, in milliseconds.
    pub lives_ms: u64,
}

impl Default for Wish {
    /// One server within half an hour.
    fn default() -> Self {
        Wish { role: Role::Server, uses: 1, lives_ms: 30 * 60 * 1000 }
    }
}

/// Makes a token, and the command that makes it known; give the token out only when that was applied.
///
/// # Errors
/// The system has no randomness to give.
pub fn create(
    cluster: &str,
    root: KeyHash,
    addresses: Vec<String>,
    wish: &Wish,
    now_ms: u64,
) -> Result<(JoinToken, Command), Error> {
    let secret = Secret::generate()?;
    let expires_ms = now_ms.saturating_add(wish.lives_ms);
    let hash = secret.hash();
    let (uses, role) = (wish.uses.max(1), wish.role);
    let token = JoinToken { cluster: cluster.into(), addresses, root, secret, expires_ms, role };
    let command = ClusterCommand::CreateJoinSecret { hash, uses, expires_ms, role };
    Ok((token, Command::Cluster(command)))
}

impl JoinToken {
    /// The string to hand over. It contains the secret.
    ///
    /// # Errors
    /// Never for a token that was read or made here.
    pub fn reveal(&self) -> Result<String, Error> {
        let body = rmp_serde::to_vec(self).map_err(|cause| Error::Protocol {
            attempted: "write a join token",
            reason: cause.to_string(),
        })?;
        let checksum = sha256(&body);
        let bytes = [&body[..], &checksum.0[..CHECKSUM]].concat();
        Ok(format!("{PREFIX}{VERSION}-{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Refuses a token that is too old by this host's clock, which may be wrong: a server has the last word.
    ///
    /// # Errors
    /// [`TokenError::Expired`].
    pub fn check_time(&self, now_ms: u64) -> Result<(), TokenError> {
        match now_ms.checked_sub(self.expires_ms) {
            Some(ago_ms) if ago_ms > 0 => Err(TokenError::Expired { ago_s: ago_ms / 1000 }),
            _ => Ok(()),
        }
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<JoinToken, TokenError> {
        let text = text.trim();
        let rest = text.strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        let (version, body) = rest.split_once('-').ok_or(TokenError::Damaged)?;
        let found: u32 = version.parse().map_err(|_| TokenError::Damaged)?;
        if found != VERSION {
            return Err(TokenError::OtherVersion { found });
        }
        if body.len() > MOST_LENGTH {
            return Err(TokenError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError::Damaged)?;
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(TokenError::Damaged)?;
        if sha256(body).0[..CHECKSUM] != checksum[..] {
            return Err(TokenError::Damaged);
        }
        rmp_serde::from_slice(body).map_err(|_| TokenError::Damaged)
    }
}

/// For fuzzers: reads any text as a token.
pub fn fuzz_token(text: &str) {
    if let Ok(token) = text.parse::<JoinToken>() {
        let _ = token.check_time(0);
    }
}

/// A token that may do anything, as shown to its operator once.
///
/// # Errors
/// The system has no randomness to give.
pub fn operator() -> Result<(String, KeyHash), Error> {
    let secret: [u8; 24] = random()?;
    let text = format!("portolan-operator-{}", URL_SAFE_NO_PAD.encode(secret));
    let hash = operator_hash(&text);
    Ok((text, hash))
}

/// What the catalog knows of an operator's token.
pub fn operator_hash(token: &str) -> KeyHash {
    sha256(token.trim().as_bytes())
}
