//! Which nodes live. Every node beats to the servers; the server that leads judges who fell silent.
//!
//! [`plan`] decides and does nothing, with time as an argument; [`run`] carries it out over the mesh. A verdict
//! is one command, `NodeDown`, whatever stood on the node; `NodeUp` takes it back. Heartbeats never enter the
//! order.

mod carry;
pub mod plan;
mod voice;
mod wire;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use carry::run;
pub use voice::{Heard, MeshVoice, Voice};
pub use wire::fuzz_message;

/// `[cluster.life]`: when a silent node is taken for dead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Between two beats.
    #[serde(with = "state::units::duration")]
    pub beat: Duration,
    /// Silence after which others are asked to try the node.
    #[serde(with = "state::units::duration")]
    pub suspect_after: Duration,
    /// Silence after which it is taken for dead, if nobody reached it.
    #[serde(with = "state::units::duration")]
    pub dead_after: Duration,
    /// How long the others have for that.
    #[serde(with = "state::units::duration")]
    pub probe_time: Duration,
    /// How many are asked.
    pub probes: usize,
    /// Share of the members, in percent, that is taken for dead within `verdict_window` at most; one always
    /// may be. When more fall silent at once, the fault is rarely theirs.
    pub most_percent: u32,
    /// See `most_percent`.
    #[serde(with = "state::units::duration")]
    pub verdict_window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            beat: Duration::from_secs(3),
            suspect_after: Duration::from_secs(6),
            dead_after: Duration::from_secs(10),
            probe_time: Duration::from_secs(2),
            probes: 3,
            most_percent: 20,
            verdict_window: Duration::from_secs(30),
        }
    }
}
