//! Settings.

use serde::{Deserialize, Serialize};

/// Settings of virtual addresses on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Lowest port taken where a service's own cannot be.
    pub fallback_first: u16,
    /// Highest of them.
    pub fallback_last: u16,
    /// Most virtual addresses open at once. A name beyond that is answered with endpoints.
    pub max_open: usize,
}

impl Default for Config {
    /// Below the ports that the kernel gives to clients (`net.ipv4.ip_local_port_range`).
    fn default() -> Self {
        Config { fallback_first: 20_000, fallback_last: 29_999, max_open: 4096 }
    }
}
