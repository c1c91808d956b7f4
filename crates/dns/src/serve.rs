//! The data threads: one socket each, whole batches, no await.

use std::array::from_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sys::mmsg::{BATCH, Inbox, Outbox};
use tokio::sync::mpsc;

use crate::Shared;
use crate::fast::{self, Outcome, Plain};
use crate::later::{Later, Why};
use crate::lookup::WhenClosed;
use crate::metrics::{Dropped, Tally};
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
        let read: [Option<Read>; BATCH] = from_fn(|at| {
            let datagram = inbox.get(at)?;
            Some(match datagram.from {
                Some(_) if datagram.truncated => Read::Oversized,
                Some(from) => Read::Done(from, fast::read(datagram.bytes, &mut questions[at])),
                // Not a datagram but the end of the socket.
                None => return None,
            })
        });
        let found: [Option<Plain<'_>>; BATCH] = from_fn(|at| match read[at] {
            Some(Read::Done(from, Ok(()))) => {
                Some(fast::find(&shared.responder, &zone, &questions[at], from.ip()))
            }
            _ => None,
        });
        for (at, datagram) in inbox.iter().enumerate() {
            let turn = fastrand::u32(..);
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
            let Some(slot) = outbox.slot() else { break };
            let plain = found[at].as_ref();
            match plain.map(|plain| plain.write(&shared.responder, &zone, datagram.bytes, turn, slot)) {
                Some(Outcome::Answered { length, code, truncated }) => {
                    outbox.push(length, Some(from));
                    tally.fast(code, truncated);
                }
                _ => self.slowly(&zone, datagram.bytes, from, turn, outbox, tally),
            }
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

    fn slowly(
        &self,
        zone: &Zone,
        packet: &[u8],
        from: SocketAddr,
        turn: u32,
        out: &mut Outbox,
        tally: &mut Tally,
    ) {
        tally.slow += 1;
        let query =
            Query { packet, transport: Transport::Udp, from: from.ip(), when_closed: WhenClosed::Open };
        let why = match slow::answer(&self.shared.responder, zone, query, turn) {
            Verdict::Reply { bytes, code, truncated } => {
                out.push_bytes(&bytes, Some(from));
                return tally.answered(code, truncated);
            }
            Verdict::Drop => return self.shared.metrics.drop_one(Dropped::Unanswerable),
            Verdict::Open { service } => Why::Open(service),
            Verdict::Forward => Why::Forward,
        };
        let later = Later { packet: packet.into(), from, socket: self.socket.clone(), why };
        if self.later.try_send(later).is_err() {
            self.shared.metrics.drop_one(Dropped::Overload);
        }
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
