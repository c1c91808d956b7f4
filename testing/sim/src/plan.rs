//! What a seed decides before a lifetime begins, and what a variant breaks in it.

use paxos::{Sabotage, Setup};

use crate::rng::Rng;

/// Microseconds of simulated time.
pub(crate) type Micros = u64;

/// A way to run: as it should be, or with one thing broken that must be noticed.
#[derive(Debug, Clone, Default)]
pub struct Variant {
    /// What the driver leaves out.
    pub sabotage: Sabotage,
    /// The disk reports success and has not synced.
    pub lying_disk: bool,
    /// The network delivers a session's frames in any order.
    pub reordering: bool,
    /// The network loses single frames inside a session, which no session may.
    pub lossy: bool,
    /// What was queued on an ended session is delivered on the next.
    pub stale_frames: bool,
    /// Watchers are not woken by a restored checkpoint.
    pub deaf_watchers: bool,
    /// Servers that lose their disk come back under their old number.
    pub reused_identity: bool,
    /// Founding servers; otherwise the seed decides.
    pub founders: Option<usize>,
    /// Whether members change; otherwise the seed decides.
    pub membership: Option<bool>,
}

/// Kinds of fault. Each lifetime gets some of them, so that none hides another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A server dies and restarts.
    Crash,
    /// A server dies at a chosen step: sync done and nothing sent, or only some of it.
    CrashAtStep,
    /// One direction between two servers stops.
    CutOneWay,
    /// Both directions stop.
    Cut,
    /// One server is cut off from all.
    Isolate,
    /// The servers fall into two halves.
    Partition,
    /// A link becomes slow.
    SlowLink,
    /// A session ends without a cause.
    ResetSession,
    /// A disk becomes slow.
    SlowDisk,
    /// A clock runs fast or slow.
    SkewClock,
    /// A process is stopped and goes on.
    Pause,
    /// A disk is lost; the server comes back as another, or claims to be the same.
    Wipe,
}

const FAULTS: [Fault; 12] = [
    Fault::Crash,
    Fault::CrashAtStep,
    Fault::CutOneWay,
    Fault::Cut,
    Fault::Isolate,
    Fault::Partition,
    Fault::SlowLink,
    Fault::ResetSession,
    Fault::SlowDisk,
    Fault::SkewClock,
    Fault::Pause,
    Fault::Wipe,
];

/// One lifetime's conditions.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Servers that found the cluster together.
    pub(crate) founders: usize,
    /// Whether an operator changes the members.
    pub(crate) membership: bool,
    /// How long faults go on.
    pub(crate) chaos_us: Micros,
    /// Mean time between faults.
    pub(crate) fault_every_us: Micros,
    /// The kinds that happen.
    pub(crate) faults: Vec<Fault>,
    /// Shortest time on a link.
    pub(crate) latency_us: Micros,
    /// What chance adds to it at most.
    pub(crate) jitter_us: Micros,
    /// Time of a sync, at most.
    pub(crate) sync_us: Micros,
    /// Mean time between bursts of commands that nobody waits for.
    pub(crate) noise_every_us: Micros,
    /// Commands in such a burst, at most.
    pub(crate) burst: u64,
    /// Clients that wait for answers.
    pub(crate) clients: usize,
    /// Mean time between checkpoints of a server.
    pub(crate) checkpoint_every_us: Micros,
    /// Bytes of padding in a command, at most.
    pub(crate) padding: u64,
    /// The driver's own settings.
    pub(crate) setup: Setup,
}

impl Plan {
    /// Draws a lifetime.
    pub(crate) fn draw(rng: &mut Rng, variant: &Variant) -> Self {
        let founders = *rng.pick(&[1, 2, 3, 3, 3, 3, 5, 5, 7]).unwrap_or(&3);
        let founders = variant.founders.unwrap_or(founders);
        let membership = rng.chance(if founders == 1 { 850 } else { 350 });
        let mut faults: Vec<Fault> = FAULTS.iter().copied().filter(|_| rng.chance(450)).collect();
        if faults.is_empty() {
            faults.push(Fault::Crash);
        }
        Self {
            founders,
            membership: variant.membership.unwrap_or(membership),
            chaos_us: rng.within(800_000, 4_000_000),
            fault_every_us: rng.within(40_000, 400_000),
            faults,
            latency_us: rng.within(100, 2_000),
            jitter_us: rng.within(100, 4_000),
            sync_us: rng.within(200, 6_000),
            noise_every_us: rng.within(4_000, 60_000),
            burst: rng.within(1, 24),
            clients: rng.within(1, 4) as usize,
            checkpoint_every_us: rng.within(30_000, 800_000),
            padding: rng.within(1, 64),
            setup: draw_setup(rng, variant),
        }
    }
}

/// Limits far below the real ones, so that a short lifetime meets every one of them.
fn draw_setup(rng: &mut Rng, variant: &Variant) -> Setup {
    Setup {
        tick_ms: 20,
        stall_ticks: rng.within(20, 50),
        window_bytes: rng.within(8 << 10, 64 << 10),
        park_bytes: rng.within(2 << 10, 16 << 10),
        undecided_bytes: rng.within(2 << 10, 6 << 10),
        chunk_bytes: rng.within(48, 512) as usize,
        credit_bytes: rng.within(128, 2048),
        retain: rng.below(24),
        join_slack: rng.within(4, 64),
        send_ahead: rng.chance(600),
        max_reads: 64,
        sabotage: variant.sabotage.clone(),
        ..Setup::default()
    }
}
