//! Ways to be wrong that the simulator must notice. One that it does not notice is a hole in the simulator.

use paxos::Sabotage;

use crate::plan::Variant;

/// A broken variant and how far it may hide.
pub struct Canary {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is broken.
    pub variant: Variant,
    /// Among how many seeds it must be noticed.
    pub within: u64,
}

fn driver(name: &'static str, within: u64, sabotage: Sabotage) -> Canary {
    Canary { name, within, variant: Variant { sabotage, ..Variant::default() } }
}

fn world(name: &'static str, within: u64, variant: Variant) -> Canary {
    Canary { name, within, variant }
}

/// All of them.
pub fn all() -> Vec<Canary> {
    let honest = Sabotage::default;
    vec![
        world("no-fsync", 100, Variant { lying_disk: true, ..Variant::default() }),
        world("reordering", 2_000, Variant { reordering: true, ..Variant::default() }),
        world("stale-frames", 2_000, Variant { stale_frames: true, ..Variant::default() }),
        world("deaf-watchers", 200, Variant { deaf_watchers: true, ..Variant::default() }),
        driver("delta-snapshots", 100, Sabotage { hand_on_snapshots: true, ..honest() }),
        driver("no-read-floor", 1_000, Sabotage { skip_read_floor: true, ..honest() }),
        driver("no-read-quorum", 1_000, Sabotage { skip_read_quorum: true, ..honest() }),
        driver("no-reconnect", 500, Sabotage { skip_reconnect: true, ..honest() }),
        driver("no-outbid", 8_000, Sabotage { skip_outbid: true, ..honest() }),
        world(
            "no-stall-reset",
            4_000,
            Variant {
                lossy: true,
                sabotage: Sabotage { skip_stall_reset: true, ..honest() },
                ..Variant::default()
            },
        ),
        driver("send-before-sync", 2_000, Sabotage { send_all_ahead: true, ..honest() }),
        driver("no-seal-correction", 1_000, Sabotage { skip_seal_correction: true, ..honest() }),
        driver("no-base", 1_000, Sabotage { skip_base: true, ..honest() }),
        world(
            "reused-identity",
            2_000,
            Variant {
                reused_identity: true,
                sabotage: Sabotage { skip_disk_check: true, ..honest() },
                ..Variant::default()
            },
        ),
    ]
}
