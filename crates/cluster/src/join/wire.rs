//! Messages of the join protocol, version 1: MessagePack by serde. No type here that holds a secret can be
//! printed.

use bytes::Bytes;
use catalog::Role;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ca::Validity;
use crate::error::Error;
use crate::identity::Server;
use crate::join::MOST_BYTES;
use crate::keys::{Key, PublicKey};
use crate::token::Secret;

pub(super) const VERSION: u32 = 1;
/// What is signed begins with this, so that the signature is good for nothing else.
const PURPOSE: &[u8] = b"portolan join 1\0";

/// What is sent: a question, and the proof that the caller holds the key that it speaks of.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    version: u32,
    ask: Bytes,
    key: Bytes,
    signature: Bytes,
}

/// What is asked.
#[derive(Serialize, Deserialize)]
pub(super) enum Ask {
    /// Let me in.
    Join(Join),
    /// Certify me again.
    Renew(Renew),
}

#[derive(Serialize, Deserialize)]
pub(super) struct Join {
    pub(super) secret: Secret,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) disk: u64,
    pub(super) addresses: Vec<String>,
    pub(super) features: u32,
    /// Public key of the issuer that a server wants certified.
    pub(super) issuer: Option<Bytes>,
    /// Who carries the order as the caller is configured; empty when it does not say.
    #[serde(default)]
    pub(super) order: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Renew {
    pub(super) name: String,
    /// The chain that ran out, or will.
    pub(super) chain: Vec<Bytes>,
    /// See [`Join::issuer`]; only when that is to be renewed too.
    pub(super) issuer: Option<Bytes>,
}

/// What comes back.
#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    Welcome(Box<Welcome>),
    Refused {
        reason: String,
        /// Another server may say otherwise.
        try_others: bool,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct Welcome {
    pub(super) cluster: String,
    pub(super) role: Role,
    pub(super) server_id: u64,
    pub(super) chain: Vec<Bytes>,
    pub(super) validity: Validity,
    /// The caller's issuer and what follows it.
    pub(super) issuer: Option<Vec<Bytes>>,
    pub(super) issuer_validity: Validity,
    /// The root's key, for servers, where this one has it.
    pub(super) root_key: Option<String>,
    /// The one that signs first.
    pub(super) roots: Vec<Bytes>,
    /// The server's time.
    pub(super) now_ms: u64,
    pub(super) servers: Vec<(String, Server)>,
}

pub(super) fn encode<T: Serialize>(message: &T) -> Result<Bytes, Error> {
    let bytes = rmp_serde::to_vec_named(message);
    bytes.map(Bytes::from).map_err(|cause| malformed("write a join message", &cause.to_string()))
}

pub(super) fn decode<T: DeserializeOwned>(attempted: &'static str, bytes: &[u8]) -> Result<T, Error> {
    if bytes.len() > MOST_BYTES {
        return Err(malformed(
            attempted,
            &format!("it has {} bytes, at most {MOST_BYTES} are read", bytes.len()),
        ));
    }
    rmp_serde::from_slice(bytes).map_err(|cause| malformed(attempted, &cause.to_string()))
}

fn malformed(attempted: &'static str, reason: &str) -> Error {
    Error::Protocol { attempted, reason: reason.into() }
}

impl Request {
    pub(super) fn sign(ask: &Ask, key: &Key) -> Result<Bytes, Error> {
        let ask = encode(ask)?;
        let signature = key.sign(&[PURPOSE, &ask[..]].concat())?.into();
        let key = Bytes::copy_from_slice(key.public().as_bytes());
        encode(&Request { version: VERSION, ask, key, signature })
    }

    /// The question and the key whose holder asks it.
    pub(super) fn open(bytes: &[u8]) -> Result<(Ask, PublicKey), Error> {
        const READ: &str = "read a request to join";
        let request: Request = decode(READ, bytes)?;
        if request.version != VERSION {
            let reason =
                format!("it is of version {}, this server speaks version {VERSION}", request.version);
            return Err(malformed(READ, &reason));
        }
        let key = PublicKey::new(&request.key).ok_or_else(|| malformed(READ, "its key is not on P-256"))?;
        if !key.verifies(&[PURPOSE, &request.ask[..]].concat(), &request.signature) {
            return Err(malformed(READ, "its signature does not fit its key"));
        }
        Ok((decode(READ, &request.ask)?, key))
    }
}

/// For fuzzers: reads any bytes as a request and as a reply.
pub fn fuzz_message(bytes: &[u8]) {
    let _ = Request::open(bytes);
    let _ = decode::<Reply>("read a reply", bytes);
    let _ = decode::<Ask>("read a question", bytes);
}
