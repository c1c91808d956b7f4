//! What one HTTP/2 connection may have done in a go, so that the others of its thread are not kept waiting.
//!
//! A flood of small frames costs the server more than the client, and h2 reads as long as there is anything to read. So
//! frames are counted before h2 sees them: a turn ends after so many bytes, where every frame counts for what it costs
//! beside its bytes. A connection that goes on with frames that carry nothing has its next turn later, and is closed when
//! there is no end to them.

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Bytes of a turn.
const TURN: usize = 32 * 1024;
/// What a frame stands for: some sixty in a turn,
const FRAME: usize = 512;
/// and one that begins a request: some twenty.
const REQUEST: usize = 1536;
/// Streams that go on in a turn, and how long they may take together.
pub(super) const MOST_STREAMS: usize = 32;
pub(super) const STREAMS_TIME: Duration = Duration::from_micros(250);
/// So many frames that carry nothing in one turn are no accident: then others come first for a while.
const MOST_BARE: u32 = 32;
const REST: Duration = Duration::from_millis(1);
/// So many within a second are an attack. Who measures the way to a peer sends a ping for each time there and back.
const MOST_BARE_A_SECOND: u32 = 10_000;

/// Length of the preface, which stands before the first frame (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// Length of a frame's head (RFC 9113 section 4.1).
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;

/// Follows the frames of a connection from its first byte on.
#[derive(Debug)]
pub(crate) struct Frames {
    /// The beginning of a frame's head, and how much of it is here.
    head: [u8; HEAD],
    begun: usize,
    /// Bytes that belong to the frame at hand.
    left: usize,
}

/// What was found in some bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Bytes that may be handed on.
    pub(crate) pass: usize,
    /// What they cost.
    pub(crate) cost: usize,
    /// Frames among them that carry nothing.
    pub(crate) bare: u32,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames { head: [0; HEAD], begun: 0, left: PREFACE }
    }
}

impl Frames {
    /// Goes through `bytes` until they have cost `most`, and to the end of the frame that did.
    pub(crate) fn follow(&mut self, bytes: &[u8], most: usize) -> Found {
        let mut found = Found::default();
        while found.pass < bytes.len() {
            let rest = &bytes[found.pass..];
            if self.left > 0 {
                let count = self.left.min(rest.len());
                self.left -= count;
                found.pass += count;
                found.cost += count;
                continue;
            }
            if self.begun == 0 && found.cost >= most {
                break;
            }
            let count = (HEAD - self.begun).min(rest.len());
            self.head[self.begun..self.begun + count].copy_from_slice(&rest[..count]);
            self.begun += count;
            found.pass += count;
            if self.begun == HEAD {
                self.begun = 0;
                self.enter(&mut found);
            }
        }
        found
    }

    fn enter(&mut self, found: &mut Found) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        found.cost += if kind == HEADERS { REQUEST } else { FRAME };
        // A window is opened for every part of an answer, so that one that is taken fast brings many.
        found.bare += match kind {
            HEADERS | WINDOW_UPDATE => 0,
            DATA => u32::from(self.left == 0 && flags & END_STREAM == 0),
            _ => 1,
        };
    }
}

/// The turn of a connection.
#[derive(Debug, Default)]
pub(super) struct Turn {
    frames: RefCell<Frames>,
    spent: Cell<usize>,
    bare: Cell<u32>,
    /// It has more to do, and no turn.
    waits: Cell<bool>,
    rest: RefCell<Option<Pin<Box<Sleep>>>>,
    second: Cell<Option<Instant>>,
    bare_in_second: Cell<u32>,
}

impl Turn {
    /// Begins anew, unless the connection rests; true when it waited to read more.
    pub(super) fn begin(&self, cx: &mut Context<'_>) -> bool {
        self.waits.set(false);
        let mut rest = self.rest.borrow_mut();
        if rest.as_mut().is_some_and(|rest| rest.as_mut().poll(cx).is_pending()) {
            return false;
        }
        *rest = None;
        self.bare.set(0);
        self.spent.replace(0) >= TURN
    }

    /// Whether there may be read; where not, there will be.
    pub(super) fn may_read(&self) -> bool {
        let may = self.spent.get() < TURN;
        self.waits.set(self.waits.get() || !may);
        may
    }

    /// Counts what came; how much of it is for this turn.
    pub(super) fn take(&self, bytes: &[u8]) -> usize {
        let spent = self.spent.get();
        let found = self.frames.borrow_mut().follow(bytes, TURN.saturating_sub(spent).max(1));
        self.spent.set(spent + found.cost);
        if found.bare > 0 {
            self.bare.set(self.bare.get() + found.bare);
            self.count(found.bare);
        }
        found.pass
    }

    fn count(&self, bare: u32) {
        let now = Instant::now();
        if self.second.get().is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            self.second.set(Some(now));
            self.bare_in_second.set(0);
        }
        self.bare_in_second.set(self.bare_in_second.get() + bare);
    }

    /// There is more to do than this turn has room for.
    pub(super) fn wants_more(&self) {
        self.waits.set(true);
    }

    /// True when there is no end to frames that carry nothing.
    pub(super) fn is_abused(&self) -> bool {
        self.bare_in_second.get() > MOST_BARE_A_SECOND
    }

    /// The turn is over: arranges for the next one where there is more to do.
    pub(super) fn end(&self, cx: &mut Context<'_>) {
        if !self.waits.get() {
            return;
        }
        let mut rest = self.rest.borrow_mut();
        if rest.is_some() {
            return;
        }
        if self.bare.get() >= MOST_BARE {
            let mut pause = Box::pin(sleep(REST));
            // It takes note of who is to be woken.
            let _ = pause.as_mut().poll(cx);
            *rest = Some(pause);
        } else {
            // The same; it comes behind all that has come meanwhile for others.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [_, _, _, _, _, high, middle, low] = (length as u64).to_be_bytes();
        [&[high, middle, low, kind, flags, 0, 0, 0, 1][..], &vec![7; length]].concat()
    }

    #[test]
    fn small_frames_end_a_turn_and_large_ones_do_not() {
        let flood = [vec![0; PREFACE], frame(6, 0, 8).repeat(1000)].concat();
        let found = Frames::default().follow(&flood, TURN);
        assert_eq!((found.pass - PREFACE) % 17, 0, "at the end of a frame");
        assert!((60..70).contains(&found.bare), "{found:?}");
        let bulk = [vec![0; PREFACE], frame(DATA, 0, 16_000), frame(DATA, 1, 0)].concat();
        let found = Frames::default().follow(&bulk, TURN);
        assert_eq!((found.pass, found.bare), (bulk.len(), 0));
        let requests = [vec![0; PREFACE], frame(HEADERS, 5, 30).repeat(16)].concat();
        assert_eq!(Frames::default().follow(&requests, TURN).pass, requests.len(), "sixteen at once");
    }

    #[test]
    fn windows_and_ends_carry_something_and_nothing_does_not() {
        let of = |frame: Vec<u8>| Frames::default().follow(&[vec![0; PREFACE], frame].concat(), TURN).bare;
        assert_eq!(of(frame(WINDOW_UPDATE, 0, 4)), 0);
        assert_eq!(of(frame(DATA, END_STREAM, 0)), 0);
        assert_eq!(of(frame(DATA, 0, 0)), 1);
        assert_eq!(of(frame(4, 0, 6)), 1);
    }

    #[tokio::test]
    async fn who_has_had_its_turn_has_another_one() {
        let turn = std::rc::Rc::new(Turn::default());
        let flood = [vec![0; PREFACE], frame(HEADERS, 5, 30).repeat(100)].concat();
        let (mut left, mut turns) = (&flood[..], 0);
        std::future::poll_fn(|cx| {
            turns += 1;
            turn.begin(cx);
            while !left.is_empty() && turn.may_read() {
                left = &left[turn.take(left)..];
            }
            turn.end(cx);
            if left.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        assert!((4..7).contains(&turns), "{turns}");
        assert!(!turn.is_abused());
    }
}
