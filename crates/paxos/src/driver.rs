//! The driver: one server's part in the order.

use std::collections::BTreeMap;

use bytes::Bytes;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::errors::ConfigError;
use omnipaxos::messages::Message;

use crate::engine::{Engine, solo};
use crate::frame::{Frame, cost_of, entry_cost};
use crate::journal::Store;
use crate::link::Link;
use crate::pull::Pull;
use crate::reads::{Asker, Reads, Wants};
use crate::turn::{Effect, Persisted, PieceRead, ReadId, Session, Turn};
use crate::watch::Watch;
use crate::write::Write;
use crate::{Command, Configuration, Identity, Image, Index, ServerId, Setup};

/// One server's part in the agreed order.
///
/// Kinds of method, in the order in which a host uses them:
///
/// - *making one*: [`found`](Self::found) a cluster, [`join`](Self::join) one with an empty disk, or
///   [`open`](Self::open) what a disk holds;
/// - *input*: `handle_*`, any number of them, none of which does anything visible by itself;
/// - *output*: [`poll_turn`](Self::poll_turn) gives a [`Turn`](crate::Turn); once its batch is durable,
///   [`handle_persisted`](Self::handle_persisted) gives the effects. One turn at a time; input may be handled
///   meanwhile and goes into the next. [`poll_heartbeats`](Self::poll_heartbeats) gives the little that need not
///   wait for that;
/// - *time*: [`poll_timeout`](Self::poll_timeout) says when [`handle_time`](Self::handle_time) is due;
/// - *looking*: [`status`](Self::status), [`image`](Self::image).
pub struct Driver {
    pub(crate) me: Identity,
    pub(crate) setup: Setup,
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) links: BTreeMap<ServerId, Link>,
    pub(crate) reads: Reads,
    pub(crate) pull: Option<Pull>,
    pub(crate) pulls_begun: u64,
    /// The newest configuration heard of that this server has not taken up.
    pub(crate) announced: Option<Configuration>,
    /// Last index that the application has been handed, or will be with this turn.
    pub(crate) emitted: Index,
    pub(crate) forwarding: Vec<(u8, Vec<Command>)>,
    pub(crate) forwarding_cost: u64,
    /// Cost of what the log holds beyond `emitted`, counted while this server leads.
    pub(crate) undecided: u64,
    /// The ballot under which it was counted.
    pub(crate) counted: Ballot,
    pub(crate) watch: Watch,
    pub(crate) effects: Vec<Effect>,
    pub(crate) in_flight: bool,
    /// Turns that were done.
    turns_done: u64,
    /// The ballot under which this server led when the last turn was made.
    pub(crate) led: Option<Ballot>,
    pub(crate) released: bool,
    pub(crate) ticks: u64,
    now: u64,
    next_tick: u64,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (log, side) = self.store.read(|image| (image.log.end(), image.side.end()));
        f.debug_struct("Driver")
            .field("status", &self.status())
            .field("promise", &self.engine.promise())
            .field("log_end", &log)
            .field("side_end", &side)
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

/// Why a driver could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk holds nothing: this is a new server, and must be made as one.
    #[error("open the order's state: the disk holds no identity. A server that lost its disk must join anew")]
    Blank,
    /// The core refuses the configuration.
    #[error("begin configuration {id}")]
    Configuration {
        /// Which.
        id: u32,
        /// Why.
        #[source]
        cause: ConfigError,
    },
}

/// Why a proposal or a read was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody is known to lead. Try again.
    #[error("no leader is known")]
    NoLeader,
    /// Too much waits already. Try again later.
    #[error("{bytes} bytes of commands already wait to be decided")]
    Full {
        /// What waits.
        bytes: u64,
    },
    /// The servers are being changed. Try again in a moment.
    #[error("the servers are being changed")]
    Sealed,
    /// Too many reads wait.
    #[error("{count} reads already wait")]
    Reads {
        /// How many.
        count: usize,
    },
}

/// What an operator wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The configuration that this server has taken up.
    pub configuration: Option<Configuration>,
    /// Who leads, as far as this server knows, and whether the leader is known to be at work.
    pub leader: Option<(ServerId, bool)>,
    /// Last index that the application has been handed.
    pub emitted: Index,
    /// Peers that speak with this server, with the last index that each said it holds.
    pub peers: Vec<(ServerId, Index)>,
    /// Whether state is being fetched from a peer.
    pub pulling: Option<ServerId>,
    /// Bytes held for peers: parked messages and proposals on their way.
    pub held_bytes: u64,
}

/// The way from a server to whoever decides; see [`Driver::route`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Route {
    configuration: u32,
    leader: Option<ServerId>,
    promise: Ballot,
    via: Option<(ServerId, Session)>,
}

impl Route {
    /// The peer to whom proposals go, on which session; nobody for the leader itself, or when none is known.
    pub fn via(&self) -> Option<(ServerId, Session)> {
        self.via
    }

    /// Who leads as far as this server knows.
    pub fn leader(&self) -> Option<ServerId> {
        self.leader
    }
}

/// Making one.
impl Driver {
    /// Founds a cluster on an empty disk, as a rule of this server alone: others join. Where several found one
    /// together, each does it once, with the same members and base. `base` above 0 takes over from another
    /// engine: the host has made durable a checkpoint with exactly that index.
    ///
    /// # Errors
    /// [`OpenError::Configuration`] when the core refuses the members.
    pub fn found(
        me: Identity,
        members: Vec<Identity>,
        base: Index,
        setup: Setup,
        now: u64,
    ) -> Result<Self, OpenError> {
        let store = Store::default();
        store.write(Write::Identity(me));
        if base > 0 {
            store.write(Write::Checkpoint { index: base, keep_from: base + 1 });
        }
        store.write(Write::Configure(Configuration::new(1, members, base)));
        Self::with(me, store, setup, now)
    }

    /// Begins on an empty disk as a server that follows, until a configuration names it.
    ///
    /// # Errors
    /// None today; the signature is that of its siblings.
    pub fn join(me: Identity, setup: Setup, now: u64) -> Result<Self, OpenError> {
        let store = Store::default();
        store.write(Write::Identity(me));
        Self::with(me, store, setup, now)
    }

    /// Goes on from what a disk holds. The first turn hands the application everything that is known to be
    /// decided.
    ///
    /// # Errors
    /// [`OpenError::Blank`] for an empty disk, [`OpenError::Configuration`] when the core refuses the members.
    pub fn open(image: Image, setup: Setup, now: u64) -> Result<Self, OpenError> {
        let me = image.identity().ok_or(OpenError::Blank)?;
        Self::with(me, Store::new(image), setup, now)
    }

    fn with(me: Identity, store: Store, setup: Setup, now: u64) -> Result<Self, OpenError> {
        let engine = build(&setup, me, &store)?;
        let mut effects = Vec::new();
        if let Some(configuration) = store.read(|image| image.configuration.clone()) {
            effects.push(Effect::Configured(configuration));
        }
        Ok(Self {
            me,
            store,
            engine,
            links: BTreeMap::new(),
            reads: Reads::default(),
            pull: None,
            pulls_begun: 0,
            announced: None,
            emitted: 0,
            forwarding: Vec::new(),
            forwarding_cost: 0,
            undecided: 0,
            counted: Ballot::default(),
            watch: Watch::default(),
            effects,
            in_flight: false,
            turns_done: 0,
            led: None,
            released: false,
            ticks: 0,
            now,
            next_tick: now + setup.tick_ms,
            setup,
        })
    }
}

pub(crate) fn build(setup: &Setup, me: Identity, store: &Store) -> Result<Engine, OpenError> {
    Engine::build(setup, me, store).map_err(|cause| {
        let id = store.read(|image| image.configuration.as_ref().map_or(0, |known| known.id));
        OpenError::Configuration { id, cause }
    })
}

/// Input from the host; frames are in `input`, membership in `membership`.
impl Driver {
    /// Proposes a command. Taken is not decided: it is decided when it comes back in [`Effect::Decided`], and
    /// may be lost on the way.
    ///
    /// # Errors
    /// [`Refused`], with nothing changed.
    pub fn handle_propose(&mut self, command: Bytes) -> Result<(), Refused> {
        let command = Command(command);
        match self.engine.leader() {
            Some((leader, at_work)) if leader == self.me.server => {
                if at_work {
                    self.append(command)
                } else {
                    Err(Refused::NoLeader)
                }
            }
            _ => self.forward(0, vec![command]),
        }
    }

    pub(crate) fn append(&mut self, command: Command) -> Result<(), Refused> {
        let cost = entry_cost(&command);
        self.count_undecided();
        if self.undecided + cost > self.setup.undecided_bytes {
            return Err(Refused::Full { bytes: self.undecided });
        }
        match &mut self.engine {
            Engine::Learner => return Err(Refused::NoLeader),
            Engine::Solo(_) => solo::append(&self.store, command),
            Engine::Paxos(paxos) => paxos.append(command).map_err(|_| Refused::Sealed)?,
        }
        self.undecided += cost;
        Ok(())
    }

    /// Counts anew under a new ballot: what was proposed under earlier ones was decided, or overwritten. The core may
    /// not know yet that what came beside it is decided; but only what is still to be handed over makes room one day.
    fn count_undecided(&mut self) {
        let ballot = self.engine.promise();
        if self.counted != ballot {
            self.counted = ballot;
            self.undecided = self.store.read(|image| image.log_cost_after(self.emitted));
        }
    }

    /// Queues commands for whoever may know the leader.
    pub(crate) fn forward(&mut self, hops: u8, commands: Vec<Command>) -> Result<(), Refused> {
        self.leader_link().ok_or(Refused::NoLeader)?;
        let cost = cost_of(&commands);
        if self.forwarding_cost + cost > self.setup.undecided_bytes {
            return Err(Refused::Full { bytes: self.forwarding_cost });
        }
        self.forwarding_cost += cost;
        match self.forwarding.last_mut() {
            Some((same, queued)) if *same == hops => queued.extend(commands),
            _ => self.forwarding.push((hops, commands)),
        }
        Ok(())
    }

    /// Asks for an index at or above everything acknowledged so far. [`Effect::ReadReady`] answers, perhaps
    /// never: the host has its own patience.
    ///
    /// # Errors
    /// [`Refused::Reads`] when too many wait.
    pub fn handle_read(&mut self, read: ReadId) -> Result<(), Refused> {
        self.add_read(Asker::Here { read, wants: Wants::Decided })
    }

    /// As [`handle_read`](Self::handle_read), and the index lies behind every command as well that this server
    /// proposed before on the way that it takes now: when it is answered, each of them was handed over or is lost.
    ///
    /// # Errors
    /// [`Refused::Reads`] when too many wait.
    pub fn handle_end(&mut self, read: ReadId) -> Result<(), Refused> {
        self.add_read(Asker::Here { read, wants: Wants::Taken })
    }

    pub(crate) fn add_read(&mut self, asker: Asker) -> Result<(), Refused> {
        let count = self.reads.count();
        if count >= self.setup.max_reads {
            return Err(Refused::Reads { count });
        }
        self.reads.add(asker);
        Ok(())
    }

    /// A session with a peer is established. One that was there before has ended.
    pub fn handle_link_up(&mut self, peer: ServerId, session: Session) {
        if self.links.get(&peer).is_some_and(|link| link.session >= session) {
            return;
        }
        self.forget_link(peer);
        // It goes with the next turn, behind the one that may be under way.
        let hello_out_after = self.turns_done + u64::from(self.in_flight) + 1;
        self.links.insert(peer, Link::new(session, hello_out_after));
        let hello = self.hello();
        self.effects.push(Effect::Send { peer, session, frame: hello });
    }

    /// A session with a peer has ended.
    pub fn handle_link_down(&mut self, peer: ServerId, session: Session) {
        if self.links.get(&peer).is_some_and(|link| link.session == session) {
            self.forget_link(peer);
        }
    }

    fn forget_link(&mut self, peer: ServerId) {
        // What the core has queued belongs to the old session and must not reach the next one.
        self.drain_core();
        self.links.remove(&peer);
        self.reads.link_down(peer);
        self.pull.take_if(|pull| pull.peer == peer);
    }

    /// A part of a checkpoint, as [`Effect::ReadCheckpoint`] asked; nothing when that checkpoint is gone.
    pub fn handle_piece(&mut self, peer: ServerId, session: Session, read: Option<PieceRead>) {
        let Some(link) = self.links.get_mut(&peer).filter(|link| link.session == session) else { return };
        let Some(serving) = link.serving.as_mut() else { return };
        match read {
            None => serving.piece_gone(),
            Some(read) => {
                if let Some(frame) = serving.piece(read) {
                    link.credit -= frame.cost() as i64;
                    self.effects.push(Effect::Send { peer, session, frame });
                }
            }
        }
    }

    /// The host has made a checkpoint of its own durable. What it stands for may be forgotten.
    pub fn handle_checkpoint(&mut self, index: Index) {
        let (count, bytes) = (self.setup.retain, self.setup.retain_bytes);
        let (known, held_from, keep_from) = self
            .store
            .read(|image| (image.checkpoint, image.keep_from, image.keep_before(index, count, bytes)));
        if index <= known || index > self.emitted {
            return;
        }
        let keep_from = keep_from.max(held_from);
        self.store.write(Write::Checkpoint { index, keep_from });
        match &mut self.engine {
            Engine::Learner => {}
            Engine::Solo(_) => solo::compact(&self.store, keep_from.saturating_sub(1)),
            Engine::Paxos(paxos) => paxos.compact(keep_from.saturating_sub(1)),
        }
    }

    /// Time has passed. However much, it is one tick: a process that was stopped must not make up for it.
    pub fn handle_time(&mut self, now: u64) {
        self.now = self.now.max(now);
        if self.now >= self.next_tick {
            self.next_tick = self.now + self.setup.tick_ms;
            self.tick();
        }
    }
}

/// Output.
impl Driver {
    /// When [`handle_time`](Self::handle_time) is due.
    pub fn poll_timeout(&self) -> u64 {
        self.next_tick
    }

    /// Everything that is still to be written, also what may wait for company: the last turn of a server that
    /// is switched off in order.
    pub fn poll_last_turn(&mut self) -> Option<Turn> {
        if self.in_flight {
            return None;
        }
        let batch = self.store.take_all();
        if batch.writes().is_empty() {
            return None;
        }
        self.in_flight = true;
        Some(Turn::new(batch, std::mem::take(&mut self.effects), false))
    }

    /// The effects of a turn whose writes are durable, in order.
    pub fn handle_persisted(&mut self, persisted: Persisted) -> Vec<Effect> {
        self.in_flight = false;
        self.turns_done += 1;
        persisted.into_effects()
    }

    /// While a turn is made durable: heartbeats that would wait for the next one. They promise nothing and are no
    /// part of the ordered conversation, so they may be sent at once, and a slow disk is not taken for a dead
    /// server. Everything else stays for the next turn.
    pub fn poll_heartbeats(&mut self) -> Vec<Effect> {
        if !self.in_flight {
            return Vec::new();
        }
        self.drain_core();
        let (links, done) = (&self.links, self.turns_done);
        let may_go = |effect: &mut Effect| match effect {
            Effect::Send { peer, session, frame: Frame::Core { message: Message::BLE(_), .. } } => {
                // Before our hello the peer would not count it.
                links.get(peer).is_some_and(|link| link.session == *session && link.hello_out_after <= done)
            }
            _ => false,
        };
        self.effects.extract_if(.., may_go).collect()
    }

    /// What an operator wants to see.
    pub fn status(&self) -> Status {
        let speaking = self.links.iter().filter(|(_, link)| link.usable());
        let parked: u64 = self.links.values().map(|link| link.parked_cost).sum();
        Status {
            configuration: self.engine.configuration().cloned(),
            leader: self.engine.leader(),
            emitted: self.emitted,
            peers: speaking.map(|(peer, link)| (*peer, link.gossip.have)).collect(),
            pulling: self.pull.as_ref().map(|pull| pull.peer),
            held_bytes: parked + self.forwarding_cost,
        }
    }

    /// The way that proposals take now. While it stays the same none is lost, unless whoever passes it on or
    /// takes it has too much; once it is another, what was proposed before may be lost.
    pub fn route(&self) -> Route {
        let via = self.leader_link();
        Route {
            configuration: self.engine.configuration().map_or(0, |known| known.id),
            leader: self.engine.leader().map(|(leader, _)| leader),
            promise: self.engine.promise(),
            via: via.and_then(|peer| self.links.get(&peer).map(|link| (peer, link.session))),
        }
    }

    /// Who leads, as this server knows, or as the peer says to whom its proposals go.
    pub fn leader_hint(&self) -> Option<ServerId> {
        let said = || self.leader_link().and_then(|peer| self.links.get(&peer)?.gossip.leader);
        self.engine.leader().map(|(leader, _)| leader).or_else(said)
    }

    /// The disk with which a peer speaks to this server.
    pub fn disk_of(&self, peer: ServerId) -> Option<u64> {
        self.links.get(&peer).filter(|link| link.usable()).map(|link| link.disk)
    }

    /// Reads the durable state as it will be once every turn is persisted.
    pub fn image<R>(&self, read: impl FnOnce(&Image) -> R) -> R {
        self.store.read(read)
    }

    /// Sends on a peer's present session, within its window.
    pub(crate) fn send(&mut self, peer: ServerId, frame: Frame) {
        let Some(link) = self.links.get_mut(&peer).filter(|link| link.usable()) else { return };
        if link.admit(&frame, self.setup.window_bytes) {
            let session = link.session;
            self.effects.push(Effect::Send { peer, session, frame });
        } else {
            // It lags so far that it will need state, not messages: start over with it, from state.
            self.reset(peer);
        }
    }

    /// Ends a peer's session.
    pub(crate) fn reset(&mut self, peer: ServerId) {
        let Some(link) = self.links.get_mut(&peer).filter(|link| !link.ending) else { return };
        link.ending = true;
        link.parked.clear();
        link.parked_cost = 0;
        link.serving = None;
        let session = link.session;
        self.effects.push(Effect::Reset { peer, session });
    }
}
