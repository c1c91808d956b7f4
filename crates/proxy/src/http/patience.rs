//! How long a client may take, judged at regular looks.
//!
//! Counters are compared between looks instead of reading the clock on every byte. A head is timed from its
//! first byte however it trickles; a body and an answer only while nothing moves.

use std::time::Duration;

use relay::Local;
use relay::limit::Held;

use super::two::SEND_BUFFER;

/// Looks after which such a client is closed when memory is short.
const LOOKS_WHEN_SHORT: u32 = 2;

/// What a look finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Heads that came in, or HTTP/2 requests.
    pub(crate) heads: u64,
    /// A head has begun and is not complete; also true before the first one.
    pub(crate) in_head: bool,
    /// Requests being answered.
    pub(crate) in_flight: u32,
    /// Somebody waits for the rest of a body.
    pub(crate) wants_body: bool,
    /// The socket takes no more of the answer.
    pub(crate) write_blocked: bool,
    /// Bytes read.
    pub(crate) read: u64,
    /// Bytes written.
    pub(crate) written: u64,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Wait,
    /// Answer 408: the head takes too long.
    SlowHead,
    /// Answer 408: the body takes too long.
    SlowBody,
    /// Close: the client does not read its answer.
    SlowReader,
    /// Close in good order: nothing was asked for a while.
    Idle,
}

/// Limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// For a whole head.
    pub(crate) head: Duration,
    /// For the next byte of a body, and for the next byte of an answer to be taken.
    pub(crate) stall: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
    /// Bytes in a second below which a body, or an answer that waits, does not move.
    pub(crate) rate: u64,
}

/// Judges one connection.
#[derive(Debug)]
pub(crate) struct Patience {
    limits: Limits,
    last: Seen,
    /// Looks in a row that found each complaint unchanged.
    head: u32,
    body: u32,
    write: u32,
    idle: u32,
    /// Counts what is kept while the client takes nothing.
    kept: Option<Held>,
}

impl Patience {
    /// A judge that has seen nothing.
    pub(crate) fn new(limits: Limits) -> Patience {
        Patience { limits, last: Seen::default(), head: 0, body: 0, write: 0, idle: 0, kept: None }
    }

    /// Time between looks.
    pub(crate) fn interval(&self) -> Duration {
        let shortest = self.limits.head.min(self.limits.stall).min(self.limits.idle);
        (shortest / 2).max(Duration::from_millis(10))
    }

    /// Looks once, and counts what the client has us keep. When that is too much with all the others', it goes sooner.
    pub(crate) fn look(&mut self, seen: Seen, local: &Local) -> Verdict {
        self.kept = seen.write_blocked.then(|| self.kept.take().unwrap_or_else(|| local.hold(SEND_BUFFER)));
        self.judge(seen, !local.has_memory())
    }

    fn judge(&mut self, seen: Seen, is_short: bool) -> Verdict {
        let (last, interval) = (std::mem::replace(&mut self.last, seen), self.interval());
        let count = |looks: &mut u32, still: bool| {
            *looks = if still { *looks + 1 } else { 0 };
            interval * *looks
        };
        let same_heads = seen.heads == last.heads;
        // What one interval must bring, at least.
        let least = self.limits.rate.saturating_mul(interval.as_millis() as u64) / 1000;
        let stands = |now: u64, before: u64| now.saturating_sub(before) <= least;
        let head = count(&mut self.head, seen.in_head && same_heads);
        let body = count(&mut self.body, seen.wants_body && stands(seen.read, last.read));
        let write = count(&mut self.write, seen.write_blocked && stands(seen.written, last.written));
        let resting = !seen.in_head && seen.in_flight == 0 && last.in_flight == 0;
        let idle = count(&mut self.idle, resting && same_heads);
        match () {
            () if write >= self.limits.stall => Verdict::SlowReader,
            () if is_short && self.write >= LOOKS_WHEN_SHORT => Verdict::SlowReader,
            () if body >= self.limits.stall => Verdict::SlowBody,
            () if head >= self.limits.head && seen.in_flight == 0 => Verdict::SlowHead,
            () if idle >= self.limits.idle => Verdict::Idle,
            () => Verdict::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> Patience {
        let seconds = Duration::from_secs;
        Patience::new(Limits { head: seconds(10), stall: seconds(30), idle: seconds(60), rate: 10 })
    }

    /// Looks until there is a verdict; returns it with the seconds that passed.
    fn verdict(seen: impl FnMut(u64) -> Seen) -> (Verdict, u64) {
        verdict_when(false, seen)
    }

    fn verdict_when(is_short: bool, mut seen: impl FnMut(u64) -> Seen) -> (Verdict, u64) {
        let mut patience = patience();
        for look in 1..1000 {
            match patience.judge(seen(look), is_short) {
                Verdict::Wait => {}
                verdict => return (verdict, look * patience.interval().as_secs()),
            }
        }
        (Verdict::Wait, 0)
    }

    #[test]
    fn a_trickling_head_is_cut_off() {
        let dripping = |look| Seen { in_head: true, read: look, ..Seen::default() };
        assert_eq!(verdict(dripping), (Verdict::SlowHead, 10));
    }

    #[test]
    fn a_quiet_connection_is_closed_in_good_order() {
        let quiet = |_| Seen { heads: 3, ..Seen::default() };
        let (verdict, after) = verdict(quiet);
        assert_eq!(verdict, Verdict::Idle);
        assert!((60..=70).contains(&after));
    }

    #[test]
    fn a_long_answer_is_waited_for() {
        let polling = |_| Seen { heads: 1, in_flight: 1, ..Seen::default() };
        assert_eq!(verdict(polling).0, Verdict::Wait);
    }

    #[test]
    fn a_body_that_moves_is_waited_for_and_one_that_stops_is_not() {
        let moving =
            |look| Seen { heads: 1, in_flight: 1, wants_body: true, read: look * 100, ..Seen::default() };
        assert_eq!(verdict(moving).0, Verdict::Wait);
        let still = |_| Seen { heads: 1, in_flight: 1, wants_body: true, read: 9, ..Seen::default() };
        assert_eq!(verdict(still).0, Verdict::SlowBody);
        // Five seconds between looks: fifty bytes are the least.
        let trickling =
            |look| Seen { heads: 1, in_flight: 1, wants_body: true, read: look * 50, ..Seen::default() };
        assert_eq!(verdict(trickling).0, Verdict::SlowBody);
    }

    #[test]
    fn a_client_that_does_not_read_is_cut_off() {
        let stuck = |_| Seen { heads: 1, in_flight: 1, write_blocked: true, written: 5, ..Seen::default() };
        assert_eq!(verdict(stuck), (Verdict::SlowReader, 30));
        assert_eq!(verdict_when(true, stuck), (Verdict::SlowReader, 10), "sooner when memory is short");
        let sipping = |look| Seen {
            heads: 1,
            in_flight: 1,
            write_blocked: true,
            written: look * 50,
            ..Seen::default()
        };
        assert_eq!(verdict(sipping).0, Verdict::SlowReader);
    }
}
