//! Settings of the HTTP face.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use state::units;

/// Settings of the HTTP face.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// TCP addresses to listen on. Default 127.0.0.1:8500, Consul's port.
    pub listen: Vec<SocketAddr>,
    /// Unix socket to listen on. Unset: `api.sock` in the data directory; empty: none.
    pub socket: Option<PathBuf>,
    /// Users (uid) that may change everything through the Unix socket, beside root and the user that the daemon
    /// runs as.
    pub operators: Vec<u32>,
    /// Host names that requests may be addressed to, beside `localhost`, IP addresses and the node's name.
    /// Others are refused: a web page whose name was pointed at this host must not reach the API.
    pub hosts: Vec<String>,
    /// Let clients register checks that run commands on this host. Not a key of its own: whoever composes the
    /// daemon sets it to what `health` is told, so that one switch decides.
    #[serde(skip)]
    pub enable_script_checks: bool,
    /// Hash of the token that counts for requests that show none. Not a key of its own, since settings are shown.
    #[serde(skip)]
    pub default_token: Option<catalog::KeyHash>,
    /// File with the index that `acl/bootstrap` begins anew with, for whoever lost every token. Not a key of its own.
    #[serde(skip)]
    pub bootstrap_reset: Option<PathBuf>,
    /// Shortest `DeregisterCriticalServiceAfter`; shorter ones are lengthened to it. Default 1 min, as in
    /// Consul.
    #[serde(with = "units::duration")]
    pub deregister_after_min: Duration,
    /// What a client may take up.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![(Ipv4Addr::LOCALHOST, 8500).into()],
            socket: None,
            operators: Vec::new(),
            hosts: Vec::new(),
            enable_script_checks: false,
            default_token: None,
            bootstrap_reset: None,
            deregister_after_min: Duration::from_secs(60),
            limits: Limits::default(),
        }
    }
}

/// What clients may take up, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most open connections; further ones are closed at once. Default 32768.
    pub max_connections: usize,
    /// Most blocking queries that wait; further ones are answered 429. Default 32768.
    pub max_blocking: usize,
    /// Most bytes of a request body. Default 512 KiB, as in Consul.
    #[serde(with = "units::size")]
    pub max_body: u64,
    /// A connection that has not sent a complete request head within this time, counted from when the last
    /// request was answered, is closed. Default 2 min, longer than clients keep idle connections.
    #[serde(with = "units::duration")]
    pub head_timeout: Duration,
    /// A request body must be there within this time. Default 30 s.
    #[serde(with = "units::duration")]
    pub body_timeout: Duration,
    /// A client that takes nothing of its answer for this long is cut off. Default 30 s.
    #[serde(with = "units::duration")]
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 32 * 1024,
            max_blocking: 32 * 1024,
            max_body: 512 << 10,
            head_timeout: Duration::from_secs(120),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// The body limit as a length.
    pub(crate) fn max_body(&self) -> usize {
        usize::try_from(self.limits.max_body).unwrap_or(usize::MAX)
    }
}
