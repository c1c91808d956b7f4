//! What an operator may choose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of health checking. Every field has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often leases are swept: how late an expiry may be noticed (NetSel's `health_check_interval`).
    #[serde(with = "state::units::duration")]
    pub sweep_interval: Duration,
    /// Run checks that are programs. Off: whoever may register could otherwise run anything here.
    pub commands: bool,
    /// Let checks reach link-local addresses (169.254.0.0/16, fe80::/10), where clouds keep credentials.
    pub link_local: bool,
    /// Most probes under way at once; further ones wait their turn.
    pub max_running: usize,
    /// Most programs under way at once.
    pub max_commands: usize,
    /// An output that changes without a change of status is recorded at most this often.
    #[serde(with = "state::units::duration")]
    pub output_interval: Duration,
    /// Hold back checks that go to and fro. Off by default: Consul does not.
    pub damping: Option<Damping>,
    /// How leases are kept.
    pub leases: lease::Config,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            sweep_interval: Duration::from_secs(1),
            commands: false,
            link_local: false,
            max_running: 1024,
            max_commands: 32,
            output_interval: Duration::from_secs(300),
            damping: None,
            leases: lease::Config::default(),
        }
    }
}

/// When a check counts as flapping. Every turn to critical adds 1 to its penalty, which halves every
/// `half_life`; from `suppress` on the check stays critical, whatever the probe says, until the penalty has
/// decayed to `reuse`. The longer it flaps, the longer it is held. Its output says so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Damping {
    /// Penalty at which a check is held critical.
    pub suppress: f64,
    /// Penalty at which it is let go.
    pub reuse: f64,
    /// Penalty that is never exceeded: it bounds the time that a check is held.
    pub ceiling: f64,
    /// Time in which a penalty halves.
    #[serde(with = "state::units::duration")]
    pub half_life: Duration,
}

impl Default for Damping {
    fn default() -> Self {
        Damping { suppress: 3.0, reuse: 1.0, ceiling: 12.0, half_life: Duration::from_secs(60) }
    }
}
