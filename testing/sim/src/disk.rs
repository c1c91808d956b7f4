//! A disk that keeps what was synced, and of the rest whatever it likes.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use paxos::{Batch, Disk, Image, Index, Write};

use crate::rng::Rng;

/// The durable part of one server, and what has been written and not synced.
#[derive(Debug, Default)]
pub(crate) struct SimDisk {
    image: Image,
    files: BTreeMap<Index, Bytes>,
    partial: BytesMut,
    /// Written, reported durable, and not: only ever used by a disk that lies.
    unsynced: Vec<Batch>,
    /// Reports success without syncing.
    lies: bool,
}

impl Disk for SimDisk {
    type Error = Infallible;

    fn persist(&mut self, batch: &Batch) -> Result<(), Infallible> {
        self.write_files(batch);
        if self.lies {
            self.unsynced.push(batch.clone());
        } else {
            self.image.apply(batch);
            self.forget_old_files();
        }
        Ok(())
    }
}

impl SimDisk {
    /// An empty disk.
    pub(crate) fn new(lies: bool) -> Self {
        Self { lies, ..Self::default() }
    }

    fn write_files(&mut self, batch: &Batch) {
        for write in batch.writes() {
            match write {
                Write::Piece { offset, bytes, .. } => {
                    self.partial.truncate(*offset as usize);
                    self.partial.extend_from_slice(bytes);
                }
                Write::Install(index) => {
                    let whole = self.partial.split().freeze();
                    self.keep_file(*index, whole);
                }
                _ => {}
            }
        }
    }

    /// Only once a newer one is in force, durably.
    fn forget_old_files(&mut self) {
        let checkpoint = self.image.checkpoint();
        self.files.retain(|held, _| *held >= checkpoint);
    }

    /// Makes a checkpoint file durable. It is not in force before the driver has been told.
    pub(crate) fn keep_file(&mut self, index: Index, bytes: Bytes) {
        self.files.insert(index, bytes);
    }

    /// A checkpoint's bytes.
    pub(crate) fn file(&self, index: Index) -> Option<&Bytes> {
        self.files.get(&index)
    }

    /// Power is cut while this batch was being written. Of what was not synced, a prefix survives, because a
    /// log is read up to its first bad record. What is found then went through the log's own encoding.
    pub(crate) fn crash(&mut self, under_way: Option<&Batch>, rng: &mut Rng) {
        let mut pending = std::mem::take(&mut self.unsynced);
        if let Some(batch) = under_way {
            self.write_files(batch);
            pending.push(batch.clone());
        }
        pending.truncate(rng.below(pending.len() as u64 + 1) as usize);
        for batch in pending {
            let read_back = batch.encode().and_then(|bytes| Batch::decode(&bytes));
            self.image.apply(&read_back.unwrap_or(batch));
        }
        self.partial.clear();
        if rng.chance(300) {
            self.begin_log_anew();
        }
    }

    /// As a log does after a checkpoint: one record stands for all before it.
    fn begin_log_anew(&mut self) {
        let restated = self.image.restate();
        let read_back = restated.encode().and_then(|bytes| Batch::decode(&bytes));
        let mut image = Image::default();
        image.apply(&read_back.unwrap_or_default());
        self.image = image;
    }

    /// Whatever a restart finds.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// Everything is gone.
    pub(crate) fn wipe(&mut self) {
        *self = Self::new(self.lies);
    }
}
