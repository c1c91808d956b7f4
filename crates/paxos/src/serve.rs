//! Giving a peer decided state, as fast as it grants credit.
//!
//! Entries where they are still held, else the newest checkpoint and entries after it. When there is nothing
//! more to give, the transfer waits for what is decided next; the peer ends it. One transfer per peer, and
//! memory for none: each frame is cut from history or from the checkpoint's file when credit allows it.

use crate::frame::{Frame, entry_cost};
use crate::turn::{Effect, PieceRead, Session};
use crate::{Image, Index, ServerId};

/// A transfer to one peer.
#[derive(Debug)]
pub(crate) struct Serving {
    id: u64,
    /// Next index to send.
    next: Index,
    checkpoint: Option<Reading>,
}

/// A checkpoint under way.
#[derive(Debug)]
struct Reading {
    index: Index,
    offset: u64,
    /// A part has been asked of the host.
    asked: bool,
}

/// What a transfer does next.
pub(crate) enum Step {
    Send(Frame),
    Ask { index: Index, offset: u64, max: usize },
    Wait,
}

impl Serving {
    pub(crate) fn new(id: u64, from: Index) -> Self {
        Self { id, next: from.max(1), checkpoint: None }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The next step for a peer that has granted credit.
    pub(crate) fn step(&mut self, image: &Image, have: Index, chunk: usize) -> Step {
        if let Some(reading) = &mut self.checkpoint {
            if reading.asked {
                return Step::Wait;
            }
            reading.asked = true;
            return Step::Ask { index: reading.index, offset: reading.offset, max: chunk };
        }
        if self.next > have {
            return Step::Wait;
        }
        match self.cut_entries(image, have, chunk) {
            Some(frame) => Step::Send(frame),
            None if image.checkpoint() >= self.next => {
                self.checkpoint = Some(Reading { index: image.checkpoint(), offset: 0, asked: true });
                Step::Ask { index: image.checkpoint(), offset: 0, max: chunk }
            }
            None => Step::Wait,
        }
    }

    fn cut_entries(&mut self, image: &Image, have: Index, chunk: usize) -> Option<Frame> {
        let at = self.next;
        let mut entries = Vec::new();
        let mut cost = 0;
        while self.next <= have {
            let Some(entry) = image.entry(self.next) else { break };
            cost += entry_cost(entry);
            entries.push(entry.clone());
            self.next += 1;
            if cost >= chunk as u64 {
                break;
            }
        }
        if entries.is_empty() {
            return None;
        }
        Some(Frame::Entries { id: self.id, at, entries })
    }

    /// A part of the checkpoint, if it is the one that was asked for.
    pub(crate) fn piece(&mut self, read: PieceRead) -> Option<Frame> {
        let reading = self.checkpoint.as_mut()?;
        if !reading.asked || (read.index, read.offset) != (reading.index, reading.offset) {
            return None;
        }
        reading.asked = false;
        reading.offset += read.bytes.len() as u64;
        if read.last {
            self.next = read.index + 1;
            self.checkpoint = None;
        }
        let PieceRead { index, offset, bytes, last } = read;
        Some(Frame::Piece { id: self.id, index, offset, bytes, last })
    }

    /// The checkpoint that was being read is gone; a newer one, or entries, will do.
    pub(crate) fn piece_gone(&mut self) {
        self.checkpoint = None;
    }
}

/// The request to the host that a step stands for.
pub(crate) fn ask(peer: ServerId, session: Session, index: Index, offset: u64, max: usize) -> Effect {
    Effect::ReadCheckpoint { peer, session, index, offset, max }
}
