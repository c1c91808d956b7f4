//! Times and limits.

/// Times are in ticks, so that a simulator and a slow machine see the same protocol.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Length of a tick in milliseconds.
    pub tick_ms: u64,
    /// Ticks in a heartbeat round. A lost leader is replaced after about three rounds.
    pub election_ticks: u64,
    /// Ticks after which the core repeats a prepare, a promise or a stop-sign.
    pub resend_ticks: u64,
    /// Ticks between two status frames.
    pub gossip_ticks: u64,
    /// Ticks after which a higher promise, a static index or a silent transfer is taken for a fault.
    pub stall_ticks: u64,
    /// Bytes that may be under way to a peer on the order lane, and one frame more, before its session is
    /// reset.
    pub window_bytes: u64,
    /// Bytes that may wait here, and one frame more, while the state is fetched that the first stands for.
    pub park_bytes: u64,
    /// Bytes of proposals that a leader holds undecided before it refuses more.
    pub undecided_bytes: u64,
    /// Bytes in one frame of the bulk lane.
    pub chunk_bytes: usize,
    /// Bytes that may be under way on the bulk lane.
    pub credit_bytes: u64,
    /// Entries kept before the newest checkpoint, for peers that lag a little.
    pub retain: u64,
    /// Most bytes of such entries.
    pub retain_bytes: u64,
    /// Entries that a server may lag behind and still be taken in as a member.
    pub join_slack: u64,
    /// Whether a leader sends proposals while its own disk still works on them.
    pub send_ahead: bool,
    /// Reads that may wait.
    pub max_reads: usize,
    /// Ways to be wrong, for the simulator alone.
    #[doc(hidden)]
    pub sabotage: Sabotage,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            tick_ms: 20,
            election_ticks: 5,
            resend_ticks: 10,
            gossip_ticks: 5,
            stall_ticks: 40,
            window_bytes: 64 << 20,
            park_bytes: 16 << 20,
            undecided_bytes: 32 << 20,
            chunk_bytes: 256 << 10,
            credit_bytes: 4 << 20,
            retain: 4096,
            retain_bytes: 16 << 20,
            join_slack: 1024,
            send_ahead: true,
            max_reads: 65_536,
            sabotage: Sabotage::default(),
        }
    }
}

/// Each switch takes out one thing that the protocol needs. The simulator turns them on one at a time and must
/// notice; nothing that reads a configuration can reach them.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct Sabotage {
    /// Hand snapshots to the core as they came, and fetch nothing.
    pub hand_on_snapshots: bool,
    /// Serve reads before everything of earlier ballots is known to be decided.
    pub skip_read_floor: bool,
    /// Serve reads without asking a majority.
    pub skip_read_quorum: bool,
    /// Do not tell the core that a link is new.
    pub skip_reconnect: bool,
    /// Do not outbid a peer that promised a higher ballot.
    pub skip_outbid: bool,
    /// Do not reset the session of a leader who moves on without us.
    pub skip_stall_reset: bool,
    /// Believe a server that lost its disk.
    pub skip_disk_check: bool,
    /// Let every turn's effects go ahead of the disk.
    pub send_all_ahead: bool,
    /// Leave a stop-sign counted twice.
    pub skip_seal_correction: bool,
    /// Take office without the state that earlier configurations decided.
    pub skip_base: bool,
}
