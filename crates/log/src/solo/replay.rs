//! Handing a checked log to its reader, in bounded memory.

use std::sync::Arc;

use super::chain::Span;
use super::format::Integrity;
use super::scan::{Found, Scan};
use crate::disk::Disk;
use crate::events::EventSender;
use crate::{Entry, Event, Index, LogError};

/// Entries are handed over in portions of about this many bytes, and no more than [`AHEAD`] bytes wait.
const PORTION: usize = 256 << 10;
const PORTION_ENTRIES: usize = 1024;
const AHEAD: usize = 4 << 20;

pub(crate) struct Replay<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) integrity: &'a Integrity,
    pub(crate) events: &'a EventSender,
    /// Entries up to this one are in the checkpoint.
    pub(crate) base: Index,
}

impl Replay<'_> {
    /// Sends all entries of `spans` after `base`. False when nobody listens any more.
    ///
    /// # Errors
    /// What was good a moment ago does not read now.
    pub(crate) fn run(&self, spans: &[Span]) -> Result<bool, LogError> {
        let mut portion = Portion::default();
        for span in spans {
            let mut add = |entries| {
                portion.add(entries, self.base);
                Ok(!portion.is_full() || self.send(&mut portion))
            };
            if !walk(&**self.disk, self.integrity, span, &mut add)? {
                return Ok(false);
            }
        }
        Ok(self.send(&mut portion))
    }

    fn send(&self, portion: &mut Portion) -> bool {
        let Portion { entries, .. } = std::mem::take(portion);
        entries.is_empty() || self.events.send_when_below(AHEAD, Event::Entries(entries))
    }
}

/// Hands the entries of a checked span to `take`, batch by batch, until it answers false.
///
/// # Errors
/// What was good a moment ago does not read now, or what `take` says.
pub(crate) fn walk(
    disk: &dyn Disk,
    integrity: &Integrity,
    span: &Span,
    take: &mut dyn FnMut(Vec<Entry>) -> Result<bool, LogError>,
) -> Result<bool, LogError> {
    let path = || disk.path(&span.name);
    let io = |e| LogError::io("read segment", path(), e);
    let file = disk.open(&span.name).map_err(io)?;
    let mut scan = Scan::new(&*file, &span.header, span.end, integrity);
    while scan.at < span.end {
        let (offset, synced) = (scan.at, span.end);
        let what = match scan.step().map_err(io)? {
            Found::Batch(_, entries) => match take(entries)? {
                true => continue,
                false => return Ok(false),
            },
            Found::Torn(what) | Found::Wrong(what) => what,
            Found::Nothing => "a batch that was there is gone",
        };
        return Err(LogError::Damaged { path: path(), offset, synced, what });
    }
    Ok(true)
}

#[derive(Default)]
struct Portion {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Portion {
    fn add(&mut self, entries: Vec<Entry>, base: Index) {
        for entry in entries {
            if entry.index > base {
                self.bytes += entry.payload.len();
                self.entries.push(entry);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.bytes >= PORTION || self.entries.len() >= PORTION_ENTRIES
    }
}
