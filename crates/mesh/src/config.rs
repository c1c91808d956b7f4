//! What an operator may set, and what the program says of itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::guest::Guest;

/// `[mesh]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where links arrive, by UDP. An address with IPv6's wildcard takes both families.
    pub listen: SocketAddr,
    /// Where others are told to reach this node: `host:port` each, the best first. Empty: the node's address and
    /// the port of `listen`. Not looked at here.
    pub advertise: Vec<String>,
    /// Also listen on the same port by TCP, for bulk.
    pub carrier: bool,
    /// How often a silent link is tried.
    #[serde(with = "state::units::duration")]
    pub keepalive: Duration,
    /// How long a link may be silent until it is over. At least twice `keepalive`.
    #[serde(with = "state::units::duration")]
    pub idle_timeout: Duration,
    /// How long a connection and its greeting may take.
    #[serde(with = "state::units::duration")]
    pub dial_timeout: Duration,
    /// Wait before the second try at a peer. It doubles with each one, and a random half of it is left out.
    #[serde(with = "state::units::duration")]
    pub retry_first: Duration,
    /// Longest wait between two tries.
    #[serde(with = "state::units::duration")]
    pub retry_cap: Duration,
    /// What strangers and peers may ask for.
    pub limits: Limits,
    /// What this program speaks. Not a setting.
    #[serde(skip)]
    pub speaks: Speaks,
    /// Other protocols that are taken on the port. Not a setting.
    #[serde(skip)]
    pub guests: Vec<Guest>,
}

/// What one source or one peer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections in all, links and handshakes together.
    pub connections: usize,
    /// Connections from one source address.
    pub connections_per_source: usize,
    /// Handshakes per second from one source address, with as many in one burst.
    pub handshakes_per_source: u32,
    /// Handshakes in flight above which a source must first prove its address (QUIC's Retry); above four times
    /// as many nothing is answered.
    pub handshakes_in_flight: usize,
    /// Streams that a peer may have open on a control link.
    pub control_streams: u32,
    /// Streams that a peer may have open on a data link.
    pub data_streams: u32,
    /// Bytes that may wait unread on one stream.
    pub stream_window: u32,
    /// Bytes that may wait unread on one link.
    pub link_window: u32,
    /// Joins per second, over all sources; as many may be in progress.
    pub joins: u32,
}

/// Versions of the wire, and the level of the state that this program understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaks {
    /// Oldest version of the wire.
    pub oldest: u16,
    /// Newest version of the wire; two nodes use the newest that both have.
    pub newest: u16,
    /// Feature level, told to the peer and otherwise not looked at here.
    pub feature_level: u32,
}

/// The version of the wire that this program was written with.
pub const WIRE_VERSION: u16 = 1;

impl Default for Speaks {
    fn default() -> Self {
        Speaks { oldest: WIRE_VERSION, newest: WIRE_VERSION, feature_level: 1 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8300)),
            advertise: Vec::new(),
            carrier: true,
            keepalive: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(8),
            dial_timeout: Duration::from_secs(5),
            retry_first: Duration::from_millis(200),
            retry_cap: Duration::from_secs(10),
            limits: Limits::default(),
            speaks: Speaks::default(),
            guests: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4096,
            connections_per_source: 256,
            handshakes_per_source: 64,
            handshakes_in_flight: 64,
            control_streams: 256,
            data_streams: 10_000,
            stream_window: 4 << 20,
            link_window: 16 << 20,
            joins: 8,
        }
    }
}

impl Config {
    /// What is wrong with it, if anything.
    ///
    /// # Errors
    /// The setting, its value and what it must be.
    pub fn check(&self) -> Result<(), String> {
        if self.idle_timeout < self.keepalive * 2 {
            return Err(format!(
                "mesh.idle_timeout ({:?}) must be at least twice mesh.keepalive ({:?}), or a link ends between two tries",
                self.idle_timeout, self.keepalive
            ));
        }
        if self.retry_first.is_zero() || self.retry_cap < self.retry_first {
            return Err(format!(
                "mesh.retry_first ({:?}) must be above zero and no more than mesh.retry_cap ({:?})",
                self.retry_first, self.retry_cap
            ));
        }
        if self.speaks.oldest > self.speaks.newest {
            return Err(format!("wire versions {} to {} are none", self.speaks.oldest, self.speaks.newest));
        }
        Ok(())
    }
}
