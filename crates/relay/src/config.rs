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
    /// An endpoint that joins a service which has others already gets its whole share only after so long; 0 means
    /// at once.
    #[serde(with = "state::units::duration")]
    pub slow_start: Duration,
    /// An endpoint that failed so often in a row is left alone for a while; 0 means never.
    pub eject_after: u32,
    /// The same for one of whose answers within ten seconds more than so many percent failed; 0 means never.
    pub eject_percent: u32,
    /// For how long, the first time; each further time in a row twice as long, up to a minute.
    #[serde(with = "state::units::duration")]
    pub eject_for: Duration,
    /// When more than so many percent of a service's endpoints are left alone so, all are asked again.
    pub panic_percent: u32,
    /// Requests that were sent already are sent again for at most so many percent of all requests of a service.
    pub retry_percent: u32,
    /// Beside that, so many each second on every thread.
    pub retry_reserve: u32,
    /// Most bytes that may wait for slow readers, in all; above that further connections are turned away.
    #[serde(with = "state::units::size")]
    pub max_buffered: u64,
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
            slow_start: Duration::ZERO,
            eject_after: 7,
            eject_percent: 50,
            eject_for: Duration::from_secs(5),
            panic_percent: 50,
            retry_percent: 20,
            retry_reserve: 10,
            max_buffered: 256 * 1024 * 1024,
            pool_size: 512,
            pool_idle: Duration::from_secs(30),
        }
    }
}
