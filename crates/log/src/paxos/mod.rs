//! The engine of several hosts: the consensus driver on a thread of its own, with disk, network and time.
//!
//! A turn takes in what waits (commands, frames, time), lets the driver make of it one batch of writes, makes
//! that durable with one `fdatasync`, and only then sends and tells what follows from it; a leader's proposals
//! alone go ahead of its own sync. After a failed write or sync the engine stops for good.
//!
//! The same engine serves a server that votes and a node that only follows ([`crate::follow`]); which of the two
//! it is, the configuration says, and that is itself decided in the order.
//!
//! To change what is written, see `records` and `states`; what is sent, `wire`; when a command is proposed
//! again, `pending`; how servers are added and removed, `membership`. The protocol itself is the driver's.

mod effects;
mod engine;
mod inbox;
mod membership;
mod pending;
mod pulse;
mod records;
mod recover;
mod shared;
mod states;
mod take_over;
#[cfg(test)]
mod tests;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use paxos::{Driver, Image, OpenError};
use tokio::sync::{oneshot, watch};

pub use paxos::{Configuration, Identity, MAX_MEMBERS, ServerId, Setup};

pub use self::membership::ChangeError;
pub use self::recover::{GoesOn, RecoverError, go_on_without};
pub use self::shared::{ClusterStatus, PeerStatus};
pub use self::take_over::{TakenOver, take_over};
#[cfg(any(test, feature = "testing"))]
pub use self::wire::fuzz_part;

use self::engine::{Engine, Runner, Timing};
use self::inbox::{Inbox, Request};
use self::membership::Change;
use self::pending::Pending;
use self::pulse::Pulse;
use self::shared::{Progress, Shared};
use self::states::States;
use self::wire::Parts;
use crate::disk::{Directory, Disk};
use crate::events::{self, EventReceiver, Gauge};
use crate::queue::Limits;
use crate::solo::format::Integrity;
use crate::transport::{LinkReceiver, Transport};
use crate::{BoxFuture, Index, Log, LogError, LogStatus, WriteState};

/// What to do with an empty disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Refuse: this server was here before, and a server that lost its disk is another server.
    Never,
    /// Found a cluster of this server alone. Others join it.
    Found,
    /// Found a cluster with these servers, this one among them; each is given the same list, disks included.
    FoundWith(Vec<Identity>),
    /// Follow whoever can be reached, until a configuration names this server.
    Join,
}

/// Where a server's part of the order lives, and how much it takes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of its own; made if absent.
    pub dir: PathBuf,
    /// This server's number, drawn once for this disk.
    pub server: ServerId,
    /// What to do when the directory is empty.
    pub begin: Begin,
    /// Bytes of one segment, allocated in advance.
    pub segment_bytes: u64,
    /// Largest command, in bytes.
    pub max_command_bytes: usize,
    /// Most commands that may wait: to be decided, or for the reader.
    pub max_queued: usize,
    /// Most bytes of commands that may wait.
    pub max_queued_bytes: usize,
    /// After this much quiet an empty record is written; see [`crate::solo::Config::seal_after`].
    pub seal_after: Duration,
    /// How long a barrier waits for a majority before it fails.
    pub barrier_patience: Duration,
    /// How long closing waits for what is queued to be decided. Without a majority it never is.
    pub close_patience: Duration,
    /// Times and limits of the protocol.
    pub setup: Setup,
}

impl Config {
    /// The defaults for a server in `dir`, on a disk that must not be empty.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, server: ServerId) -> Self {
        let setup = Setup {
            election_ticks: 8,
            window_bytes: 16 << 20,
            undecided_bytes: 16 << 20,
            chunk_bytes: 1 << 20,
            credit_bytes: 8 << 20,
            ..Setup::default()
        };
        Self {
            dir: dir.into(),
            server,
            begin: Begin::Never,
            segment_bytes: 64 << 20,
            max_command_bytes: crate::MAX_COMMAND_BYTES,
            max_queued: crate::MAX_QUEUED,
            max_queued_bytes: 64 << 20,
            seal_after: Duration::from_secs(1),
            barrier_patience: Duration::from_secs(10),
            close_patience: Duration::from_secs(5),
            setup,
        }
    }

    /// The same, beginning on an empty disk as told.
    #[must_use]
    pub fn beginning(mut self, begin: Begin) -> Self {
        self.begin = begin;
        self
    }

    /// Bytes of a record that fit in one segment.
    fn room(&self) -> usize {
        let fixed = crate::solo::overhead();
        usize::try_from(self.segment_bytes.saturating_sub(fixed)).unwrap_or(usize::MAX)
    }

    fn check(&self) -> Result<(), LogError> {
        // What one turn may hold at worst: what was parked, what a window lets through, and as much again.
        let Setup { park_bytes, window_bytes, undecided_bytes, .. } = self.setup;
        let turn =
            2 * self.max_command_bytes as u64 + 4 * park_bytes.max(window_bytes).max(undecided_bytes) / 3;
        if self.segment_bytes < turn || !self.segment_bytes.is_multiple_of(512) {
            let reason = format!(
                "segments of {} bytes are too small for turns of {turn} bytes, or not whole sectors of 512 bytes",
                self.segment_bytes
            );
            return Err(LogError::Settings { reason });
        }
        if self.max_queued == 0 {
            return Err(LogError::Settings { reason: "the queue must hold something".to_owned() });
        }
        Ok(())
    }
}

/// Opens a server's part of the order, or begins it. Everything on the disk is checked before this returns; what
/// is known to be decided is then replayed on the stream, and [`crate::Event::Replayed`] follows whether or not
/// other servers can be reached.
///
/// # Errors
/// [`LogError::InUse`], [`LogError::Damaged`] with file and offset, [`LogError::Io`], and [`LogError::Settings`]
/// when the disk is empty and must not be, or belongs to another server.
pub fn open(
    config: &Config,
    transport: Arc<dyn Transport>,
    links: LinkReceiver,
) -> Result<(Arc<Paxos>, EventReceiver), LogError> {
    let records = Arc::new(Directory::open(&config.dir)?);
    let states = Arc::new(Directory::open(&config.dir.join("states"))?);
    open_on((records, states), config, transport, links)
}

/// As [`open`], on any two disks: one for records, one for checkpoints; `config.dir` is not looked at.
///
/// # Errors
/// As [`open`].
pub fn open_on(
    disks: (Arc<dyn Disk>, Arc<dyn Disk>),
    config: &Config,
    transport: Arc<dyn Transport>,
    links: LinkReceiver,
) -> Result<(Arc<Paxos>, EventReceiver), LogError> {
    config.check()?;
    let (closed, on_closed) = watch::channel(());
    let hold = Arc::new(Hold { _lock: disks.0.lock()?, _closed: closed });
    let path = disks.0.path("");
    let found = records::open(disks, Integrity::default(), (config.segment_bytes, config.room()))?;
    let checkpoint = found.image.checkpoint();
    let start = Instant::now();
    let driver = begin(config, found.image, &path)?;
    let me = driver.image(Image::identity).ok_or_else(|| blank(&path))?;
    let shared = Arc::new(Shared::new(
        Inbox::new(Limits {
            command_bytes: config.max_command_bytes,
            queued: config.max_queued,
            queued_bytes: config.max_queued_bytes,
        }),
        Progress { checkpoint, ..Progress::default() },
        ClusterStatus::new(me),
    ));
    let (events, receiver) = events::channel();
    let gauge = events.gauge();
    let engine = Engine {
        me,
        driver,
        states: Arc::clone(&found.states),
        transport,
        links,
        shared: Arc::clone(&shared),
        events,
        pending: Pending::default(),
        reading: Default::default(),
        reads_begun: 0,
        probe: None,
        changes: Default::default(),
        saved: Vec::new(),
        parts: Parts::default(),
        sessions: Default::default(),
        leader: None,
        contact: None,
        start,
        timing: Timing {
            seal_after: config.seal_after,
            barrier_patience: config.barrier_patience,
            close_patience: config.close_patience,
        },
    };
    let engine = Arc::new(Mutex::new(engine));
    let failed = |cause| LogError::io("start a thread for", path.clone(), cause);
    let pulse = Pulse::start(&engine).map_err(failed)?;
    let runner = Runner { engine, records: found.records, pulse, hold: Arc::clone(&hold) };
    std::thread::Builder::new().name("log".to_owned()).spawn(move || runner.run()).map_err(failed)?;
    let hold = Mutex::new(Some(hold));
    let (states, warnings) = (found.states, found.warnings);
    Ok((Arc::new(Paxos { shared, states, gauge, warnings, hold, on_closed }), receiver))
}

/// The driver for what a disk holds, or for an empty one as the configuration says.
fn begin(config: &Config, image: Image, path: &str) -> Result<Driver, LogError> {
    let setup = config.setup.clone();
    if let Some(identity) = image.identity() {
        if identity.server != config.server {
            return Err(other_server(path, identity.server, config.server));
        }
        return Driver::open(image, setup, 0).map_err(settings);
    }
    let me = Identity { server: config.server, disk: crate::solo::format::random() };
    match &config.begin {
        Begin::Never => Err(blank(path)),
        Begin::Found => Driver::found(me, vec![me], 0, setup, 0).map_err(settings),
        Begin::FoundWith(members) => {
            let me = members.iter().find(|member| member.server == config.server).ok_or_else(|| {
                LogError::Settings { reason: "the founders' list does not name this server".to_owned() }
            })?;
            Driver::found(*me, members.clone(), 0, setup, 0).map_err(settings)
        }
        Begin::Join => Driver::join(me, setup, 0).map_err(settings),
    }
}

fn settings(cause: OpenError) -> LogError {
    LogError::Settings { reason: crate::error_chain(&cause) }
}

fn other_server(path: &str, found: ServerId, wanted: ServerId) -> LogError {
    let reason = format!(
        "{path} belongs to server {found}, and this is to be server {wanted}; a disk is never handed on"
    );
    LogError::Settings { reason }
}

fn blank(path: &str) -> LogError {
    let reason = format!(
        "{path} is empty, and this server was here before: what it promised is forgotten. Remove it from the \
         cluster and let it join anew, under a new number"
    );
    LogError::Settings { reason }
}

/// Kept by whatever still uses the directory. Fields are dropped in this order: when the second is gone,
/// the lock is free.
pub(crate) struct Hold {
    _lock: Box<dyn Send + Sync>,
    _closed: watch::Sender<()>,
}

/// One node's part of the order, open. Dropping it closes it without waiting.
pub struct Paxos {
    shared: Arc<Shared>,
    states: Arc<States>,
    gauge: Gauge,
    warnings: Vec<String>,
    hold: Mutex<Option<Arc<Hold>>>,
    on_closed: watch::Receiver<()>,
}

/// Membership.
impl Paxos {
    /// Makes a server vote. It must be connected and have caught up; asked from any node. Resolves when the
    /// configuration that names it is in force here.
    ///
    /// # Errors
    /// [`ChangeError`]; after `TimedOut` the change may still come about.
    pub fn add_server(&self, identity: Identity) -> BoxFuture<Result<(), ChangeError>> {
        self.change(Change::Add(identity))
    }

    /// Takes a server's vote away; asked from any node, that server included. It goes on following as long as
    /// it is connected. When it led, the others elect another.
    ///
    /// # Errors
    /// As [`Paxos::add_server`].
    pub fn remove_server(&self, server: ServerId) -> BoxFuture<Result<(), ChangeError>> {
        self.change(Change::Remove(server))
    }

    fn change(&self, change: Change) -> BoxFuture<Result<(), ChangeError>> {
        let (done, result) = oneshot::channel();
        let refused = self.shared.inbox.ask(Request::Change { change, done }).err();
        Box::pin(async move {
            let stopped = |why: String| ChangeError::Stopped(why);
            match refused {
                Some((_, why)) => Err(stopped(why.to_string())),
                None => result.await.unwrap_or_else(|_| Err(stopped("before it was in force".to_owned()))),
            }
        })
    }

    /// Who leads, who votes, who is how far. As of the last tick, so a few hundredths of a second old.
    pub fn cluster(&self) -> ClusterStatus {
        self.shared.cluster().clone()
    }
}

impl Paxos {
    fn hold(&self) -> Option<Arc<Hold>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begin_close(&self) {
        self.shared.inbox.close();
        self.gauge.release();
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn stopped() -> LogError {
    LogError::Stopped { reason: "before it was done".to_owned() }
}

impl Log for Paxos {
    fn append(&self, payload: Bytes) -> Result<(), LogError> {
        self.shared.inbox.push(payload, || {
            let unread = self.gauge.backlog();
            (unread.entries, unread.bytes)
        })
    }

    fn barrier(&self) -> BoxFuture<Result<Index, LogError>> {
        let (done, result) = oneshot::channel();
        let refused = self.shared.inbox.ask(Request::Barrier(done)).err();
        Box::pin(async move {
            match refused {
                Some((_, refusal)) => Err(refusal),
                None => result.await.unwrap_or_else(|_| Err(stopped())),
            }
        })
    }

    fn save_checkpoint(&self, index: Index, write: WriteState) -> BoxFuture<Result<(), LogError>> {
        let (hold, refusal) = (self.hold(), self.shared.inbox.refusal());
        if let Some(refusal) = refusal {
            return Box::pin(std::future::ready(Err(refusal)));
        }
        let (done, result) = oneshot::channel();
        let (shared, states) = (Arc::clone(&self.shared), Arc::clone(&self.states));
        let save = move || {
            let result = save(&shared, &states, index, write);
            // The directory is free before anyone hears that it is done.
            drop(hold);
            drop(done.send(result));
        };
        let spawned = std::thread::Builder::new().name("log-checkpoint".to_owned()).spawn(save);
        Box::pin(async move {
            spawned.map_err(|cause| LogError::io("start a thread for", "a checkpoint", cause))?;
            result.await.unwrap_or_else(|_| Err(LogError::writer_panicked(index)))
        })
    }

    fn status(&self) -> LogStatus {
        let queued = self.shared.inbox.queued() as u64;
        let cluster = self.shared.cluster();
        let engine = if cluster.votes() { "paxos" } else { "follow" };
        let members = cluster.configuration.as_ref().map(|known| known.members());
        let progress = self.shared.progress();
        LogStatus {
            engine,
            first_index: if progress.last > progress.checkpoint { progress.checkpoint + 1 } else { 0 },
            last_index: progress.last,
            checkpoint_index: progress.checkpoint,
            bytes_since_checkpoint: progress.bytes,
            syncs: progress.syncs.count,
            sync_us: u64::try_from(progress.syncs.time.as_micros()).unwrap_or(u64::MAX),
            queued,
            stopped: progress.stopped.clone(),
            cut_off: !cluster.in_contact(),
            leader: cluster.leader.map(|leader| leader.0),
            voters: members.into_iter().flatten().map(|voter| voter.server.0).collect(),
            warnings: self.warnings.clone(),
        }
    }

    fn close(&self) -> BoxFuture<()> {
        self.begin_close();
        let mut on_closed = self.on_closed.clone();
        Box::pin(async move {
            // An error is what is waited for: the sender is gone, and with it every user of the directory.
            while on_closed.changed().await.is_ok() {}
        })
    }
}

impl Drop for Paxos {
    fn drop(&mut self) {
        self.begin_close();
    }
}

/// Writes the file here, then has the thread put it in force, and waits for that.
fn save(shared: &Shared, states: &States, index: Index, write: WriteState) -> Result<(), LogError> {
    let (last, bytes, checkpoint) = {
        let progress = shared.progress();
        (progress.last, progress.bytes, progress.checkpoint)
    };
    if index > last {
        return Err(LogError::Ahead { index, last });
    }
    if index <= checkpoint {
        return Ok(());
    }
    states.save(index, write)?;
    let (done, result) = oneshot::channel();
    shared.inbox.ask(Request::Saved { index, done }).map_err(|(_, refusal)| refusal)?;
    result.blocking_recv().unwrap_or_else(|_| Err(stopped()))?;
    let mut progress = shared.progress();
    if progress.checkpoint == index {
        // What came while the state was written counts as still to be replayed: an estimate, as in `solo`.
        progress.bytes = progress.bytes.saturating_sub(bytes);
    }
    Ok(())
}
