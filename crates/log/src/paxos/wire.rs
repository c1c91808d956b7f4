//! Messages on their way over a link: cut into parts that a carrier takes, and put together again.
//!
//! The first byte of a part says what it is: the last of a driver's frame, one that goes on, or a [`Note`]
//! between engines. Lanes are ordered, so parts need no numbers.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use paxos::{Frame, Lane, ServerId};
use serde::{Deserialize, Serialize};

use super::membership::{Change, ChangeError};
use crate::transport::MAX_FRAME_BYTES;

const LAST: u8 = 0;
const MORE: u8 = 1;
const NOTE: u8 = 2;

/// Bytes of a part. Small enough that a vote never waits long behind one.
const PART: usize = 1 << 20;
/// No message is longer: the driver's own bounds are far below.
const MAX_MESSAGE: usize = 128 << 20;
/// No note is longer.
const MAX_NOTE: usize = 4096;

const _: () = assert!(PART < MAX_FRAME_BYTES);

/// What engines say to each other beside their drivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Note {
    /// For the leader: change the voting servers.
    Ask {
        /// How many passed it on already.
        hops: u8,
        /// The change.
        change: Change,
    },
    /// It cannot be done now.
    Refused {
        /// What was asked.
        change: Change,
        /// Why not.
        why: ChangeError,
    },
}

/// Something whole that arrived.
#[derive(Debug)]
pub(crate) enum Message {
    Frame(Frame),
    Note(Note),
}

/// The parts of a driver's frame.
///
/// # Errors
/// In words, when it cannot be encoded.
pub(crate) fn cut(frame: &Frame) -> Result<Vec<Bytes>, String> {
    let mut whole = Vec::with_capacity(64 + usize::try_from(frame.cost()).unwrap_or(0));
    whole.push(LAST);
    frame.encode_onto(&mut whole).map_err(|e| crate::error_chain(&e))?;
    if whole.len() <= PART {
        return Ok(vec![whole.into()]);
    }
    let chunks = whole[1..].chunks(PART - 1);
    let last = chunks.len() - 1;
    let part = |(i, chunk): (usize, &[u8])| {
        let kind = if i == last { LAST } else { MORE };
        Bytes::from([&[kind], chunk].concat())
    };
    Ok(chunks.enumerate().map(part).collect())
}

/// A note as one part.
///
/// # Errors
/// In words, when it cannot be encoded.
pub(crate) fn note(note: &Note) -> Result<Bytes, String> {
    let mut bytes = vec![NOTE];
    rmp_serde::encode::write(&mut bytes, note).map_err(|e| crate::error_chain(&e))?;
    Ok(bytes.into())
}

/// Messages of which only a part has arrived.
#[derive(Debug, Default)]
pub(crate) struct Parts(BTreeMap<(ServerId, Lane), BytesMut>);

impl Parts {
    /// A peer's session began or ended: what is left of the one before means nothing.
    pub(crate) fn forget(&mut self, peer: ServerId) {
        self.0.remove(&(peer, Lane::Order));
        self.0.remove(&(peer, Lane::Bulk));
    }

    /// Takes a part in; answers the message that it completes.
    ///
    /// # Errors
    /// In words: the session must end.
    pub(crate) fn take(
        &mut self,
        peer: ServerId,
        lane: Lane,
        mut part: Bytes,
    ) -> Result<Option<Message>, String> {
        if part.is_empty() || part.len() > MAX_FRAME_BYTES {
            return Err(format!("a part of {} bytes", part.len()));
        }
        let kind = part.split_to(1)[0];
        match kind {
            NOTE if part.len() > MAX_NOTE => Err(format!("a note of {} bytes", part.len())),
            NOTE => decode_note(&part).map(|note| Some(Message::Note(note))),
            MORE => {
                let so_far = self.0.entry((peer, lane)).or_default();
                if so_far.len() + part.len() > MAX_MESSAGE {
                    return Err(format!("a message of more than {MAX_MESSAGE} bytes"));
                }
                so_far.extend_from_slice(&part);
                Ok(None)
            }
            LAST => {
                let whole = match self.0.remove(&(peer, lane)) {
                    None => part,
                    Some(mut so_far) => {
                        so_far.extend_from_slice(&part);
                        so_far.freeze()
                    }
                };
                let frame = Frame::decode(&whole).map_err(|e| crate::error_chain(&e))?;
                if frame.lane() != lane {
                    return Err("a frame on the wrong lane".to_owned());
                }
                Ok(Some(Message::Frame(frame)))
            }
            other => Err(format!("a part of kind {other}, which this version does not know")),
        }
    }
}

fn decode_note(bytes: &[u8]) -> Result<Note, String> {
    rmp_serde::from_slice(bytes).map_err(|e| crate::error_chain(&e))
}

/// Takes in anything that a peer could send; for fuzzers.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz_part(bytes: &[u8]) {
    let mut parts = Parts::default();
    // Two parts: the first may leave something behind that the second meets.
    let half = bytes.len() / 2;
    for part in [&bytes[..half], &bytes[half..]] {
        let _ = parts.take(ServerId(1), Lane::Order, Bytes::copy_from_slice(part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos::{Command, Identity};

    fn forward(bytes: usize) -> Frame {
        Frame::Forward { hops: 1, commands: vec![Command(vec![7; bytes].into())] }
    }

    fn length(message: Option<Message>) -> usize {
        match message {
            Some(Message::Frame(Frame::Forward { commands, .. })) => commands[0].0.len(),
            other => panic!("{other:?} in place of a forward"),
        }
    }

    #[test]
    fn messages_of_any_size_arrive_whole() {
        let mut parts = Parts::default();
        for bytes in [0, 10, PART - 40, PART, 3 * PART + 5] {
            let cut = cut(&forward(bytes)).expect("it encodes");
            assert_eq!(cut.len() > 1, bytes >= PART, "{bytes}");
            let (last, before) = cut.split_last().expect("a part");
            for part in before {
                assert!(parts.take(ServerId(1), Lane::Order, part.clone()).expect("good").is_none());
                // Another peer's parts do not mix with these.
                let other = super::cut(&forward(4)).expect("it encodes").remove(0);
                assert_eq!(length(parts.take(ServerId(2), Lane::Order, other).expect("good")), 4);
            }
            assert_eq!(length(parts.take(ServerId(1), Lane::Order, last.clone()).expect("good")), bytes);
        }
    }

    #[test]
    fn what_makes_no_sense_ends_the_session() {
        let mut parts = Parts::default();
        let mut take = |bytes: &[u8]| parts.take(ServerId(1), Lane::Bulk, Bytes::copy_from_slice(bytes));
        for bad in [&b""[..], b"\x09", b"\x00\xff\xff", b"\x02\xc1", &[NOTE; MAX_NOTE + 2]] {
            assert!(take(bad).is_err(), "{bad:?}");
        }
        let forward = cut(&forward(1)).expect("it encodes").remove(0);
        assert!(take(&forward).is_err_and(|why| why.contains("lane")));
    }

    #[test]
    fn a_note_reads_back() {
        let change = Change::Add(Identity { server: ServerId(u64::MAX), disk: 7 });
        let sent = Note::Refused { change, why: ChangeError::NotReady(ServerId(3)) };
        let bytes = note(&sent).expect("it encodes");
        let read = Parts::default().take(ServerId(1), Lane::Order, bytes).expect("good");
        assert!(matches!(read, Some(Message::Note(read)) if read == sent));
    }

    #[test]
    fn noise_is_refused_without_a_panic() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..rng.usize(..80)).map(|_| rng.u8(..)).collect();
            if let Some(first) = bytes.first_mut() {
                *first %= 4;
            }
            fuzz_part(&bytes);
        }
    }
}
