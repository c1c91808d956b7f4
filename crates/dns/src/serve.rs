//! The data threads: one socket each, whole batches, no await.

use std::array::from_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sys::mmsg::{BATCH, Inbox, Outbox};
use tokio::sync::mpsc;

use crate::Shared;
use crate::fast::{self, Outcome, Plain};
use crate::guard::Now;
use crate::guard::limit;
use crate::later::{Later, Why};
use crate::lookup::{Found, WhenClosed};
use crate::metrics::{Dropped, Tally};
use crate::responder::Responder;
use crate::slow::{self, Query, Transport, Verdict};
use crate::wire::question::{Question, Unusual};
use crate::zone::Zone;

/// Longest query that is read. One with a name of 255 bytes and a handful of options has 400.
const LONGEST_QUERY: usize = 1280;
/// How long a thread without queries sleeps before it looks whether it is time to leave.
const LOOK_UP: Duration = Duration::from_secs(1);

/// One data thread.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) socket: Arc<UdpSocket>,
    pub(crate) later: mpsc::Sender<Later>,
    pub(crate) leaving: Arc<AtomicBool>,
}

impl Worker {
    /// Answers until told to leave.
    pub(crate) fn run(self) -> io::Result<()> {
        self.socket.set_read_timeout(Some(LOOK_UP))?;
        let mut inbox = Inbox::new(BATCH, LONGEST_QUERY);
        let mut outbox = Outbox::new(BATCH, usize::from(self.shared.responder.max_udp));
        let questions = vec![Question::default(); BATCH].into();
        let mut scratch = Scratch { questions, tally: Tally::default() };
        while !self.leaving.load(Ordering::Relaxed) {
            match inbox.receive(&*self.socket) {
                Ok(_) => {
                    self.batch(&inbox, &mut outbox, &mut scratch);
                    self.send(&mut outbox);
                    scratch.tally.flush(&self.shared.metrics);
                }
                Err(cause) if is_pause(&cause) => continue,
                // ICMP errors and the like: about some datagram, not about the socket.
                Err(cause) => tracing::debug!(%cause, "receive DNS queries"),
            }
        }
        Ok(())
    }

    /// Answers a batch, step by step for all of it at once.
    fn batch(&self, inbox: &Inbox, outbox: &mut Outbox, scratch: &mut Scratch) {
        let shared = &*self.shared;
        let zone = shared.zone.load();
        let Scratch { questions, tally } = scratch;
        let now = Now::read();
        let read: [Option<Read>; BATCH] = from_fn(|at| {
            let datagram = inbox.get(at)?;
            Some(match datagram.from {
                Some(_) if datagram.truncated => Read::Oversized,
                Some(from) => Read::Done(from, fast::read(datagram.bytes, &mut questions[at])),
                // Not a datagram but the end of the socket.
                None => return None,
            })
        });
        let judged: [Option<Judged<'_>>; BATCH] = from_fn(|at| match read[at] {
            Some(Read::Done(from, Ok(()))) => {
                Some(Judged::new(&shared.responder, &zone, &questions[at], from.ip(), now))
            }
            _ => None,
        });
        for (at, datagram) in inbox.iter().enumerate() {
            let from = match read[at] {
                None => continue,
                Some(Read::Oversized) => {
                    shared.metrics.drop_one(Dropped::Oversized);
                    continue;
                }
                Some(Read::Done(_, Err(Unusual::Drop))) => {
                    shared.metrics.drop_one(Dropped::Unanswerable);
                    continue;
                }
                Some(Read::Done(from, _)) => from,
            };
            let asking = Asking { packet: datagram.bytes, from, now, turn: fastrand::u32(..) };
            match &judged[at] {
                Some(judged) => self.plainly(judged, &zone, asking, outbox, tally),
                None => self.oddly(&zone, asking, outbox, tally),
            }
        }
    }

    fn plainly(
        &self,
        judged: &Judged<'_>,
        zone: &Zone,
        asking: Asking<'_>,
        out: &mut Outbox,
        tally: &mut Tally,
    ) {
        let responder = &self.shared.responder;
        let Some(slot) = out.slot() else { return };
        let (outcome, slips) = match judged {
            Judged::Answer(plain, found) => {
                (plain.write(found, responder, zone, asking.packet, asking.turn, slot), false)
            }
            Judged::Slip(plain) => (plain.write_slip(responder, asking.packet, slot), true),
            Judged::Drop => return self.shared.metrics.drop_one(Dropped::RateLimited),
        };
        match outcome {
            Outcome::Answered { length, code, truncated } => {
                out.push(length, Some(asking.from));
                tally.fast(code, truncated, slips);
            }
            _ if slips => {}
            _ => self.slowly(zone, asking, out, tally),
        }
    }

    /// A query that the fast path does not read. Whether it carries a cookie is only looked at beyond the rate.
    fn oddly(&self, zone: &Zone, asking: Asking<'_>, out: &mut Outbox, tally: &mut Tally) {
        let responder = &self.shared.responder;
        let limited = match judge(responder, zone.is_local(asking.from.ip()), asking.from.ip(), asking.now) {
            limit::Verdict::Answer => None,
            verdict => slow::limited(responder, asking.query(), verdict == limit::Verdict::Slip),
        };
        match limited {
            None => self.slowly(zone, asking, out, tally),
            Some(Verdict::Reply { bytes, code, truncated }) => {
                out.push_bytes(&bytes, Some(asking.from));
                tally.slow(code, truncated, true);
            }
            Some(_) => self.shared.metrics.drop_one(Dropped::RateLimited),
        }
    }

    fn send(&self, outbox: &mut Outbox) {
        let metrics = &self.shared.metrics;
        while !outbox.is_empty() {
            match outbox.send(&*self.socket) {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if is_pause(&cause) => {
                    (0..outbox.len()).for_each(|_| metrics.drop_one(Dropped::NotSent));
                    outbox.clear();
                }
                Err(_) => metrics.drop_one(Dropped::NotSent),
                Ok(_) => {}
            }
        }
    }

    fn slowly(&self, zone: &Zone, asking: Asking<'_>, out: &mut Outbox, tally: &mut Tally) {
        let Asking { packet, from, turn, .. } = asking;
        let why = match slow::answer(&self.shared.responder, zone, asking.query(), turn) {
            Verdict::Reply { bytes, code, truncated } => {
                out.push_bytes(&bytes, Some(from));
                return tally.slow(code, truncated, false);
            }
            Verdict::Drop => return self.shared.metrics.drop_one(Dropped::Unanswerable),
            Verdict::Open { service } => Why::Open(service),
            Verdict::Forward => Why::Forward,
        };
        tally.slow_later();
        let later = Later { packet: packet.into(), from, socket: self.socket.clone(), why };
        if self.later.try_send(later).is_err() {
            self.shared.metrics.drop_one(Dropped::Overload);
        }
    }
}

/// One query of a batch.
#[derive(Debug, Clone, Copy)]
struct Asking<'p> {
    packet: &'p [u8],
    from: SocketAddr,
    now: Now,
    /// Random: where its answer starts to turn.
    turn: u32,
}

impl<'p> Asking<'p> {
    fn query(&self) -> Query<'p> {
        let Asking { packet, from, now, .. } = *self;
        Query { packet, transport: Transport::Udp, from: from.ip(), when_closed: WhenClosed::Open, now }
    }
}

/// What becomes of a plain query. One beyond the rate costs no more than to say so: nothing is looked up for it.
#[derive(Debug)]
pub(crate) enum Judged<'z> {
    /// It is answered from what was found.
    Answer(Plain<'z>, Found<'z>),
    /// It is told to come back in a way that proves who asks.
    Slip(Plain<'z>),
    /// Silence.
    Drop,
}

impl<'z> Judged<'z> {
    #[inline]
    pub(crate) fn new(
        responder: &Responder,
        zone: &'z Zone,
        question: &'z Question,
        from: IpAddr,
        now: Now,
    ) -> Judged<'z> {
        let plain = Plain::new(responder, zone, question, from, now);
        match judge(responder, plain.is_proven(), from, now) {
            limit::Verdict::Answer => {
                let found = plain.find(responder, zone);
                Judged::Answer(plain, found)
            }
            limit::Verdict::Slip => Judged::Slip(plain),
            limit::Verdict::Drop => Judged::Drop,
        }
    }
}

fn judge(responder: &Responder, is_proven: bool, from: IpAddr, now: Now) -> limit::Verdict {
    match is_proven {
        true => limit::Verdict::Answer,
        false => responder.guard.judge(from, now),
    }
}

/// What a thread keeps from one batch to the next, so that no batch allocates.
struct Scratch {
    questions: Box<[Question]>,
    tally: Tally,
}

/// What became of a datagram in the first step.
enum Read {
    /// Longer than any query.
    Oversized,
    /// From there; plain, or why not.
    Done(SocketAddr, Result<(), Unusual>),
}

fn is_pause(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
