//! Time, and the watchdogs for what the core does not notice.

use omnipaxos::ballot_leader_election::Ballot;

use crate::driver::Driver;
use crate::frame::Frame;
use crate::link::Link;
use crate::pull::Pull;
use crate::{Index, ServerId};

/// What the watchdogs remember.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The index held when last looked at, and for how many ticks others have held more.
    have: Index,
    pub(crate) behind_ticks: u64,
    /// What the log held undecided when last looked at, and for how many ticks nothing of it was decided.
    undecided: Option<(usize, usize)>,
    undecided_ticks: u64,
}

impl Driver {
    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
        if let Some(paxos) = self.engine.paxos() {
            paxos.tick();
        }
        if let Some(silent) = self.reads.tick(self.setup.gossip_ticks * 4) {
            // Two who ask each other would wait for ever. What is late now may be decided twice.
            self.is_flushed(silent);
        }
        self.widen_round();
        if self.ticks.is_multiple_of(self.setup.gossip_ticks) {
            let peers: Vec<ServerId> = self.links.keys().copied().collect();
            for peer in peers {
                self.gossip(peer);
            }
        }
        self.watch_promises();
        self.watch_progress();
        self.watch_undecided();
        self.watch_pull();
    }

    /// A peer that promised a higher ballot, to a candidate who is gone, ignores the leader for ever, and the
    /// core's election sees a content cluster. The leader outbids the promise. Not at once: a candidate may be
    /// about to win with it.
    fn watch_promises(&mut self) {
        let Some(paxos) = self.engine.paxos() else { return };
        let leads = paxos.leader().is_some_and(|(leader, _)| leader == self.me.server);
        let (ours, id) = (paxos.promise(), paxos.configuration.id);
        let mut due: Option<Ballot> = None;
        for link in self.links.values_mut() {
            let higher = link.usable() && link.gossip.configuration == id && link.gossip.promise > ours;
            link.outbid_ticks = if leads && higher { link.outbid_ticks + 1 } else { 0 };
            if link.outbid_ticks > self.setup.stall_ticks / 2 {
                due = due.max(Some(link.gossip.promise));
            }
        }
        if let Some(promise) = due.filter(|_| !self.setup.sabotage.skip_outbid) {
            paxos.outbid(promise);
        }
    }

    /// A lost tail is not sent again. If the leader holds more than this server, and this server's index does
    /// not move, the session is started over.
    fn watch_progress(&mut self) {
        let moved = self.watch.have != self.emitted;
        self.watch.have = self.emitted;
        let most = self.links.values().filter(|link| link.usable()).map(|link| link.gossip.have).max();
        let behind = !moved && most > Some(self.emitted);
        self.watch.behind_ticks = if behind { self.watch.behind_ticks + 1 } else { 0 };
        if self.watch.behind_ticks <= self.setup.stall_ticks || self.pull.is_some() {
            return;
        }
        let Some((leader, _)) = self.engine.leader() else { return };
        let ahead = |link: &Link| link.usable() && link.gossip.have > self.emitted;
        if self.links.get(&leader).is_some_and(ahead) && !self.setup.sabotage.skip_stall_reset {
            self.watch.behind_ticks = 0;
            self.reset(leader);
        }
    }

    /// A lost vote is not sent again either. If a majority is connected and yet nothing is decided for long, the
    /// leader starts its sessions over.
    fn watch_undecided(&mut self) {
        let Some(paxos) = self.engine.paxos() else { return };
        let (undecided, members) = (paxos.undecided(), paxos.configuration.clone());
        let same = undecided.is_some() && undecided == self.watch.undecided;
        self.watch.undecided = undecided;
        self.watch.undecided_ticks = if same { self.watch.undecided_ticks + 1 } else { 0 };
        // Longer than any stall of the others' disks that is not a failure.
        if self.watch.undecided_ticks <= self.setup.stall_ticks * 4 || self.setup.sabotage.skip_stall_reset {
            return;
        }
        self.watch.undecided_ticks = 0;
        let speaking = self.links_with(|link| link.configuration == members.id);
        let voters: Vec<ServerId> = speaking.into_iter().filter(|peer| members.contains(*peer)).collect();
        if voters.len() + 1 >= members.majority() {
            for voter in voters {
                self.reset(voter);
            }
        }
    }

    /// A transfer that is needed and brings nothing is started over with its session.
    fn watch_pull(&mut self) {
        let Some(pull) = &mut self.pull else { return };
        let peer = pull.peer;
        let ahead = self.links.get(&peer).is_some_and(|link| link.gossip.have > self.emitted);
        pull.silent_ticks = if ahead { pull.silent_ticks + 1 } else { 0 };
        if pull.silent_ticks > self.setup.stall_ticks {
            self.reset(peer);
            self.pull = None;
        }
    }
}

/// Fetching state.
impl Driver {
    /// Keeps one transfer going while state is missing, from a peer that has it.
    pub(crate) fn advance_pull(&mut self) {
        let source = self.pull_source();
        if let (Some(pull), Some(peer)) = (&self.pull, source) {
            let same = self.links.get(&peer).is_some_and(|link| link.session == pull.session);
            if pull.peer == peer && same {
                return;
            }
        }
        if let Some(pull) = self.pull.take() {
            self.send(pull.peer, pull.end());
        }
        let Some(peer) = source else { return };
        let Some(link) = self.links.get_mut(&peer) else { return };
        let (session, granted) = (link.session, std::mem::replace(&mut link.granted, true));
        self.pulls_begun += 1;
        let from = self.store.read(|image| image.have()) + 1;
        let (pull, frame) = Pull::begin(peer, session, self.pulls_begun, from);
        self.pull = Some(pull);
        self.send(peer, frame);
        if !granted {
            self.send(peer, Frame::Credit { bytes: self.setup.credit_bytes });
        }
    }

    /// From whom to fetch, if anything is to be fetched. The present source is kept while it will do.
    fn pull_source(&mut self) -> Option<ServerId> {
        let have = self.store.read(|image| image.have());
        let present = self.pull.as_ref().map(|pull| pull.peer);
        let waiting = self.links_with(|link| !link.parked.is_empty());
        if !waiting.is_empty() {
            return prefer(present, waiting);
        }
        if let Some(next) = self.announced.as_ref().filter(|next| next.base > have).cloned() {
            let having = self.links_with(|link| link.configuration >= next.id || link.gossip.have > have);
            return self.most_advanced(present, having);
        }
        if self.engine.configuration().is_none() {
            let members = self.links_with(|link| link.configuration > 0);
            // Others have more, and this source does not bring it: it follows somebody too, perhaps us.
            let present = present.filter(|_| self.watch.behind_ticks <= self.setup.stall_ticks);
            return self.most_advanced(present, members);
        }
        // A member that cannot reach the leader still wants to know what is decided.
        let (leader, _) = self.engine.leader()?;
        let cut_off = leader != self.me.server && !self.links.get(&leader).is_some_and(Link::usable);
        if cut_off && (present.is_some() || self.watch.behind_ticks > self.setup.stall_ticks) {
            let ahead = self.links_with(|link| link.gossip.have > have);
            return self.most_advanced(present, ahead);
        }
        None
    }

    fn links_with(&self, wanted: impl Fn(&Link) -> bool) -> Vec<ServerId> {
        let matching = self.links.iter().filter(|(_, link)| link.usable() && wanted(link));
        matching.map(|(peer, _)| *peer).collect()
    }

    fn most_advanced(&self, present: Option<ServerId>, peers: Vec<ServerId>) -> Option<ServerId> {
        let have = |peer: &ServerId| self.links.get(peer).map(|link| link.gossip.have);
        present.filter(|peer| peers.contains(peer)).or_else(|| peers.into_iter().max_by_key(have))
    }
}

fn prefer(present: Option<ServerId>, peers: Vec<ServerId>) -> Option<ServerId> {
    present.filter(|peer| peers.contains(peer)).or_else(|| peers.first().copied())
}
