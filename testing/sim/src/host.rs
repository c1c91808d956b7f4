//! One simulated server: its disk, its clock, and, while it runs, its process.

use std::collections::BTreeMap;

use bytes::Bytes;
use paxos::{Driver, Identity, Index, OpenError, ReadId, Setup, Turn};

use crate::app::{App, KEYS};
use crate::disk::SimDisk;
use crate::plan::Micros;

/// At which step of a turn a server dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The batch is durable and nothing has been sent.
    Persisted,
    /// So many effects have been carried out.
    Effects(usize),
}

/// One server.
pub(crate) struct Host {
    /// Who it is, until its disk is lost.
    pub(crate) identity: Identity,
    /// What survives a crash.
    pub(crate) disk: SimDisk,
    /// What does not.
    pub(crate) process: Option<Process>,
    /// Members with whom it founds, if it is a founder whose disk may still be empty.
    pub(crate) founders: Option<Vec<Identity>>,
    /// Never comes back.
    pub(crate) gone: bool,
    /// Claims a number that was another disk's.
    pub(crate) impostor: bool,
    /// Counts starts; events of an earlier life are void.
    pub(crate) life: u32,
    /// Where to die next.
    pub(crate) die_at: Option<Step>,
    /// A sync takes at least this long.
    pub(crate) slow_disk_us: Micros,
    /// Stopped until then.
    pub(crate) paused_until: Micros,
    /// Number of disks that it had.
    pub(crate) disks: u64,
    clock: Clock,
}

/// A clock that may run fast or slow.
#[derive(Debug, Clone, Copy)]
struct Clock {
    ppm: u64,
    from_us: Micros,
    from_ms: u64,
}

/// What runs.
pub(crate) struct Process {
    /// The driver under test.
    pub(crate) driver: Driver,
    /// The application.
    pub(crate) app: App,
    /// A turn whose sync is under way.
    pub(crate) turn: Option<Turn>,
    /// Reads that clients wait for: who, and the floor when it began.
    pub(crate) reads: BTreeMap<ReadId, (usize, Index)>,
    /// What a watcher of each key saw last.
    pub(crate) watched: [(u64, Index); KEYS],
    /// A checkpoint being written.
    pub(crate) saving: Option<(Index, Bytes)>,
}

impl Host {
    /// A server that is not running yet.
    pub(crate) fn new(identity: Identity, founders: Option<Vec<Identity>>, lies: bool) -> Self {
        Self {
            identity,
            disk: SimDisk::new(lies),
            process: None,
            founders,
            gone: false,
            impostor: false,
            life: 0,
            die_at: None,
            slow_disk_us: 0,
            paused_until: 0,
            disks: 1,
            clock: Clock { ppm: 1_000_000, from_us: 0, from_ms: 0 },
        }
    }

    /// Starts the process from what the disk holds.
    ///
    /// # Errors
    /// What the driver says.
    pub(crate) fn start(&mut self, now: Micros, setup: &Setup) -> Result<(), OpenError> {
        let local = self.local_ms(now);
        self.life += 1;
        let image = self.disk.image().clone();
        let driver = match (image.identity(), &self.founders) {
            (Some(_), _) => Driver::open(image, setup.clone(), local)?,
            (None, Some(all)) => Driver::found(self.identity, all.clone(), 0, setup.clone(), local)?,
            (None, None) => Driver::join(self.identity, setup.clone(), local)?,
        };
        self.process = Some(Process {
            driver,
            app: App::default(),
            turn: None,
            reads: BTreeMap::new(),
            watched: Default::default(),
            saving: None,
        });
        Ok(())
    }

    /// What its own clock shows.
    pub(crate) fn local_ms(&self, now: Micros) -> u64 {
        let Clock { ppm, from_us, from_ms } = self.clock;
        from_ms + now.saturating_sub(from_us) * ppm / 1_000_000_000
    }

    /// When its own clock will show `local`.
    pub(crate) fn world_us(&self, local: u64) -> Micros {
        let Clock { ppm, from_us, from_ms } = self.clock;
        from_us + (local.saturating_sub(from_ms) * 1_000_000_000).div_ceil(ppm)
    }

    /// Makes the clock run at another rate.
    pub(crate) fn set_rate(&mut self, now: Micros, ppm: u64) {
        self.clock = Clock { ppm, from_us: now, from_ms: self.local_ms(now) };
    }
}
