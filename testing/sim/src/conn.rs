//! Sessions between servers: how they begin, end, and are noticed.

use paxos::{Lane, ServerId, Session};

use crate::event::Event;
use crate::net::{PairId, pair_of, side_of, sides};
use crate::oracle::Violation;
use crate::world::World;

impl World {
    /// Two servers try to connect; if they cannot, they try again later.
    pub(crate) fn connect(&mut self, pair: PairId) {
        let [a, b] = sides(pair);
        if self.hosts[a].process.is_none() || self.hosts[b].process.is_none() {
            return;
        }
        let state = self.net.pair(pair);
        if state.alive {
            return;
        }
        if state.cut.contains(&true) {
            let delay = self.rng.within(20_000, 150_000);
            self.agenda.after(delay, Event::Connect { pair });
            return;
        }
        let session = self.net.next_session();
        self.net.pair(pair).begin(session);
        self.counts.sessions += 1;
        for side in [0, 1] {
            let delay = self.rng.within(100, 20_000);
            self.agenda.after(delay, Event::Up { pair, session, side });
        }
    }

    pub(crate) fn up(&mut self, pair: PairId, session: u64, side: usize) -> Result<(), Violation> {
        let host = sides(pair)[side];
        let peer = self.hosts[sides(pair)[1 - side]].identity.server;
        let state = self.net.pair(pair);
        if !state.alive || state.session != session || self.hosts[host].process.is_none() {
            return Ok(());
        }
        state.up[side] = true;
        self.unstall(pair);
        self.deliver_stale(pair, session, 1 - side);
        if let Some(process) = &mut self.hosts[host].process {
            process.driver.handle_link_up(peer, Session(session));
        }
        self.pump(host)
    }

    /// For the variant that does not keep sessions apart.
    fn deliver_stale(&mut self, pair: PairId, session: u64, from: usize) {
        let stale = std::mem::take(&mut self.net.pair(pair).stale[from]);
        if !self.variant.stale_frames {
            return;
        }
        for frame in stale {
            let due = self.agenda.now + self.rng.within(8_000, 60_000);
            let due = self.net.pair(pair).queue(from, Lane::Order).push(frame, due);
            self.agenda.at(due, Event::Deliver { pair, session, from, lane: Lane::Order });
        }
    }

    pub(crate) fn down(
        &mut self,
        pair: PairId,
        session: u64,
        side: usize,
        life: u32,
    ) -> Result<(), Violation> {
        let host = sides(pair)[side];
        let peer = self.hosts[sides(pair)[1 - side]].identity.server;
        if self.hosts[host].life != life {
            return Ok(());
        }
        if let Some(process) = &mut self.hosts[host].process {
            process.driver.handle_link_down(peer, Session(session));
        }
        self.pump(host)
    }

    /// Ends a session now. Each side learns of it in its own time.
    pub(crate) fn end_session(&mut self, pair: PairId) {
        let stale = self.variant.stale_frames;
        let state = self.net.pair(pair);
        if state.alive {
            let (session, up) = (state.session, state.up);
            state.end(stale);
            for side in [0, 1] {
                let life = self.hosts[sides(pair)[side]].life;
                if up[side] {
                    let delay = self.rng.below(80_000);
                    self.agenda.after(delay, Event::Down { pair, session, side, life });
                }
            }
        }
        let delay = self.rng.within(500, 120_000);
        self.agenda.after(delay, Event::Connect { pair });
    }

    pub(crate) fn silent(&mut self, pair: PairId, session: u64) {
        let state = self.net.pair(pair);
        if state.alive && state.session == session && state.cut.contains(&true) {
            self.end_session(pair);
        }
    }

    /// A driver wants to start over with a peer.
    pub(crate) fn reset(&mut self, host: usize, peer: ServerId, session: Session) {
        let Some(other) = self.host_of(peer) else { return };
        let pair = pair_of(host, other);
        self.trace.say(self.agenda.now, || format!("server {host} resets its session with {other}"));
        let state = self.net.pair(pair);
        if state.session == session.0 && state.alive {
            self.end_session(pair);
        } else {
            let (side, life) = (side_of(pair, host), self.hosts[host].life);
            self.agenda.after(100, Event::Down { pair, session: session.0, side, life });
        }
    }
}
