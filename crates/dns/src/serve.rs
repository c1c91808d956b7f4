//! The data threads: one socket each, whole batches, no await.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sys::mmsg::{BATCH, Inbox, Outbox};
use tokio::sync::mpsc;

use crate::Shared;
use crate::fast::{self, Outcome};
use crate::later::{Later, Why};
use crate::lookup::WhenClosed;
use crate::metrics::{Dropped, Tally};
use crate::slow::{self, Query, Transport, Verdict};
use crate::wire::question::Question;
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
        let mut scratch = Scratch { question: Question::default(), tally: Tally::default() };
        while !self.leaving.load(Ordering::Relaxed) {
            match inbox.receive(&*self.socket) {
                Ok(_) => self.batch(&inbox, &mut outbox, &mut scratch),
                Err(cause) if is_pause(&cause) => continue,
                // ICMP errors and the like: about some datagram, not about the socket.
                Err(cause) => tracing::debug!(%cause, "receive DNS queries"),
            }
        }
        Ok(())
    }

    fn batch(&self, inbox: &Inbox, outbox: &mut Outbox, scratch: &mut Scratch) {
        let metrics = &self.shared.metrics;
        let zone = self.shared.zone.load();
        for datagram in inbox.iter() {
            match datagram.from {
                Some(_) if datagram.truncated => metrics.drop_one(Dropped::Oversized),
                Some(from) => self.datagram(&zone, datagram.bytes, from, outbox, scratch),
                // Not a datagram but the end of the socket.
                None => {}
            }
        }
        drop(zone);
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
        scratch.tally.flush(metrics);
    }

    fn datagram(
        &self,
        zone: &Zone,
        packet: &[u8],
        from: SocketAddr,
        out: &mut Outbox,
        scratch: &mut Scratch,
    ) {
        let Some(slot) = out.slot() else { return };
        let (responder, turn) = (&self.shared.responder, fastrand::u32(..));
        match fast::answer(responder, zone, packet, from.ip(), turn, &mut scratch.question, slot) {
            Outcome::Answered { length, code, truncated } => {
                out.push(length, Some(from));
                scratch.tally.fast += 1;
                scratch.tally.answered(u16::from(code), truncated);
            }
            Outcome::Slow => {
                scratch.tally.slow += 1;
                self.slowly(zone, packet, from, turn, out, scratch);
            }
            Outcome::Drop => self.shared.metrics.drop_one(Dropped::Unanswerable),
        }
    }

    fn slowly(
        &self,
        zone: &Zone,
        packet: &[u8],
        from: SocketAddr,
        turn: u32,
        out: &mut Outbox,
        scratch: &mut Scratch,
    ) {
        let query =
            Query { packet, transport: Transport::Udp, from: from.ip(), when_closed: WhenClosed::Open };
        let why = match slow::answer(&self.shared.responder, zone, query, turn) {
            Verdict::Reply { bytes, code, truncated } => {
                out.push_bytes(&bytes, Some(from));
                return scratch.tally.answered(code, truncated);
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

struct Scratch {
    question: Question,
    tally: Tally,
}

fn is_pause(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
