//! From `solo` to `paxos` on the same host: the order goes on where it stood, with the same indexes.
//!
//! The new log is built beside the old one, under another name, out of the old one's newest checkpoint and all
//! entries after it. It is read back whole, and only then renamed into place: that rename is the moment. Before it
//! the old log counts and the half-built one is thrown away by the next attempt; after it the new one counts, and
//! the next attempt, or start, clears the old one away. So it may be killed anywhere and done again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use paxos::{Driver, Identity, Image, Refused};

use super::records::{self, Found, Records};
use super::{Config, settings};
use crate::disk::{Directory, Disk};
use crate::solo::format::{Integrity, random};
use crate::solo::recover::{self, Recovered};
use crate::solo::replay;
use crate::{Index, LogError, solo};

/// Bytes of commands in one record of the new log.
const RECORD_BYTES: usize = 4 << 20;

/// What was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenOver {
    /// The server, with the disk number that was drawn for it.
    pub identity: Identity,
    /// Last index of the order.
    pub last: Index,
}

/// What has just been done; tests stop here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Begun,
    Recorded,
    Built,
    ReadBack,
    Renamed,
    SetAside,
    Cleared,
}

/// Makes the log in `from.dir` the beginning of a cluster of one server in `to.dir`; the two must be siblings.
/// Where that has been done, or was interrupted, it is completed; without a log in `from.dir` an empty order is
/// begun. Afterwards `from.dir` is gone, and `to.dir` opens with [`super::open`].
///
/// # Errors
/// [`LogError::InUse`] while the old log is open, [`LogError::Damaged`] when it does not read,
/// [`LogError::Settings`] when `to.dir` belongs to another server, [`LogError::Io`]. The old log is whole until the
/// new one is in place.
pub fn take_over(from: &solo::Config, to: &Config) -> Result<TakenOver, LogError> {
    take_over_in_steps(from, to, &mut |_| Ok(()))
}

pub(crate) type Watch<'a> = &'a mut dyn FnMut(Step) -> Result<(), LogError>;

pub(crate) fn take_over_in_steps(
    from: &solo::Config,
    to: &Config,
    step: Watch<'_>,
) -> Result<TakenOver, LogError> {
    to.check()?;
    let building = beside(&to.dir, "building");
    let aside = beside(&from.dir, "taken-over");
    let taken = match present(to)? {
        Some(taken) => taken,
        None => {
            clear(&building)?;
            let taken = build(from, to, &building, step)?;
            step(Step::Built)?;
            if open_records(&building, to)?.image.have() != taken.last {
                let cause = io::Error::other("it does not read back as it was written");
                return Err(LogError::io("hand the log over to", building.display().to_string(), cause));
            }
            step(Step::ReadBack)?;
            // An empty directory, left by a start that never came to anything, may be in the way.
            clear(&to.dir)?;
            rename(&building, &to.dir)?;
            step(Step::Renamed)?;
            taken
        }
    };
    if from.dir.is_dir() {
        // In one move, so that nothing ever opens a part of it.
        clear(&aside)?;
        rename(&from.dir, &aside)?;
        step(Step::SetAside)?;
    }
    clear(&aside)?;
    step(Step::Cleared)?;
    Ok(taken)
}

/// What is in place already; nothing when the directory is absent or nothing was ever promised from it.
fn present(to: &Config) -> Result<Option<TakenOver>, LogError> {
    if !to.dir.is_dir() {
        return Ok(None);
    }
    let found = open_records(&to.dir, to)?;
    let Some(identity) = found.image.identity() else { return Ok(None) };
    if identity.server != to.server {
        return Err(super::other_server(&to.dir.display().to_string(), identity.server, to.server));
    }
    Ok(Some(TakenOver { identity, last: found.image.have() }))
}

pub(super) fn open_records(dir: &Path, config: &Config) -> Result<Found, LogError> {
    let records = Arc::new(Directory::open(dir)?);
    let states = Arc::new(Directory::open(&dir.join("states"))?);
    let _lock = records.lock()?;
    records::open((records, states), Integrity::default(), (config.segment_bytes, config.room()))
}

fn build(from: &solo::Config, to: &Config, building: &Path, step: Watch<'_>) -> Result<TakenOver, LogError> {
    let Found { mut records, states, .. } = open_records(building, to)?;
    step(Step::Begun)?;
    let me = Identity { server: to.server, disk: random() };
    if !from.dir.is_dir() {
        let mut copy = Copy::begin(&mut records, me, 0, to)?;
        return copy.finish(step).map(|last| TakenOver { identity: me, last });
    }
    let disk: Arc<dyn Disk> = Arc::new(Directory::open(&from.dir)?);
    let _lock = disk.lock()?;
    let integrity = Integrity::default();
    let Recovered { checkpoint, spans, .. } = recover::recover(&disk, &integrity, from.segment_bytes)?;
    let base = checkpoint.as_ref().map_or(0, |saved| saved.index);
    if let Some(saved) = checkpoint {
        states.save(base, Box::new(move |out| out.write_all(&saved.state)))?;
    }
    let mut copy = Copy::begin(&mut records, me, base, to)?;
    for span in &spans {
        let mut take = |entries: Vec<crate::Entry>| {
            for entry in entries.into_iter().filter(|entry| entry.index > base) {
                copy.entry(entry.payload)?;
            }
            Ok(true)
        };
        replay::walk(&*disk, &integrity, span, &mut take)?;
        step(Step::Recorded)?;
    }
    copy.finish(step).map(|last| TakenOver { identity: me, last })
}

/// Writes the new log, as a cluster of one would have.
struct Copy<'a> {
    records: &'a mut Records,
    driver: Driver,
    bytes: usize,
    record_bytes: usize,
}

impl<'a> Copy<'a> {
    fn begin(records: &'a mut Records, me: Identity, base: Index, to: &Config) -> Result<Self, LogError> {
        let driver = Driver::found(me, vec![me], base, to.setup.clone(), 0).map_err(settings)?;
        Ok(Self { records, driver, bytes: 0, record_bytes: RECORD_BYTES.min(to.room() / 4) })
    }

    fn entry(&mut self, payload: Bytes) -> Result<(), LogError> {
        self.bytes += payload.len();
        if self.bytes >= self.record_bytes {
            self.write()?;
            self.bytes = payload.len();
        }
        if let Err(Refused::Full { .. }) = self.driver.handle_propose(payload.clone()) {
            self.write()?;
            self.bytes = payload.len();
            self.driver.handle_propose(payload).map_err(|refused| LogError::Settings {
                reason: format!("a command does not fit in a turn of the new log: {refused}"),
            })?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), LogError> {
        while let Some(turn) = self.driver.poll_turn() {
            let persisted = turn.persist(self.records)?;
            // Nobody listens yet: the engine that opens this log hands everything over.
            drop(self.driver.handle_persisted(persisted));
        }
        Ok(())
    }

    fn finish(&mut self, step: Watch<'_>) -> Result<Index, LogError> {
        self.write()?;
        if let Some(turn) = self.driver.poll_last_turn() {
            drop(turn.persist(self.records)?);
        }
        self.records.seal()?;
        step(Step::Recorded)?;
        Ok(self.driver.image(Image::have))
    }
}

fn beside(dir: &Path, what: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(what);
    dir.with_file_name(name)
}

fn rename(from: &Path, to: &Path) -> Result<(), LogError> {
    let error = |attempted, cause| LogError::io(attempted, to.display().to_string(), cause);
    fs::rename(from, to).map_err(|e| error("name", e))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|e| error("sync the parent of", e))
}

fn clear(dir: &Path) -> Result<(), LogError> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(LogError::io("remove", dir.display().to_string(), cause)),
    }
}
