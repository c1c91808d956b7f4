//! The verdict on silent nodes, decided: what was heard and the time go in, wishes come out.
//!
//! Nobody is judged by a server that was late itself: when its own turns come late, when it begins to lead and
//! when it starts, everybody gets one full term of grace.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::life::Config;

/// Milliseconds of a clock that only grows.
pub type Tick = u64;

/// Longest time between two turns; one that comes later was late.
const LATE_MS: u64 = 3_000;
/// A wish is not said again for so long: the order needs its time.
const AGAIN_MS: u64 = 3_000;

/// A member, as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its name.
    pub node: Arc<str>,
    /// Servers reach everybody, so they are asked first to try others.
    pub is_server: bool,
    /// Boot epoch that the catalog knows.
    pub epoch: u64,
    /// Boot epoch of the verdict that stands on it.
    pub down: Option<u64>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Try that one by a way of its own, and ask these to do so too.
    Probe {
        /// Whom to try.
        target: Arc<str>,
        /// Whom to ask.
        through: Vec<Arc<str>>,
    },
    /// Declare it dead in this boot epoch.
    Down {
        /// Which.
        node: Arc<str>,
        /// Epoch that was watched.
        epoch: u64,
    },
    /// Take the verdict back.
    Up {
        /// Which.
        node: Arc<str>,
        /// Epoch of the verdict.
        epoch: u64,
    },
    /// These would be declared dead, were it not that so many are at once.
    Held {
        /// Which.
        nodes: Vec<Arc<str>>,
    },
}

#[derive(Debug, Default)]
struct Ear {
    heard: Option<Tick>,
    /// Beats since the verdict or since it was first seen.
    since: Tick,
    epoch: u64,
    asked: Option<Tick>,
    wished: Option<Tick>,
}

/// Judges who fell silent.
#[derive(Debug)]
pub struct Judge {
    config: Config,
    own: Arc<str>,
    ears: BTreeMap<Arc<str>, Ear>,
    /// Silence counts from here.
    trusted: Tick,
    turned: Option<Tick>,
    led: bool,
    verdicts: VecDeque<Tick>,
    held: bool,
    /// Moves on so that not always the same are asked.
    offset: usize,
}

impl Judge {
    /// A judge on the node of this name.
    pub fn new(config: Config, own: &str) -> Judge {
        let (ears, verdicts) = (BTreeMap::new(), VecDeque::new());
        let (turned, led, held, offset) = (None, false, false, 0);
        Judge { config, own: own.into(), ears, trusted: 0, turned, led, verdicts, held, offset }
    }

    /// A node was heard, here or by another server, `age_ms` ago.
    pub fn handle_beat(&mut self, node: &str, epoch: u64, age_ms: u64, now: Tick) {
        // Only members have ears; a stranger's beat makes none.
        let Some(ear) = self.ears.get_mut(node) else { return };
        let at = now.saturating_sub(age_ms);
        if ear.heard.is_none_or(|heard| heard < at) {
            ear.heard = Some(at);
            ear.epoch = ear.epoch.max(epoch);
            ear.asked = None;
        }
    }

    /// Somebody who was asked has tried.
    pub fn handle_probe(&mut self, target: &str, is_alive: bool, now: Tick) {
        if let Some(ear) = self.ears.get_mut(target).filter(|_| is_alive) {
            ear.heard = ear.heard.max(Some(now));
            ear.asked = None;
        }
    }

    /// What was heard directly within the last term, for the other servers: node, epoch, age in milliseconds.
    pub fn report(&self, now: Tick) -> Vec<(Arc<str>, u64, u64)> {
        let term = self.config.dead_after.as_millis() as u64;
        let entry = |(node, ear): (&Arc<str>, &Ear)| {
            let age = now.saturating_sub(ear.heard?);
            (age <= term).then(|| (node.clone(), ear.epoch, age))
        };
        self.ears.iter().filter_map(entry).collect()
    }

    /// One turn, about once a second. Only who leads wishes anything.
    pub fn poll(&mut self, now: Tick, leads: bool, members: &[Watched]) -> Vec<Wish> {
        let is_late = self.turned.is_none_or(|turned| now.saturating_sub(turned) > LATE_MS);
        if is_late || (leads && !self.led) {
            self.trusted = now;
            self.ears.values_mut().for_each(|ear| ear.asked = None);
        }
        (self.turned, self.led) = (Some(now), leads);
        self.follow(now, members);
        if !leads {
            return Vec::new();
        }
        let mut wishes = Vec::new();
        let mut dead = Vec::new();
        let own = self.own.clone();
        for member in members.iter().filter(|member| member.node != own) {
            match member.down {
                Some(epoch) => wishes.extend(self.returned(member, epoch, now)),
                None => self.silent(member, members, now, &mut wishes, &mut dead),
            }
        }
        self.guard(dead, members.len(), now, &mut wishes);
        wishes
    }

    fn follow(&mut self, now: Tick, members: &[Watched]) {
        for member in members {
            self.ears.entry(member.node.clone()).or_insert_with(|| Ear { since: now, ..Ear::default() });
        }
        if self.ears.len() > members.len() {
            self.ears.retain(|node, _| members.iter().any(|member| member.node == *node));
        }
    }

    fn silence(&self, ear: &Ear, now: Tick) -> u64 {
        now.saturating_sub(ear.heard.unwrap_or(0).max(ear.since).max(self.trusted))
    }

    /// A verdict is taken back when the node would not even be suspected.
    fn returned(&mut self, member: &Watched, epoch: u64, now: Tick) -> Option<Wish> {
        let suspect = self.config.suspect_after.as_millis() as u64;
        let ear = self.ears.get_mut(&member.node)?;
        let is_fresh = ear.heard.is_some_and(|heard| now.saturating_sub(heard) < suspect);
        let is_due = ear.wished.is_none_or(|wished| now.saturating_sub(wished) >= AGAIN_MS);
        (is_fresh && is_due).then(|| {
            ear.wished = Some(now);
            Wish::Up { node: member.node.clone(), epoch }
        })
    }

    fn silent(
        &mut self,
        member: &Watched,
        members: &[Watched],
        now: Tick,
        wishes: &mut Vec<Wish>,
        dead: &mut Vec<Watched>,
    ) {
        let ms = |duration: std::time::Duration| duration.as_millis() as u64;
        let (suspect, term) = (ms(self.config.suspect_after), ms(self.config.dead_after));
        let probe = ms(self.config.probe_time);
        let Some(ear) = self.ears.get(&member.node) else { return };
        let silence = self.silence(ear, now);
        if silence < suspect {
            return;
        }
        match ear.asked {
            None => {
                let through = self.helpers(member, members, now);
                if let Some(ear) = self.ears.get_mut(&member.node) {
                    ear.asked = Some(now);
                }
                wishes.push(Wish::Probe { target: member.node.clone(), through });
            }
            Some(asked) if silence >= term && now.saturating_sub(asked) >= probe => {
                let again = ear.wished.is_some_and(|wished| now.saturating_sub(wished) < AGAIN_MS);
                if !again {
                    dead.push(member.clone());
                }
            }
            Some(_) => {}
        }
    }

    /// Who may try a silent node: whoever was heard just now, servers first.
    fn helpers(&mut self, target: &Watched, members: &[Watched], now: Tick) -> Vec<Arc<str>> {
        let fresh = self.config.beat.as_millis() as u64 * 2;
        let is_fit = |member: &&Watched| {
            let ear = self.ears.get(&member.node);
            let heard = ear.and_then(|ear| ear.heard);
            member.node != self.own
                && member.node != target.node
                && member.down.is_none()
                && heard.is_some_and(|heard| now.saturating_sub(heard) <= fresh)
        };
        let (mut servers, mut agents): (Vec<_>, Vec<_>) =
            members.iter().filter(is_fit).partition(|member| member.is_server);
        for group in [&mut servers, &mut agents] {
            if !group.is_empty() {
                let by = self.offset % group.len();
                group.rotate_left(by);
            }
        }
        self.offset = self.offset.wrapping_add(1);
        let all = servers.into_iter().chain(agents);
        all.take(self.config.probes).map(|member| member.node.clone()).collect()
    }

    /// At most a share of all within a window; what is more is said and waits.
    fn guard(&mut self, dead: Vec<Watched>, members: usize, now: Tick, wishes: &mut Vec<Wish>) {
        let window = self.config.verdict_window.as_millis() as u64;
        while self.verdicts.front().is_some_and(|at| now.saturating_sub(*at) >= window) {
            self.verdicts.pop_front();
        }
        let most = (members * self.config.most_percent as usize / 100).max(1);
        let free = most.saturating_sub(self.verdicts.len());
        let mut held = Vec::new();
        for (at, member) in dead.into_iter().enumerate() {
            if at >= free {
                held.push(member.node);
                continue;
            }
            self.verdicts.push_back(now);
            if let Some(ear) = self.ears.get_mut(&member.node) {
                ear.wished = Some(now);
            }
            wishes.push(Wish::Down { node: member.node, epoch: member.epoch });
        }
        let begins = !held.is_empty() && !self.held;
        self.held = !held.is_empty();
        if begins {
            wishes.push(Wish::Held { nodes: held });
        }
    }
}

#[cfg(test)]
mod tests;
