//! Taking decided state from a peer, beside the core.
//!
//! What arrives is journaled as history before it counts. Credit goes back with the turn that made it durable,
//! so a slow disk slows the sender and nothing piles up here.

use crate::frame::Frame;
use crate::turn::Session;
use crate::write::Write;
use crate::{Index, ServerId};

/// A transfer from one peer. At most one is under way.
#[derive(Debug)]
pub(crate) struct Pull {
    pub(crate) peer: ServerId,
    pub(crate) session: Session,
    id: u64,
    /// The checkpoint under way and the offset wanted next.
    checkpoint: Option<(Index, u64)>,
    /// Ticks since something arrived.
    pub(crate) silent_ticks: u64,
}

/// What a frame of a transfer means.
pub(crate) enum Arrival {
    /// Not of this transfer, or nothing new.
    Nothing,
    /// Out of step: the link does not keep order, or the peer is confused.
    Broken,
    /// Write this.
    Take(Vec<Write>),
}

impl Pull {
    pub(crate) fn begin(peer: ServerId, session: Session, id: u64, from: Index) -> (Self, Frame) {
        let pull = Self { peer, session, id, checkpoint: None, silent_ticks: 0 };
        (pull, Frame::Pull { id, from })
    }

    pub(crate) fn end(&self) -> Frame {
        Frame::Enough { id: self.id }
    }

    /// Judges a frame, given the last index that is held.
    pub(crate) fn arrive(&mut self, frame: Frame, have: Index) -> Arrival {
        match frame {
            Frame::Entries { id, at, mut entries } if id == self.id => {
                self.silent_ticks = 0;
                if at > have + 1 || self.checkpoint.is_some() {
                    return Arrival::Broken;
                }
                // Some may have been decided here meanwhile.
                let known = (have + 1 - at).min(entries.len() as Index);
                entries.drain(..known as usize);
                let writes = match entries.is_empty() {
                    true => Vec::new(),
                    false => vec![Write::Side { at: have + 1, entries }],
                };
                Arrival::Take(writes)
            }
            Frame::Piece { id, index, offset, bytes, last } if id == self.id => {
                self.silent_ticks = 0;
                let expected = match self.checkpoint {
                    Some((under_way, wanted)) if under_way == index && offset != 0 => wanted,
                    _ => 0,
                };
                if offset != expected || index == Index::MAX {
                    return Arrival::Broken;
                }
                let next = offset + bytes.len() as u64;
                let mut writes = Vec::new();
                // A checkpoint older than what is held by now is taken in, for the order's sake, and not kept.
                if index > have {
                    writes.push(Write::Piece { index, offset, bytes });
                    if last {
                        writes.push(Write::Install(index));
                    }
                }
                self.checkpoint = (!last).then_some((index, next));
                Arrival::Take(writes)
            }
            _ => Arrival::Nothing,
        }
    }
}
