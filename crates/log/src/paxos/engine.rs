//! The engine's thread: input into the driver, one turn, one sync, what follows from it; and again.
//!
//! Nothing here waits but the disk: sending does not, and the thread sleeps only when there is nothing to do. While the
//! disk takes long, `pulse` answers heartbeats.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use paxos::{Driver, Identity, ReadId, Refused, ServerId, Session};
use tokio::sync::oneshot;

use super::Hold;
use super::inbox::Request;
use super::membership::Changes;
use super::pending::{Pending, Probe};
use super::pulse::Pulse;
use super::records::Records;
use super::shared::Shared;
use super::states::States;
use super::wire::{Message, Note, Parts};
use crate::events::EventSender;
use crate::transport::{LinkEvent, LinkReceiver, Transport};
use crate::{Event, Index, LogError};

/// Bytes of commands that one turn takes from the inbox, and of frames from the links.
const TURN_BYTES: usize = 4 << 20;
/// Events of links that one turn takes.
const TURN_EVENTS: usize = 4096;
/// Bytes of commands proposed through others and not decided. The leader drops what is too much for it, silently,
/// so a node does not send it all that it has.
const FORWARD_BYTES: u64 = 1 << 20;
/// Commands that wait in `pending` to be proposed; the rest stays in the inbox.
const MOST_UNSENT: usize = 8192;

/// Somebody who waits for a read to be allowed.
pub(super) enum Reading {
    Barrier { done: oneshot::Sender<Result<Index, LogError>>, since_ms: u64 },
    Probe(Probe),
}

/// Everything that the thread works on, but the disk. It holds the lock except while it waits, for the disk or for
/// something to do; see `pulse` for who else takes it.
pub(crate) struct Engine {
    pub(super) me: Identity,
    pub(super) driver: Driver,
    pub(super) states: Arc<States>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) links: LinkReceiver,
    pub(super) shared: Arc<Shared>,
    pub(super) events: EventSender,
    pub(super) pending: Pending,
    pub(super) reading: BTreeMap<ReadId, Reading>,
    pub(super) reads_begun: u64,
    /// The probe under way.
    pub(super) probe: Option<(ReadId, Probe)>,
    pub(super) changes: Changes,
    pub(super) saved: Vec<(Index, oneshot::Sender<Result<(), LogError>>)>,
    pub(super) parts: Parts,
    pub(super) sessions: BTreeMap<ServerId, u64>,
    /// Who leads, as was seen with the last tick, and when it was heard of last.
    pub(super) leader: Option<ServerId>,
    pub(super) contact: Option<Instant>,
    pub(super) start: Instant,
    pub(super) timing: Timing,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) seal_after: Duration,
    pub(crate) barrier_patience: Duration,
    pub(crate) close_patience: Duration,
}

/// The thread: the engine and its disk.
pub(crate) struct Runner {
    pub(super) engine: Arc<Mutex<Engine>>,
    pub(super) records: Records,
    pub(super) pulse: Pulse,
    /// Dropped last: with it the directory is free.
    pub(super) hold: Arc<Hold>,
}

/// A panicking thread leaves nothing that another could go on with; the pulse then does no harm.
pub(super) fn lock(engine: &Mutex<Engine>) -> MutexGuard<'_, Engine> {
    engine.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner {
    /// Runs until the log is closed, or something fails.
    pub(crate) fn run(mut self) {
        {
            let engine = lock(&self.engine);
            engine.shared.inbox.wake_this_thread();
            engine.links.wake_this_thread();
        }
        let result = self.replay().and_then(|()| self.turns()).and_then(|()| self.finish());
        let Self { engine, records, pulse, hold } = self;
        // Nobody else has the engine from here on.
        pulse.stop();
        let engine =
            Arc::into_inner(engine).map(|engine| engine.into_inner().unwrap_or_else(PoisonError::into_inner));
        let Some(mut engine) = engine else { return };
        if let Err(error) = result {
            engine.stop(error);
        }
        let stopped = engine.shared.progress().stopped.clone();
        let reason = stopped.unwrap_or_else(|| "it was closed".to_owned());
        engine.changes.stop(&reason);
        // What came in since will not be looked at.
        engine.shared.inbox.stop(reason);
        let Engine { events, links, .. } = engine;
        // In this order: no more input, the file is closed, the stream ends, the directory is free.
        drop(links);
        drop(records);
        drop(events);
        drop(hold);
    }

    /// What is known to be decided, before anything from outside is looked at.
    fn replay(&mut self) -> Result<(), LogError> {
        self.act()?;
        lock(&self.engine).events.send(Event::Replayed);
        Ok(())
    }

    fn turns(&mut self) -> Result<(), LogError> {
        let mut quiet_since = Instant::now();
        let mut closing_since = None;
        loop {
            let busy = lock(&self.engine).take_input();
            self.act()?;
            let (due, timing) = {
                let engine = lock(&self.engine);
                if !engine.shared.inbox.is_open() {
                    let since = *closing_since.get_or_insert_with(Instant::now);
                    let done = engine.pending.is_empty() && !engine.shared.inbox.is_waiting();
                    if done || since.elapsed() > engine.timing.close_patience {
                        return Ok(());
                    }
                }
                (engine.driver.poll_timeout().saturating_sub(engine.now_ms()), engine.timing)
            };
            if busy {
                quiet_since = Instant::now();
                continue;
            }
            if !self.records.sealed() && quiet_since.elapsed() >= timing.seal_after {
                self.records.seal()?;
            }
            std::thread::park_timeout(Duration::from_millis(due.max(1)));
        }
    }

    /// Turn after turn, until nothing more follows from the input so far.
    ///
    /// # Errors
    /// The disk's: nothing may be done after that.
    fn act(&mut self) -> Result<(), LogError> {
        let mut engine = lock(&self.engine);
        while let Some(mut turn) = engine.driver.poll_turn() {
            for effect in turn.take_ahead() {
                engine.effect(effect)?;
            }
            drop(engine);
            let persisted = {
                let _slow = self.pulse.watch();
                turn.persist(&mut self.records)?
            };
            engine = lock(&self.engine);
            for effect in engine.driver.handle_persisted(persisted) {
                engine.effect(effect)?;
            }
            engine.settle_saved();
        }
        self.records.save_image(|| engine.driver.image(Clone::clone));
        engine.shared.progress().syncs = self.records.syncs();
        // A save that the driver had no use for (an older one) is settled all the same.
        engine.settle_saved();
        Ok(())
    }

    /// Writes what may have waited for company, so that the next start knows all that was handed over.
    fn finish(&mut self) -> Result<(), LogError> {
        let mut engine = lock(&self.engine);
        if let Some(turn) = engine.driver.poll_last_turn() {
            let persisted = turn.persist(&mut self.records)?;
            engine.driver.handle_persisted(persisted);
        }
        if !self.records.sealed() {
            self.records.seal()?;
        }
        for (peer, session) in std::mem::take(&mut engine.sessions) {
            engine.transport.reset(peer, session);
        }
        Ok(())
    }
}

impl Engine {
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn stop(&mut self, error: LogError) {
        let reason = crate::error_chain(&error);
        tracing::error!("the log has stopped: {reason}");
        self.shared.progress().stopped = Some(reason);
        self.events.send(Event::Stopped(Arc::new(error)));
    }
}

/// Input.
impl Engine {
    /// Takes in what waits, within the bounds of a turn. Whether anything did.
    pub(super) fn take_input(&mut self) -> bool {
        let mut busy = false;
        let (mut bytes, mut events) = (0, 0);
        while bytes < TURN_BYTES && events < TURN_EVENTS {
            let Some(event) = self.links.try_recv() else { break };
            bytes += self.link_event(event);
            events += 1;
        }
        busy |= events > 0;
        while let Some(request) = self.shared.inbox.take_request() {
            self.request(request);
            busy = true;
        }
        let now = self.now_ms();
        if now >= self.driver.poll_timeout() {
            self.driver.handle_time(now);
            self.tick(now);
        }
        if self.pending.unsent() < MOST_UNSENT {
            for payload in self.shared.inbox.take(TURN_BYTES) {
                self.pending.push(payload);
                busy = true;
            }
        }
        self.look_for_losses(now);
        busy | self.propose(now)
    }

    /// Answers the bytes that it held.
    fn link_event(&mut self, event: LinkEvent) -> usize {
        match event {
            LinkEvent::Up { peer, session } => {
                self.parts.forget(peer);
                self.sessions.insert(peer, session);
                self.driver.handle_link_up(peer, Session(session));
                0
            }
            LinkEvent::Down { peer, session } => {
                if self.sessions.get(&peer) == Some(&session) {
                    self.parts.forget(peer);
                    self.sessions.remove(&peer);
                }
                self.driver.handle_link_down(peer, Session(session));
                0
            }
            LinkEvent::Frame { peer, session, lane, frame } => {
                let bytes = frame.len();
                // Of a session that is not up, nothing is heard.
                if self.sessions.get(&peer) == Some(&session) {
                    if self.leader == Some(peer) {
                        self.contact = Some(Instant::now());
                    }
                    match self.parts.take(peer, lane, frame) {
                        Ok(None) => {}
                        Ok(Some(Message::Frame(frame))) => {
                            self.driver.handle_frame(peer, Session(session), frame);
                        }
                        Ok(Some(Message::Note(note))) => self.note(note),
                        Err(why) => self.cut_off(peer, session, &why),
                    }
                }
                bytes
            }
        }
    }

    fn cut_off(&mut self, peer: ServerId, session: u64, why: &str) {
        tracing::warn!("server {peer} is cut off: it sent {why}");
        self.shared.cluster().refused.insert(peer, format!("it sent {why}"));
        self.sessions.remove(&peer);
        self.parts.forget(peer);
        self.driver.handle_link_down(peer, Session(session));
        self.transport.reset(peer, session);
    }

    fn request(&mut self, request: Request) {
        let now = self.now_ms();
        match request {
            Request::Barrier(done) => {
                let read = self.next_read();
                match self.driver.handle_read(read) {
                    Ok(()) => {
                        self.reading.insert(read, Reading::Barrier { done, since_ms: now });
                    }
                    // Who asked may have lost interest; so in all answers here.
                    Err(Refused::Reads { count }) => drop(done.send(Err(LogError::Full { queued: count }))),
                    Err(other) => {
                        drop(done.send(Err(LogError::NoMajority { waited_ms: 0, cause: other.to_string() })));
                    }
                }
            }
            Request::Saved { index, done } => {
                self.driver.handle_checkpoint(index);
                self.saved.push((index, done));
            }
            Request::Change { change, done } => self.changes.add(change, done, now),
        }
    }

    pub(super) fn next_read(&mut self) -> ReadId {
        self.reads_begun += 1;
        ReadId(self.reads_begun)
    }

    /// What is due every now and then.
    fn tick(&mut self, now: u64) {
        let patience = u64::try_from(self.timing.barrier_patience.as_millis()).unwrap_or(u64::MAX);
        let late = |reading: &mut Reading| match reading {
            Reading::Barrier { done, since_ms } => {
                now.saturating_sub(*since_ms) > patience || done.is_closed()
            }
            Reading::Probe(_) => false,
        };
        let late: Vec<Reading> =
            self.reading.extract_if(.., |_, reading| late(reading)).map(|r| r.1).collect();
        for reading in late {
            if let Reading::Barrier { done, .. } = reading {
                let cause = "no leader answered".to_owned();
                drop(done.send(Err(LogError::NoMajority { waited_ms: patience, cause })));
            }
        }
        self.advance_changes(now);
        self.publish_cluster();
    }

    /// Hands the driver what it takes. Whether it took any.
    fn propose(&mut self, now: u64) -> bool {
        if self.pending.unsent() == 0 || self.driver.leader_hint().is_none() {
            // On a way that is only guessed, a command would soon be in doubt.
            return false;
        }
        let leads = self.driver.route().leader() == Some(self.me.server);
        let mut any = false;
        while let Some(payload) = self.pending.next() {
            if !leads && self.pending.under_way() > FORWARD_BYTES {
                break;
            }
            if self.driver.handle_propose(payload).is_err() {
                // Nobody leads, or there is too much: the next tick or decision tries again.
                break;
            }
            self.pending.sent(now);
            any = true;
        }
        any
    }

    fn look_for_losses(&mut self, now: u64) {
        let doubt = self.pending.doubt(self.driver.route(), now);
        let awaited = self.probe.is_some_and(|(_, probe)| self.pending.is_awaited(probe, now));
        let Some(probe) = doubt.filter(|_| !awaited) else { return };
        let read = self.next_read();
        if let Some((old, _)) = self.probe.take() {
            self.reading.remove(&old);
        }
        if self.driver.handle_end(read).is_ok() {
            self.reading.insert(read, Reading::Probe(probe));
            self.probe = Some((read, probe));
        }
    }
}

/// Changes of the voting servers.
impl Engine {
    fn advance_changes(&mut self, now: u64) {
        let present = self.driver.image(|image| image.configuration().cloned());
        for change in self.changes.advance(present.as_ref(), now) {
            match self.driver.route().leader() {
                Some(leader) if leader == self.me.server => {
                    if let Err(why) = change.propose(&mut self.driver, self.me) {
                        self.changes.refused(change, &why);
                    }
                }
                _ => self.pass_on(&Note::Ask { hops: 0, change }),
            }
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Refused { change, why } => self.changes.refused(change, &why),
            Note::Ask { hops, change } => match self.driver.route().leader() {
                Some(leader) if leader == self.me.server => {
                    if let Err(why) = change.propose(&mut self.driver, self.me) {
                        self.tell_all(&Note::Refused { change, why });
                    }
                }
                _ if hops < 2 => self.pass_on(&Note::Ask { hops: hops + 1, change }),
                _ => {}
            },
        }
    }

    /// To whoever knows the leader.
    fn pass_on(&self, note: &Note) {
        if let Some((peer, Session(session))) = self.driver.route().via() {
            self.send_note(peer, session, note);
        }
    }

    /// A refusal goes to everybody: whoever waits for that change knows it, and others do not mind.
    fn tell_all(&self, note: &Note) {
        for (peer, session) in &self.sessions {
            self.send_note(*peer, *session, note);
        }
    }
}
