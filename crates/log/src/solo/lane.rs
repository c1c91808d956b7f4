//! One of the ways by which batches reach the disk side by side.
//!
//! Each lane opens the active segment for itself: the kernel tells every opening of a file once of a write that
//! failed. Lanes that shared one could see the failure reported to a neighbour, and take their own lost batch
//! for durable.

use std::sync::Arc;

use super::names;
use crate::disk::{Disk, DiskFile};
use crate::{Index, LogError};

pub(crate) struct Lane {
    disk: Arc<dyn Disk>,
    /// First index of the segment that is open.
    segment: Index,
    file: Option<Box<dyn DiskFile>>,
}

impl Lane {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, segment: 0, file: None }
    }

    /// Writes at `offset` of the segment that starts with index `segment`.
    pub(crate) fn write(&mut self, segment: Index, offset: u64, bytes: &[u8]) -> Result<(), LogError> {
        let error =
            |attempted, cause| LogError::io(attempted, self.disk.path(&names::segment(segment)), cause);
        if self.segment != segment {
            (self.segment, self.file) = (segment, None);
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let opened =
                    self.disk.open(&names::segment(segment)).map_err(|e| error("open segment", e))?;
                self.file.insert(opened)
            }
        };
        file.write_at(offset, bytes).map_err(|e| error("write to segment", e))
    }

    /// Makes what was written by this lane durable.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.sync()
            .map_err(|e| LogError::io("sync segment", self.disk.path(&names::segment(self.segment)), e))
    }
}
