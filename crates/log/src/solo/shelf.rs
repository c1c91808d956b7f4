//! The files that are not being written: finished segments, spare ones, checkpoints.
//!
//! The log's thread takes spares and adds finished segments; the thread that saves a checkpoint drops what
//! it stands for. Nothing else is shared between the two.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::names;
use crate::disk::Disk;
use crate::{Index, LogError};

/// Segments kept for use again; more are removed. Two: one to fill while the other waits.
pub(crate) const SPARES: usize = 2;

/// A segment to which nothing is added any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) first: Index,
    pub(crate) last: Index,
}

#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Ascending.
    pub(crate) finished: Vec<Finished>,
    /// Names.
    pub(crate) spares: Vec<String>,
    /// Number of the next spare.
    pub(crate) next_spare: u64,
    /// Indexes of good checkpoints, ascending.
    pub(crate) checkpoints: Vec<Index>,
}

/// Those files, shared by two threads.
#[derive(Clone)]
pub(crate) struct Shelf {
    disk: Arc<dyn Disk>,
    files: Arc<Mutex<Files>>,
}

impl Shelf {
    pub(crate) fn new(disk: Arc<dyn Disk>, files: Files) -> Self {
        Self { disk, files: Arc::new(Mutex::new(files)) }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_spare(&self) -> Option<String> {
        self.lock().spares.pop()
    }

    pub(crate) fn finish(&self, segment: Finished) {
        self.lock().finished.push(segment);
    }

    pub(crate) fn newest_checkpoint(&self) -> Index {
        self.lock().checkpoints.last().copied().unwrap_or(0)
    }

    /// Counts a new durable checkpoint and drops what it makes superfluous: checkpoints before the previous
    /// one, and segments all of whose entries the previous one contains. The previous one and everything
    /// since stays, so that a checkpoint which turns out damaged has something to fall back to.
    pub(crate) fn add_checkpoint(&self, index: Index) -> Result<(), LogError> {
        let (checkpoints, segments) = {
            let mut files = self.lock();
            files.checkpoints.push(index);
            let superfluous = files.checkpoints.len().saturating_sub(2);
            let checkpoints: Vec<Index> = files.checkpoints.drain(..superfluous).collect();
            let floor = if files.checkpoints.len() < 2 { 0 } else { files.checkpoints[0] };
            let n = files.finished.iter().take_while(|segment| segment.last <= floor).count();
            (checkpoints, files.finished.drain(..n).collect::<Vec<_>>())
        };
        for index in checkpoints {
            self.remove(&names::checkpoint(index))?;
        }
        let mut fresh = Vec::new();
        // Oldest first: what a crash leaves is still without a gap.
        for segment in segments {
            fresh.extend(self.retire(&names::segment(segment.first), fresh.len())?);
        }
        self.disk.sync_dir().map_err(|e| LogError::io("sync directory", self.disk.path(""), e))?;
        // Only now: a spare that might come back as the old segment must not be written to.
        self.lock().spares.extend(fresh);
        Ok(())
    }

    /// Turns a segment into a spare, or removes it when there are enough.
    fn retire(&self, name: &str, fresh: usize) -> Result<Option<String>, LogError> {
        let spare = {
            let mut files = self.lock();
            let wanted = files.spares.len() + fresh < SPARES;
            wanted.then(|| {
                files.next_spare += 1;
                names::spare(files.next_spare)
            })
        };
        match &spare {
            Some(spare) => {
                let rename = self.disk.rename(name, spare);
                rename.map_err(|e| LogError::io("set aside segment", self.disk.path(name), e))?;
            }
            None => self.remove(name)?,
        }
        Ok(spare)
    }

    fn remove(&self, name: &str) -> Result<(), LogError> {
        self.disk.remove(name).map_err(|e| LogError::io("remove", self.disk.path(name), e))
    }
}
