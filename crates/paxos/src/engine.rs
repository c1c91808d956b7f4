//! What orders commands in this configuration: omnipaxos among several, nobody else's say for one alone.

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::errors::ConfigError;
use omnipaxos::messages::Message;
use omnipaxos::{OmniPaxos, ServerConfig};

use crate::journal::{Journal, Store};
use crate::reads::Reach;
use crate::setup::Setup;
use crate::write::Write;
use crate::{Command, Configuration, Identity, Index, ServerId, Successor};

/// How this server takes part.
pub(crate) enum Engine {
    /// Not at all: it follows what others decide.
    Learner,
    /// Alone: what is durable is decided. The core refuses clusters of one.
    Solo(Configuration),
    /// As one of several.
    Paxos(Box<Paxos>),
}

/// The core, and what the driver must know about it beside.
pub(crate) struct Paxos {
    core: OmniPaxos<Command, Journal>,
    pub(crate) configuration: Configuration,
    me: ServerId,
    store: Store,
    leave_seals: bool,
    /// The ballot of ours that last entered the accept phase, and how long the log was then. Whatever earlier
    /// ballots decided lies below; a read may not be served under it.
    floor: Option<(Ballot, usize)>,
}

impl Engine {
    /// Takes up the configuration that the image names. The server's own place in it decides how.
    ///
    /// # Errors
    /// [`ConfigError`] when the core refuses it.
    pub(crate) fn build(setup: &Setup, me: Identity, store: &Store) -> Result<Self, ConfigError> {
        let Some(configuration) = store.read(|image| image.configuration.clone()) else {
            return Ok(Self::Learner);
        };
        let Some(rank) = configuration.rank(me.server) else { return Ok(Self::Learner) };
        if configuration.disk_of(me.server) != Some(me.disk) && !setup.sabotage.skip_disk_check {
            return Ok(Self::Learner);
        }
        if configuration.members().len() == 1 {
            return Ok(Self::Solo(configuration));
        }
        let server = ServerConfig {
            pid: rank,
            election_tick_timeout: setup.election_ticks,
            resend_message_tick_timeout: setup.resend_ticks,
            // One: batching belongs to the turn. The core's own would only delay votes.
            batch_size: 1,
            ..ServerConfig::default()
        };
        let journal = Journal::new(store.clone(), configuration.base);
        let core = configuration.cluster().build_for_server(server, journal)?;
        Ok(Self::Paxos(Box::new(Paxos {
            core,
            configuration,
            me: me.server,
            store: store.clone(),
            leave_seals: setup.sabotage.skip_seal_correction,
            floor: None,
        })))
    }

    pub(crate) fn configuration(&self) -> Option<&Configuration> {
        match self {
            Self::Learner => None,
            Self::Solo(configuration) => Some(configuration),
            Self::Paxos(paxos) => Some(&paxos.configuration),
        }
    }

    pub(crate) fn paxos(&mut self) -> Option<&mut Paxos> {
        match self {
            Self::Paxos(paxos) => Some(paxos),
            _ => None,
        }
    }

    /// Who leads as far as this server knows, and whether the leader is known to be at work.
    pub(crate) fn leader(&self) -> Option<(ServerId, bool)> {
        match self {
            Self::Learner => None,
            Self::Solo(configuration) => configuration.servers().next().map(|me| (me, true)),
            Self::Paxos(paxos) => paxos.leader(),
        }
    }

    /// Whether this server leads and is at work.
    pub(crate) fn leads(&self, me: ServerId) -> bool {
        self.leader() == Some((me, true))
    }

    pub(crate) fn promise(&self) -> Ballot {
        match self {
            Self::Paxos(paxos) => paxos.core.get_promise(),
            _ => Ballot::default(),
        }
    }
}

/// Input for the core. Each kind ends with a look at the phase, because the moment at which a ballot enters the
/// accept phase is not announced.
impl Paxos {
    pub(crate) fn handle(&mut self, message: Message<Command>) {
        self.core.handle_incoming(message);
        self.observe();
    }

    pub(crate) fn tick(&mut self) {
        self.core.tick();
        self.observe();
    }

    pub(crate) fn reconnected(&mut self, peer: ServerId) {
        if let Some(rank) = self.configuration.rank(peer) {
            self.core.reconnected(rank);
            self.observe();
        }
    }

    /// Outbids a promise that somebody made.
    pub(crate) fn outbid(&mut self, promise: Ballot) {
        while self.core.get_promise() <= promise {
            let before = self.core.get_promise();
            self.core.try_become_leader();
            if self.core.get_promise() == before {
                break;
            }
        }
        self.observe();
    }

    /// Appends as the leader at work.
    ///
    /// # Errors
    /// The command, when the log is sealed.
    pub(crate) fn append(&mut self, command: Command) -> Result<(), Command> {
        match self.core.append(command) {
            Ok(()) => Ok(()),
            Err(omnipaxos::ProposeErr::PendingReconfigEntry(command)) => Err(command),
            // The other kinds answer calls that were not made.
            Err(_) => Ok(()),
        }
    }

    /// Proposes to seal the log. Whether it worked shows in the decided stop-sign.
    pub(crate) fn seal(&mut self, next: &Successor) -> bool {
        self.core.reconfigure(next.to_cluster(), None).is_ok()
    }

    /// Forgets the log up to an index that a durable checkpoint covers.
    pub(crate) fn compact(&mut self, to: Index) {
        let decided = self.configuration.base + self.core.get_decided_idx() as Index;
        let to = to.min(decided).saturating_sub(self.configuration.base) as usize;
        if to > self.core.get_compacted_idx() {
            // The one refusal left is an index beyond the decided one, which the line above excludes.
            let _ = self.core.snapshot(Some(to), true);
        }
    }

    /// Entries in the log, compacted ones included and the stop-sign not; nothing when nobody may ask.
    pub(crate) fn length(&self) -> Option<usize> {
        let end = self.store.read(|image| image.log.end());
        (!self.leave_seals).then(|| end.saturating_sub(self.configuration.base) as usize)
    }

    fn observe(&mut self) {
        let Some(ballot) = self.leading() else { return };
        if self.floor.is_none_or(|(known, _)| known != ballot) {
            self.floor = Some((ballot, self.core.get_accepted_idx()));
        }
    }
}

/// Output of the core.
impl Paxos {
    pub(crate) fn take_messages(&mut self) -> Vec<Message<Command>> {
        let mut messages = Vec::new();
        self.core.take_outgoing_messages(&mut messages);
        messages
    }

    pub(crate) fn leader(&self) -> Option<(ServerId, bool)> {
        let (rank, at_work) = self.core.get_current_leader()?;
        Some((self.configuration.server(rank)?, at_work))
    }

    pub(crate) fn promise(&self) -> Ballot {
        self.core.get_promise()
    }

    /// Whether the accept phase of the promised ballot has begun here.
    pub(crate) fn at_work(&self) -> bool {
        self.core.get_current_leader().is_some_and(|(_, at_work)| at_work)
    }

    /// This server's ballot, if it leads in the accept phase.
    pub(crate) fn leading(&self) -> Option<Ballot> {
        (self.leader() == Some((self.me, true))).then(|| self.core.get_promise())
    }

    /// The decided and the accepted index, as the core counts, if this server leads and they differ.
    pub(crate) fn undecided(&self) -> Option<(usize, usize)> {
        self.leading()?;
        let both = (self.core.get_decided_idx(), self.core.get_accepted_idx());
        (both.0 < both.1).then_some(both)
    }

    /// The ballot and the index at which a read that arrives now may be served, once a majority confirms the
    /// ballot. Nothing before all of the earlier ballots' log is decided.
    pub(crate) fn read_index(&self, skip_floor: bool) -> Option<(Ballot, Reach)> {
        let ballot = self.leading()?;
        if self.core.is_reconfigured().is_some() {
            // The next configuration may have decided more already.
            return None;
        }
        let (known, floor) = self.floor?;
        let decided = self.core.get_decided_idx();
        let served = known == ballot && decided >= floor;
        let decided = self.configuration.base + decided as Index;
        let reach = Reach { decided, taken: self.store.read(|image| image.log.end()).max(decided) };
        (served || skip_floor).then_some((ballot, reach))
    }

    /// The configuration that follows, once the stop-sign is decided.
    pub(crate) fn sealed(&self) -> Option<Successor> {
        self.core.is_reconfigured().map(|sign| Successor::from_cluster(&sign.next_config))
    }
}

/// One server alone.
pub(crate) mod solo {
    use super::{Command, Index, Store, Write};

    pub(crate) fn append(store: &Store, command: Command) {
        let at = store.read(|image| image.log.end()) + 1;
        store.write(Write::Append { at, entries: vec![command] });
    }

    /// Everything in the log is decided as soon as the batch that says so is durable.
    pub(crate) fn decide(store: &Store) {
        let (end, decided) = store.read(|image| (image.log.end(), image.decided));
        if end != decided {
            store.write(Write::Decided(end));
        }
    }

    pub(crate) fn compact(store: &Store, to: Index) {
        let to = store.read(|image| to.min(image.decided));
        if store.read(|image| image.log.before) < to {
            store.write(Write::Compact(to));
        }
    }
}
