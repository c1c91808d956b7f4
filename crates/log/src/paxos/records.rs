//! The driver's disk: one record per turn in write-ahead segments, and images that let old segments go.
//!
//! Segments and images are those of `solo`: a record stands where an entry would, and an image (every record
//! folded into one, [`paxos::Image::restate`]) where a checkpoint would, numbered by the last record in it. So
//! what a start accepts, and how damage differs from a torn tail, is decided in one place for both engines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use paxos::{Batch, Image, Write};

use super::states::{Fetch, States};
use crate::disk::Disk;
use crate::solo::chain::Span;
use crate::solo::format::{Integrity, MAX_BODY};
use crate::solo::journal::{Journal, Syncs};
use crate::solo::recover::{self, Recovered};
use crate::solo::replay;
use crate::solo::saver::Saver;
use crate::{Index, LogError};

pub(crate) struct Records {
    journal: Journal,
    /// Largest record that fits.
    room: usize,
    saver: Arc<Saver>,
    states: Arc<States>,
    fetch: Fetch,
    /// Bytes of records since the last image, and how many call for the next.
    since_image: u64,
    image_every: u64,
    imaging: Arc<AtomicBool>,
}

/// What a disk held.
pub(crate) struct Found {
    pub(crate) records: Records,
    pub(crate) states: Arc<States>,
    pub(crate) image: Image,
    pub(crate) warnings: Vec<String>,
}

/// Reads and checks everything, and makes an empty log where there is nothing.
///
/// # Errors
/// [`LogError::Damaged`], [`LogError::Io`].
pub(crate) fn open(
    disks: (Arc<dyn Disk>, Arc<dyn Disk>),
    integrity: Integrity,
    (segment_bytes, room): (u64, usize),
) -> Result<Found, LogError> {
    let (disk, states) = disks;
    let Recovered { checkpoint, spans, journal, shelf, bytes, warnings } =
        recover::recover(&disk, &integrity, segment_bytes)?;
    let mut image = Image::default();
    let base = checkpoint.as_ref().map_or(0, |saved| saved.index);
    let mut image_bytes = 0;
    if let Some(saved) = checkpoint {
        image_bytes = saved.state.len() as u64;
        fold(&mut image, &saved.state, (&*disk, saved.index))?;
    }
    fold_spans(&mut image, &*disk, &integrity, (&spans, base))?;
    let states = Arc::new(States::open(states, integrity.clone(), image.checkpoint())?);
    let records = Records {
        journal,
        room: room.min(MAX_BODY),
        saver: Arc::new(Saver::new(disk, integrity, shelf)),
        states: Arc::clone(&states),
        fetch: Fetch::new(Arc::clone(&states)),
        since_image: bytes,
        image_every: segment_bytes.max(image_bytes),
        imaging: Arc::new(AtomicBool::new(false)),
    };
    Ok(Found { records, states, image, warnings })
}

fn fold_spans(
    image: &mut Image,
    disk: &dyn Disk,
    integrity: &Integrity,
    (spans, base): (&[Span], Index),
) -> Result<(), LogError> {
    for span in spans {
        let mut take = |entries: Vec<crate::Entry>| {
            for entry in entries.iter().filter(|entry| entry.index > base) {
                fold(image, &entry.payload, (disk, entry.index))?;
            }
            Ok(true)
        };
        replay::walk(disk, integrity, span, &mut take)?;
    }
    Ok(())
}

fn fold(image: &mut Image, bytes: &[u8], (disk, number): (&dyn Disk, Index)) -> Result<(), LogError> {
    let batch = Batch::decode(bytes).map_err(|cause| {
        let reason = format!(
            "record {number} in {} has a good sum and does not decode ({}): it was written by another \
             version; start that one",
            disk.path(""),
            crate::error_chain(&cause)
        );
        LogError::Settings { reason }
    })?;
    image.apply(&batch);
    Ok(())
}

impl Records {
    pub(crate) fn syncs(&self) -> Syncs {
        self.journal.syncs()
    }

    /// Whether an idle moment should be used for [`Records::seal`].
    pub(crate) fn sealed(&self) -> bool {
        self.journal.sealed()
    }

    /// Proves that the last record was synced; see `solo`.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn seal(&mut self) -> Result<(), LogError> {
        self.journal.seal()
    }

    /// Saves an image beside the engine's thread when enough was recorded since the last. `image` must hold all
    /// that is recorded; it may hold more.
    pub(crate) fn save_image(&mut self, image: impl FnOnce() -> Image) {
        let wanted = self.since_image >= self.image_every;
        if !wanted || self.imaging.swap(true, Ordering::AcqRel) {
            return;
        }
        self.since_image = 0;
        let (number, image) = (self.journal.next() - 1, image());
        let (saver, busy) = (Arc::clone(&self.saver), Arc::clone(&self.imaging));
        let save = move || {
            let write = move |out: &mut dyn std::io::Write| {
                let bytes = image.restate().encode().map_err(std::io::Error::other)?;
                out.write_all(&bytes)
            };
            if let Err(error) = saver.save(number, Box::new(write)) {
                // The records are all there: only space is lost until the next one succeeds.
                tracing::warn!("no image of the order's records was saved: {}", crate::error_chain(&error));
            }
            busy.store(false, Ordering::Release);
        };
        if let Err(cause) = std::thread::Builder::new().name("log-image".to_owned()).spawn(save) {
            self.imaging.store(false, Ordering::Release);
            tracing::warn!("start a thread for an image of the order's records: {cause}");
        }
    }

    /// Checkpoints that the batch puts in force must be there before it is.
    fn prepare(&mut self, batch: &Batch) -> Result<(), LogError> {
        for write in batch.writes() {
            match write {
                Write::Piece { offset, bytes, .. } => self.fetch.piece(*offset, bytes)?,
                Write::Install(index) => self.fetch.install(*index)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn record(&mut self, batch: &Batch) -> Result<(), LogError> {
        let record: Bytes =
            batch.encode().map_err(|cause| LogError::Settings { reason: crate::error_chain(&cause) })?.into();
        if record.len() > self.room {
            return Err(LogError::TooLarge { bytes: record.len(), limit: self.room });
        }
        self.since_image += record.len() as u64;
        self.journal.append(&[record]).map(drop)
    }
}

impl paxos::Disk for Records {
    type Error = LogError;

    fn persist(&mut self, batch: &Batch) -> Result<(), LogError> {
        self.prepare(batch)?;
        let record = batch.without_pieces();
        if record.writes().is_empty() {
            return Ok(());
        }
        self.record(&record)?;
        let in_force = record.writes().iter().filter_map(|write| match write {
            Write::Install(index) | Write::Checkpoint { index, .. } => Some(*index),
            _ => None,
        });
        if let Some(index) = in_force.max() {
            self.states.forget_before(index);
        }
        Ok(())
    }
}
