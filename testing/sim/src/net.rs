//! Links between servers: sessions, two ordered lanes each way, cuts, delay.
//!
//! What the driver may rely on, and no more: within a session each lane keeps its order and loses nothing; a
//! session ends at any moment, with any tail of what was sent lost, and the two sides learn of it at different
//! times, or only from the session that follows.

use std::collections::VecDeque;

use paxos::{Frame, Lane};

use crate::plan::Micros;
use crate::rng::Rng;

/// Most servers in one lifetime, those that came and went included.
pub(crate) const MAX_HOSTS: usize = 16;

/// Which two servers, as one number.
pub(crate) type PairId = usize;

/// The pair of two servers.
pub(crate) fn pair_of(a: usize, b: usize) -> PairId {
    a.min(b) * MAX_HOSTS + a.max(b)
}

/// The two servers of a pair, side 0 first.
pub(crate) fn sides(pair: PairId) -> [usize; 2] {
    [pair / MAX_HOSTS, pair % MAX_HOSTS]
}

/// Which side of its pair a server is.
pub(crate) fn side_of(pair: PairId, host: usize) -> usize {
    usize::from(sides(pair)[0] != host)
}

/// One direction of one lane.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    frames: VecDeque<Frame>,
    last_due: Micros,
    /// Deliveries that came due while the receiver could not take them.
    pub(crate) stalled: u64,
    /// Cost of what is queued.
    pub(crate) cost: u64,
}

impl Queue {
    fn clear(&mut self) {
        *self = Self { last_due: self.last_due, ..Self::default() };
    }

    /// Queues a frame; when it will be due.
    pub(crate) fn push(&mut self, frame: Frame, due: Micros) -> Micros {
        self.cost += frame.cost();
        self.frames.push_back(frame);
        self.last_due = self.last_due.max(due);
        self.last_due
    }

    /// The next frame; with `any`, one from anywhere in the queue.
    pub(crate) fn pop(&mut self, any: Option<&mut Rng>) -> Option<Frame> {
        let frame = match any {
            None => self.frames.pop_front(),
            Some(rng) => self.frames.remove(rng.below(self.frames.len() as u64) as usize),
        }?;
        self.cost -= frame.cost();
        Some(frame)
    }
}

/// State between two servers.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    /// Number of the newest session.
    pub(crate) session: u64,
    /// Whether it still carries anything.
    pub(crate) alive: bool,
    /// Which sides have been told of it.
    pub(crate) up: [bool; 2],
    /// Directions that are cut, by sending side.
    pub(crate) cut: [bool; 2],
    /// Added to every frame's time.
    pub(crate) slow_us: Micros,
    /// By sending side and lane.
    queues: [[Queue; 2]; 2],
    /// What old sessions left behind, for the variant that delivers it.
    pub(crate) stale: [VecDeque<Frame>; 2],
}

fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::Order => 0,
        Lane::Bulk => 1,
    }
}

impl Pair {
    /// The queue of a sending side and a lane.
    pub(crate) fn queue(&mut self, from: usize, lane: Lane) -> &mut Queue {
        &mut self.queues[from][lane_index(lane)]
    }

    /// Begins a session.
    pub(crate) fn begin(&mut self, session: u64) {
        self.end(false);
        self.session = session;
        self.alive = true;
    }

    /// Ends the session; whatever was under way is lost, or kept to be stale.
    pub(crate) fn end(&mut self, keep_stale: bool) {
        self.alive = false;
        self.up = [false; 2];
        for (from, lanes) in self.queues.iter_mut().enumerate() {
            if keep_stale {
                self.stale[from].extend(lanes[0].frames.drain(..));
            }
            lanes.iter_mut().for_each(Queue::clear);
        }
    }

    /// Whether frames from a side arrive now.
    pub(crate) fn flows(&self, from: usize) -> bool {
        self.alive && self.up[1 - from] && !self.cut[from]
    }
}

/// All pairs.
#[derive(Debug)]
pub(crate) struct Net {
    pairs: Vec<Pair>,
    sessions: u64,
}

impl Default for Net {
    fn default() -> Self {
        let pairs = std::iter::repeat_with(Pair::default).take(MAX_HOSTS * MAX_HOSTS).collect();
        Self { pairs, sessions: 0 }
    }
}

impl Net {
    /// One pair.
    pub(crate) fn pair(&mut self, pair: PairId) -> &mut Pair {
        &mut self.pairs[pair]
    }

    /// A number that no session had.
    pub(crate) fn next_session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }

    /// Mends every cut and delay.
    pub(crate) fn heal(&mut self) {
        for pair in &mut self.pairs {
            pair.cut = [false; 2];
            pair.slow_us = 0;
        }
    }
}
