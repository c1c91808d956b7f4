//! Settings of the data threads.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an endpoint is chosen among several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Data threads; 0 means one per processor that this process may run on.
    pub threads: usize,
    /// Keep each data thread on one processor.
    pub pin: bool,
    /// How an endpoint is chosen.
    pub balance: Policy,
    /// Longest that connecting to one endpoint may take.
    #[serde(with = "state::units::duration")]
    pub connect_timeout: Duration,
    /// Most endpoints tried for one connection or request.
    pub attempts: usize,
    /// Idle HTTP connections kept per endpoint and thread.
    pub pool_size: usize,
    /// How long an idle HTTP connection is kept.
    #[serde(with = "state::units::duration")]
    pub pool_idle: Duration,
}

impl Config {
    /// How many data threads there will be.
    ///
    /// # Errors
    /// When the kernel does not say which processors there are.
    pub fn thread_count(&self) -> std::io::Result<usize> {
        match self.threads {
            0 => Ok(sys::process::processors()?.len().max(1)),
            threads => Ok(threads),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            threads: 0,
            pin: false,
            balance: Policy::default(),
            connect_timeout: Duration::from_secs(3),
            attempts: 3,
            pool_size: 64,
            pool_idle: Duration::from_secs(30),
        }
    }
}
