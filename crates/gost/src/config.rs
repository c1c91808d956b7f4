//! What an operator may set.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[gost]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of a port of its own, for HTTP and gRPC alike; none when absent. `/sd` and `/ingress` are on
    /// the API's port all the same. The seed's address is 127.0.0.1:8000.
    pub listen: Option<SocketAddr>,
    /// How long an entry lasts after its last renewal.
    #[serde(with = "state::units::duration")]
    pub ttl: Duration,
    /// Another term for some tunnels, by tunnel id.
    pub tunnel_ttl: BTreeMap<String, Ttl>,
    /// How long an entry that ran out can be brought back by a renewal.
    #[serde(with = "state::units::duration")]
    pub forget_after: Duration,
    /// File with the token that every caller must show: as Bearer, as gRPC metadata `token`, or as the last
    /// part of the path (`/sd/<token>`), which is the only way that GOST up to 3.2.6 can send one over HTTP.
    pub token_file: Option<PathBuf>,
    /// Listen beyond loopback without a token. Say so in words or the start is refused.
    pub allow_anyone: bool,
    /// Speak TLS on `listen`.
    pub tls: Option<Tls>,
}

/// A term, so that it reads `"30s"` in a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ttl(#[serde(with = "state::units::duration")] pub Duration);

/// Certificate and key, PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain.
    pub cert_file: PathBuf,
    /// Private key.
    pub key_file: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: None,
            ttl: Duration::from_secs(60),
            tunnel_ttl: BTreeMap::new(),
            forget_after: Duration::from_secs(24 * 60 * 60),
            token_file: None,
            allow_anyone: false,
            tls: None,
        }
    }
}

impl Config {
    /// Term of a tunnel's entries.
    pub(crate) fn ttl_of(&self, tunnel: &str) -> Duration {
        self.tunnel_ttl.get(tunnel).map_or(self.ttl, |ttl| ttl.0)
    }
}
