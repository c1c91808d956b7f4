//! Saving a checkpoint: write under another name, sync, read back, rename, sync the directory; then drop
//! what it stands for. Runs beside the log's thread and never holds it up.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::checkpoint::{self, Writer};
use super::format::Integrity;
use super::names::{self, NEW_CHECKPOINT};
use super::shelf::Shelf;
use crate::disk::Disk;
use crate::{Index, LogError, WriteState};

pub(crate) struct Saver {
    disk: Arc<dyn Disk>,
    integrity: Integrity,
    shelf: Shelf,
    /// One at a time: they share a file name.
    busy: Mutex<()>,
}

impl Saver {
    pub(crate) fn new(disk: Arc<dyn Disk>, integrity: Integrity, shelf: Shelf) -> Self {
        Self { disk, integrity, shelf, busy: Mutex::new(()) }
    }

    /// Saves one checkpoint. False when a newer one stands already: nothing is written then.
    ///
    /// # Errors
    /// The writer's or the disk's. The log is as it was, and the checkpoint before still stands.
    pub(crate) fn save(&self, index: Index, write: WriteState) -> Result<bool, LogError> {
        // A panic in a caller's `write` leaves nothing here that the next save does not overwrite.
        let _busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if index <= self.shelf.newest_checkpoint() {
            return Ok(false);
        }
        write_file(&*self.disk, &self.integrity, index, write)?;
        if let Err(error) = self.shelf.add_checkpoint(index) {
            // The checkpoint is durable; what was not cleared away is, at the next start.
            tracing::warn!(
                "checkpoint {index} is saved, but clearing up failed: {}",
                crate::error_chain(&error)
            );
        }
        Ok(true)
    }
}

/// Writes a whole checkpoint file: under another name, synced, read back, renamed, its directory synced. The
/// caller sees to it that one is written at a time.
///
/// # Errors
/// The writer's or the disk's; nothing is left behind under the checkpoint's name.
pub(crate) fn write_file(
    disk: &dyn Disk,
    integrity: &Integrity,
    index: Index,
    write: WriteState,
) -> Result<(), LogError> {
    write_new(disk, integrity, index, write).inspect_err(|_| {
        // Best effort: the next save or start removes it as well.
        drop(disk.remove(NEW_CHECKPOINT));
    })?;
    put_in_place(disk, NEW_CHECKPOINT, index)
}

fn write_new(
    disk: &dyn Disk,
    integrity: &Integrity,
    index: Index,
    write: WriteState,
) -> Result<(), LogError> {
    let path = disk.path(NEW_CHECKPOINT);
    let error = |attempted| {
        let path = path.clone();
        move |cause| LogError::io(attempted, path, cause)
    };
    let mut file = disk.create(NEW_CHECKPOINT).map_err(error("create"))?;
    let mut writer = Writer::new(&mut *file, index, integrity).map_err(error("write"))?;
    write(&mut writer).map_err(error("write"))?;
    writer.finish().map_err(error("write and sync"))?;
    match checkpoint::read(&*file, integrity, |_| {}).map_err(error("read back"))? {
        Ok(found) if found == index => Ok(()),
        Ok(_) => Err(error("read back")(io::Error::other("it names another index"))),
        Err((at, what)) => Err(error("read back")(io::Error::other(format!("{what}, at byte {at}")))),
    }
}

/// Gives a whole, synced file a checkpoint's name.
pub(crate) fn put_in_place(disk: &dyn Disk, from: &str, index: Index) -> Result<(), LogError> {
    let name = names::checkpoint(index);
    let error = |attempted, cause| LogError::io(attempted, disk.path(&name), cause);
    disk.rename(from, &name).map_err(|e| error("name", e))?;
    disk.sync_dir().map_err(|e| error("sync the directory of", e))
}
