//! The engine of one host: a write-ahead log in segments, on threads of its own.
//!
//! A turn writes everything that waits with one write and makes it durable with one `fdatasync`; commands
//! that arrive meanwhile are the next turn (group commit), which begins at once as long as no more than
//! [`Config::lanes`] are under way. There is no artificial delay: a lone command is written at once. After a
//! failed write or sync the engine stops for good, because what a failed sync left on the disk cannot be known;
//! readers keep what they have.
//!
//! To change what is written, see `format`; when it is written, `turn`, `flights` and `journal`; what a start
//! accepts, `recover` and `chain`; how a checkpoint is made, `saver` and `checkpoint`.

pub(crate) mod chain;
pub(crate) mod checkpoint;
mod flights;
pub(crate) mod format;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
pub(crate) mod journal;
mod lane;
pub(crate) mod names;
pub(crate) mod recover;
pub(crate) mod replay;
pub(crate) mod saver;
mod scan;
pub(crate) mod shelf;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod turn;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use self::format::{BATCH_HEADER, DATA_START, Integrity, MAX_BODY, SECTOR};
use self::journal::RESERVED;
use self::recover::Recovered;
use self::saver::Saver;
use self::turn::{Air, Engine, Progress, Shared};
use crate::disk::{Directory, Disk};
use crate::events::{self, EventReceiver, Gauge};
use crate::queue::{Limits, Queue};
use crate::{BoxFuture, Index, Log, LogError, LogStatus, WriteState};

/// Where a log lives and how much it takes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of its own; made if absent.
    pub dir: PathBuf,
    /// Bytes of one segment, allocated in advance. May be changed between starts.
    pub segment_bytes: u64,
    /// Largest command, in bytes.
    pub max_command_bytes: usize,
    /// Bytes of commands that one turn writes at most.
    pub max_batch_bytes: usize,
    /// Most commands that may wait, for the disk or for the reader.
    pub max_queued: usize,
    /// Most bytes of commands that may wait.
    pub max_queued_bytes: usize,
    /// Turns that are made durable side by side, each by a thread of its own; one at least.
    pub lanes: usize,
    /// After this much quiet an empty batch is written, so that later damage to the last commands cannot be
    /// mistaken for a torn tail.
    pub seal_after: Duration,
}

impl Config {
    /// The defaults for a log in `dir`: segments of 64 MiB, commands up to 2 MiB.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            max_command_bytes: crate::MAX_COMMAND_BYTES,
            max_batch_bytes: 4 << 20,
            max_queued: crate::MAX_QUEUED,
            max_queued_bytes: 64 << 20,
            lanes: 3,
            seal_after: Duration::from_secs(1),
        }
    }

    /// Bytes of commands (with a length of four bytes each) that fit in one segment as one batch.
    fn room(&self) -> usize {
        usize::try_from(self.segment_bytes.saturating_sub(overhead())).unwrap_or(MAX_BODY).min(MAX_BODY)
    }

    fn check(&self) -> Result<(), LogError> {
        let room = self.room();
        if self.max_command_bytes + 4 > room {
            let (command, segment) = (self.max_command_bytes, self.segment_bytes);
            let reason = format!("a command of {command} bytes does not fit in a segment of {segment} bytes");
            return Err(LogError::Settings { reason });
        }
        if self.max_queued == 0 || !self.segment_bytes.is_multiple_of(SECTOR as u64) {
            let reason = "the queue must hold something, and segments are whole sectors of 512 bytes";
            return Err(LogError::Settings { reason: reason.to_owned() });
        }
        Ok(())
    }
}

/// Bytes of a segment that commands cannot use.
pub(crate) fn overhead() -> u64 {
    DATA_START + RESERVED + (BATCH_HEADER + SECTOR) as u64
}

/// Opens the log in a directory, or makes an empty one. Everything in it is checked before this returns;
/// it is then replayed on the stream.
///
/// # Errors
/// [`LogError::InUse`], [`LogError::Damaged`] with file and offset, [`LogError::Io`],
/// [`LogError::Settings`].
pub fn open(config: &Config) -> Result<(Arc<Solo>, EventReceiver), LogError> {
    open_on(Arc::new(Directory::open(&config.dir)?), config)
}

/// As [`open`], on any disk; `config.dir` is not looked at.
///
/// # Errors
/// As [`open`].
pub fn open_on(disk: Arc<dyn Disk>, config: &Config) -> Result<(Arc<Solo>, EventReceiver), LogError> {
    open_with(disk, config, Integrity::default())
}

fn open_with(
    disk: Arc<dyn Disk>,
    config: &Config,
    integrity: Integrity,
) -> Result<(Arc<Solo>, EventReceiver), LogError> {
    config.check()?;
    let (closed, on_closed) = watch::channel(());
    let hold = Arc::new(Hold { _lock: disk.lock()?, _closed: closed });
    let recovered = recover::recover(&disk, &integrity, config.segment_bytes)?;
    let Recovered { checkpoint, spans, mut journal, shelf, bytes, warnings } = recovered;
    let limits = Limits {
        command_bytes: config.max_command_bytes,
        queued: config.max_queued,
        queued_bytes: config.max_queued_bytes,
    };
    let progress = Progress {
        last: journal.next() - 1,
        checkpoint: checkpoint.as_ref().map_or(0, |c| c.index),
        bytes,
        syncs: journal.take_syncs(),
        stopped: None,
    };
    let shared = Arc::new(Shared::new(Queue::new(limits), progress));
    let saver = Arc::new(Saver::new(Arc::clone(&disk), integrity.clone(), shelf));
    let (events, receiver) = events::channel();
    let gauge = events.gauge();
    let engine = Engine {
        disk: Arc::clone(&disk),
        integrity,
        air: Air::new(journal.horizon()),
        journal: Mutex::new(journal),
        shared: Arc::clone(&shared),
        events,
        max_batch_bytes: config.max_batch_bytes.min(config.room()),
        seal_after: config.seal_after,
        lanes: config.lanes,
        hold: Arc::clone(&hold),
    };
    let thread = std::thread::Builder::new().name("log".to_owned());
    let spawned = thread.spawn(move || engine.run(checkpoint, &spans));
    spawned.map_err(|e| LogError::io("start a thread for", disk.path(""), e))?;
    Ok((Arc::new(Solo { shared, saver, gauge, warnings, hold: Mutex::new(Some(hold)), on_closed }), receiver))
}

/// Kept by whatever still uses the directory. Fields are dropped in this order: when the second is gone,
/// the lock is free.
struct Hold {
    _lock: Box<dyn Send + Sync>,
    _closed: watch::Sender<()>,
}

/// The log of one host, open. Dropping it closes it without waiting.
pub struct Solo {
    shared: Arc<Shared>,
    saver: Arc<Saver>,
    gauge: Gauge,
    warnings: Vec<String>,
    hold: Mutex<Option<Arc<Hold>>>,
    on_closed: watch::Receiver<()>,
}

impl Solo {
    fn hold(&self) -> Option<Arc<Hold>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begin_close(&self) {
        self.shared.queue.close();
        self.gauge.release();
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Log for Solo {
    fn append(&self, payload: Bytes) -> Result<(), LogError> {
        let unread = self.gauge.backlog();
        self.shared.queue.push(payload, (unread.entries, unread.bytes))
    }

    fn barrier(&self) -> BoxFuture<Result<Index, LogError>> {
        let last = self.shared.progress().last;
        let answer = self.shared.queue.refusal().map_or(Ok(last), Err);
        Box::pin(std::future::ready(answer))
    }

    fn save_checkpoint(&self, index: Index, write: WriteState) -> BoxFuture<Result<(), LogError>> {
        let (hold, refusal) = (self.hold(), self.shared.queue.refusal());
        if let Some(refusal) = refusal {
            return Box::pin(std::future::ready(Err(refusal)));
        }
        let (done, result) = oneshot::channel();
        let (shared, saver) = (Arc::clone(&self.shared), Arc::clone(&self.saver));
        let save = move || {
            let result = save(&shared, &saver, index, write);
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
        let queued = self.shared.queue.queued() as u64;
        let progress = self.shared.progress();
        LogStatus {
            engine: "solo",
            first_index: if progress.last > progress.checkpoint { progress.checkpoint + 1 } else { 0 },
            last_index: progress.last,
            checkpoint_index: progress.checkpoint,
            bytes_since_checkpoint: progress.bytes,
            syncs: progress.syncs.count,
            sync_us: u64::try_from(progress.syncs.time.as_micros()).unwrap_or(u64::MAX),
            queued,
            stopped: progress.stopped.clone(),
            cut_off: false,
            leader: None,
            voters: Vec::new(),
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

impl Drop for Solo {
    fn drop(&mut self) {
        self.begin_close();
    }
}

/// Saves, and counts it. What came after `index` while the state was written counts as still to be
/// replayed; what came between `index` and this call does not: an estimate, exact again at the next start.
fn save(shared: &Shared, saver: &Saver, index: Index, write: WriteState) -> Result<(), LogError> {
    let (last, bytes) = {
        let progress = shared.progress();
        (progress.last, progress.bytes)
    };
    if index > last {
        return Err(LogError::Ahead { index, last });
    }
    if saver.save(index, write)? {
        let mut progress = shared.progress();
        progress.checkpoint = index;
        progress.bytes = progress.bytes.saturating_sub(bytes);
    }
    Ok(())
}
