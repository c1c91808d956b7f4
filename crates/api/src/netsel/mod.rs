//! NetSel's byte protocol: one request per connection, at most 256 bytes, padded with NUL; one answer; then
//! the server closes. Off unless configured; the seed's port is 9000.
//!
//! | request | answer |
//! |---|---|
//! | `<name>` | `SUCCESS\|<ip>\|<port>\|86400` and a NUL, or `FAILED\|<reason>` and a NUL |
//! | `HEARTBEAT\|<name>` | `HEARTBEAT_OK` or `HEARTBEAT_FAILED`, no NUL |
//! | `LOOKUP\|<name>` | `FOUND\|<ip>\|<port>\|<age>` and a NUL, or `NOT_FOUND` |
//!
//! The last is ours, because the seed's clients cannot ask for anything: where the instance is that was
//! renewed last, and how many milliseconds ago that was.
//!
//! A client states a name and nothing else. What it registers is an instance at the address that it calls
//! from, with a port from a range of its own, held by a lease that heartbeats renew: an ordinary service to
//! DNS and to the proxies. The address in the answer is the service's virtual one. Registering again from
//! the same address replaces the registration at once and keeps its port.
//!
//! `wire` knows the bytes, `registrar` what they mean, `serve` connections.

mod registrar;
mod serve;
mod wire;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use state::units;

pub use serve::run;
pub use wire::fuzz_request;

/// Settings of the NetSel port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen; nowhere when absent. The seed's address is 0.0.0.0:9000.
    pub listen: Option<SocketAddr>,
    /// How long a registration lasts after its last heartbeat (the seed's `max_heartbeat_age`).
    #[serde(with = "units::duration")]
    pub lease: Duration,
    /// First port that is assigned. 9000 is the registry's own.
    pub first_port: u16,
    /// Last port that is assigned.
    pub last_port: u16,
    /// Longest wait for a request.
    #[serde(with = "units::duration")]
    pub read_timeout: Duration,
    /// Most open connections; further ones are closed at once.
    pub max_connections: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: None,
            lease: Duration::from_secs(60),
            first_port: 9001,
            last_port: 9999,
            read_timeout: Duration::from_secs(5),
            max_connections: 1024,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    request: &'static str,
    result: &'static str,
}

/// Requests by kind and result. Labels come from fixed sets.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    requests: Family<Answered, Counter>,
}

impl Metrics {
    /// Shows them as `netsel_requests`.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests of NetSel's byte protocol, by kind and result";
        registry.register("netsel_requests", help, self.requests.clone());
    }

    fn count(&self, request: &'static str, result: &'static str) {
        self.requests.get_or_create(&Answered { request, result }).inc();
    }
}
