//! Settings of the data threads.

use std::time::Duration;

use serde::Deserialize;

/// How an endpoint is chosen among several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The cheaper of two random ones, by peak latency (decaying average) times requests in flight.
    #[default]
    PeakEwma,
    /// The one of two random ones with fewer requests in flight.
    LeastRequests,
    /// One after the other, by weight.
    RoundRobin,
}

/// Settings of the data threads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Data threads; 0 means one per processor that this process may run on.
    pub threads: usize,
    /// Keep each data thread on one processor.
    pub pin: bool,
    /// How an endpoint is chosen.
    pub balance: Policy,
    /// Longest that connecting to one endpoint may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Most endpoints tried for one connection or request.
    pub attempts: usize,
    /// Idle HTTP connections kept per endpoint and thread.
    pub pool_size: usize,
    /// How long an idle HTTP connection is kept, in milliseconds.
    pub pool_idle_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            threads: 0,
            pin: false,
            balance: Policy::default(),
            connect_timeout_ms: 3_000,
            attempts: 3,
            pool_size: 64,
            pool_idle_ms: 30_000,
        }
    }
}

impl Config {
    /// Longest that connecting to one endpoint may take.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms.max(1))
    }

    /// How long an idle HTTP connection is kept.
    pub fn pool_idle(&self) -> Duration {
        Duration::from_millis(self.pool_idle_ms)
    }
}
