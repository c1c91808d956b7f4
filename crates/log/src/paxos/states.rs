//! The application's checkpoints: its own, and those fetched from a peer in pieces.
//!
//! A file is durable and whole before the record that puts it in force, and older ones go only after that record
//! is durable too. The one before the one in force stays, for a peer that is in the middle of it. Pieces are
//! parts of the file as it is, so that its sums prove the transfer as well.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use paxos::PieceRead;

use crate::disk::{Disk, DiskFile};
use crate::solo::checkpoint;
use crate::solo::format::Integrity;
use crate::solo::names::{self, Name};
use crate::solo::{recover, saver};
use crate::{Index, LogError, WriteState};

/// A checkpoint on its way from a peer.
const FETCHED: &str = "checkpoint.fetched";

pub(crate) struct States {
    disk: Arc<dyn Disk>,
    integrity: Integrity,
    /// One save at a time: they share a file name.
    busy: Mutex<()>,
}

impl States {
    /// Takes the directory over; what is neither in force nor could be is removed.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn open(disk: Arc<dyn Disk>, integrity: Integrity, in_force: Index) -> Result<Self, LogError> {
        let list = || disk.list().map_err(|e| LogError::io("list", disk.path(""), e));
        for name in list()? {
            let stale = match Name::parse(&name) {
                Name::Checkpoint(index) => index != in_force,
                Name::Unfinished => true,
                Name::Segment(_) | Name::Spare(_) | Name::Foreign => name == FETCHED,
            };
            if stale {
                disk.remove(&name).map_err(|e| LogError::io("remove", disk.path(&name), e))?;
            }
        }
        Ok(Self { disk, integrity, busy: Mutex::new(()) })
    }

    /// Writes one of this node's own, durably. It is not in force yet.
    ///
    /// # Errors
    /// The writer's or the disk's.
    pub(crate) fn save(&self, index: Index, write: WriteState) -> Result<(), LogError> {
        // A panic in a caller's `write` leaves nothing here that the next save does not overwrite.
        let _busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        saver::write_file(&*self.disk, &self.integrity, index, write)
    }

    /// The application's bytes.
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::Io`].
    pub(crate) fn load(&self, index: Index) -> Result<Bytes, LogError> {
        recover::load(&*self.disk, &self.integrity, index)
    }

    /// A part of the file; `None` when it is gone.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn read(&self, index: Index, offset: u64, max: usize) -> Result<Option<PieceRead>, LogError> {
        let name = names::checkpoint(index);
        let io = |e| LogError::io("read", self.disk.path(&name), e);
        let file = match self.disk.open(&name) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(e)),
        };
        let size = file.size().map_err(io)?;
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(max);
        let mut bytes = vec![0; left.min(max)];
        let read = file.read_at(offset, &mut bytes).map_err(io)?;
        bytes.truncate(read);
        let last = offset + read as u64 >= size;
        Ok(Some(PieceRead { index, offset, bytes: bytes.into(), last }))
    }

    /// Removes what the checkpoint in force makes superfluous. Best effort: the next start does it as well.
    pub(crate) fn forget_before(&self, in_force: Index) {
        let Ok(names) = self.disk.list() else { return };
        let older = names.iter().filter_map(|name| match Name::parse(name) {
            Name::Checkpoint(index) if index < in_force => Some(index),
            _ => None,
        });
        let mut older: Vec<Index> = older.collect();
        older.sort_unstable();
        older.pop();
        for index in older {
            let name = names::checkpoint(index);
            if let Err(cause) = self.disk.remove(&name) {
                tracing::warn!(
                    "remove {}: {cause}; it is tried again at the next start",
                    self.disk.path(&name)
                );
            }
        }
    }
}

/// Takes pieces in. Lives on the engine's thread.
pub(crate) struct Fetch {
    states: Arc<States>,
    file: Option<Box<dyn DiskFile>>,
}

impl Fetch {
    pub(crate) fn new(states: Arc<States>) -> Self {
        Self { states, file: None }
    }

    /// Writes a piece; offset 0 starts over.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn piece(&mut self, offset: u64, bytes: &[u8]) -> Result<(), LogError> {
        let disk = &self.states.disk;
        let io = |attempted, e| LogError::io(attempted, disk.path(FETCHED), e);
        if offset == 0 {
            self.file = Some(disk.create(FETCHED).map_err(|e| io("create", e))?);
        }
        let file = self.file.as_mut().ok_or_else(|| {
            io("write", io::Error::other("a part arrived of a checkpoint that was not begun"))
        })?;
        file.write_at(offset, bytes).map_err(|e| io("write", e))
    }

    /// Makes what was fetched durable under its name, if it is whole and the one that it should be.
    ///
    /// # Errors
    /// The disk's; [`LogError::Damaged`] when the sums say that what arrived is not what was saved.
    pub(crate) fn install(&mut self, index: Index) -> Result<(), LogError> {
        let States { disk, integrity, .. } = &*self.states;
        let io = |attempted, e| LogError::io(attempted, disk.path(FETCHED), e);
        let mut file = self.file.take().ok_or_else(|| {
            io("install", io::Error::other("no part of it arrived in this life of the process"))
        })?;
        file.sync().map_err(|e| io("sync", e))?;
        let synced = file.size().map_err(|e| io("read back", e))?;
        let damaged = |(offset, what)| LogError::Damaged { path: disk.path(FETCHED), offset, synced, what };
        let found =
            checkpoint::read(&*file, integrity, |_| {}).map_err(|e| io("read back", e))?.map_err(damaged)?;
        if found != index {
            return Err(damaged((0, "it is the checkpoint of another index")));
        }
        saver::put_in_place(&**disk, FETCHED, index)
    }
}
