//! This node's own commands from the moment they are queued until they are decided, and when to propose one again.
//!
//! A proposal may be lost: with the session that carried it, or with a leader that is replaced. It is proposed
//! again when that is certain, not when it has taken long. The [`Route`] that it took is remembered; once the
//! route is another, the new leader is asked for an index behind all that it has taken. When that has been handed
//! over, so has everything that earlier leaders decided, or ever will have, and everything that reached this one:
//! what is still missing is gone. A read would not do: it covers what is decided, and a command may have reached
//! this very leader while its proposer still believed in another, and lie there undecided. Only a command that was
//! dropped on a route that did not change (a leader with too much to do) waits for a time limit.
//!
//! Commands are told apart by their bytes. A command may all the same be decided twice, in rare cases (a third
//! server passed it on, late, and the link with that one has ended; the first decision came inside a checkpoint):
//! whoever proposes must be able to tell (the catalog's envelopes do).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use paxos::{Command, Route};

/// A command that was proposed and not decided for this long is proposed again, whatever is known; later ones
/// after twice as long each.
const PATIENCE_MS: u64 = 5_000;
/// No command waits longer than this for another attempt.
const MOST_PATIENCE_MS: u64 = 60_000;

#[derive(Debug)]
struct Item {
    payload: Bytes,
    sent: Option<Sent>,
    attempts: u32,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Under which route.
    route: u64,
    at_ms: u64,
}

impl Item {
    fn patience(&self) -> u64 {
        (PATIENCE_MS << self.attempts.saturating_sub(1).min(8)).min(MOST_PATIENCE_MS)
    }
}

/// What a probe, once answered, allows to conclude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    route: u64,
    begun_ms: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Pending {
    items: BTreeMap<u64, Item>,
    by_content: HashMap<Bytes, VecDeque<u64>>,
    /// To be proposed, in order.
    unsent: BTreeSet<u64>,
    last: u64,
    route: Route,
    route_number: u64,
    /// Bytes proposed and not decided.
    under_way: u64,
    /// Something may have been sent under another route, or the time to look has come.
    look_at_ms: u64,
}

/// How often patience is looked at.
const LOOK_EVERY_MS: u64 = 250;
/// After so long a probe is put again: the index that it waits for may have been taken by a leader that is gone, and
/// this node, which only follows, did not see that.
const PROBE_PATIENCE_MS: u64 = 5_000;

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn under_way(&self) -> u64 {
        self.under_way
    }

    /// Bytes not yet proposed, roughly bounded by what was taken from the inbox.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    pub(crate) fn push(&mut self, payload: Bytes) {
        self.last += 1;
        self.by_content.entry(payload.clone()).or_default().push_back(self.last);
        self.items.insert(self.last, Item { payload, sent: None, attempts: 0 });
        self.unsent.insert(self.last);
    }

    /// The next command to be proposed.
    pub(crate) fn next(&self) -> Option<Bytes> {
        let number = self.unsent.first()?;
        self.items.get(number).map(|item| item.payload.clone())
    }

    /// The next command was taken by the driver.
    pub(crate) fn sent(&mut self, now_ms: u64) {
        let Some(number) = self.unsent.pop_first() else { return };
        let Some(item) = self.items.get_mut(&number) else { return };
        item.sent = Some(Sent { route: self.route_number, at_ms: now_ms });
        item.attempts += 1;
        self.under_way += item.payload.len() as u64;
    }

    /// Commands were decided. Answers how many of them were ours, and their bytes.
    pub(crate) fn settle(&mut self, commands: &[Command]) -> (usize, usize) {
        if self.items.is_empty() {
            return (0, 0);
        }
        let (mut count, mut bytes) = (0, 0);
        for Command(payload) in commands {
            let Some(numbers) = self.by_content.get_mut(payload) else { continue };
            let Some(number) = numbers.pop_front() else { continue };
            if numbers.is_empty() {
                self.by_content.remove(payload);
            }
            self.unsent.remove(&number);
            if self.items.remove(&number).is_some_and(|item| item.sent.is_some()) {
                self.under_way = self.under_way.saturating_sub(payload.len() as u64);
            }
            count += 1;
            bytes += payload.len();
        }
        (count, bytes)
    }

    /// Looks at the route; answers a probe to be made if something may be lost.
    pub(crate) fn doubt(&mut self, route: Route, now_ms: u64) -> Option<Probe> {
        if self.items.is_empty() {
            self.route = route;
            return None;
        }
        if self.route != route {
            self.route = route;
            self.route_number += 1;
            self.look_at_ms = 0;
        }
        if now_ms < self.look_at_ms {
            return None;
        }
        let probe = Probe { route: self.route_number, begun_ms: now_ms };
        let doubtful = self.items.values().any(|item| probe.doubts(item));
        if !doubtful {
            self.look_at_ms = now_ms + LOOK_EVERY_MS;
        }
        doubtful.then_some(probe)
    }

    /// Whether a probe that is under way would still say something.
    pub(crate) fn is_current(&self, probe: Probe) -> bool {
        probe.route == self.route_number
    }

    /// Whether it would, and is not overdue.
    pub(crate) fn is_awaited(&self, probe: Probe, now_ms: u64) -> bool {
        self.is_current(probe) && now_ms < probe.begun_ms + PROBE_PATIENCE_MS
    }

    /// A probe was answered, and everything up to its index handed over: what is missing is gone. Answers how
    /// many commands will be proposed again.
    pub(crate) fn conclude(&mut self, probe: Probe) -> usize {
        if !self.is_current(probe) {
            return 0;
        }
        let before = self.unsent.len();
        for (number, item) in &mut self.items {
            if probe.doubts(item) {
                item.sent = None;
                self.unsent.insert(*number);
                self.under_way = self.under_way.saturating_sub(item.payload.len() as u64);
            }
        }
        self.unsent.len() - before
    }
}

impl Probe {
    fn doubts(&self, item: &Item) -> bool {
        item.sent.is_some_and(|sent| sent.route < self.route || sent.at_ms + item.patience() < self.begun_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Pending {
        fn reroute(&mut self) {
            self.route_number += 1;
            self.look_at_ms = 0;
        }
    }

    fn command(byte: u8) -> Bytes {
        Bytes::from(vec![byte; 3])
    }

    fn decided(bytes: &[u8]) -> Vec<Command> {
        bytes.iter().map(|byte| Command(command(*byte))).collect()
    }

    fn send_all(pending: &mut Pending, now_ms: u64) -> Vec<u8> {
        let mut sent = Vec::new();
        while let Some(payload) = pending.next() {
            sent.push(payload[0]);
            pending.sent(now_ms);
        }
        sent
    }

    #[test]
    fn what_is_missing_once_the_probe_is_answered_is_proposed_again_in_order() {
        let mut pending = Pending::default();
        (1..=3).for_each(|byte| pending.push(command(byte)));
        assert_eq!(send_all(&mut pending, 0), [1, 2, 3]);
        assert_eq!(pending.doubt(Route::default(), 10), None, "nothing changed");
        pending.reroute();
        let probe = pending.doubt(Route::default(), 20).expect("a doubt");
        assert_eq!(pending.settle(&decided(&[2, 9])), (1, 3));
        assert_eq!(pending.conclude(probe), 2);
        pending.push(command(4));
        assert_eq!(send_all(&mut pending, 30), [1, 3, 4]);
        assert_eq!(pending.doubt(Route::default(), 40), None);
        assert_eq!(pending.settle(&decided(&[1, 3, 4])), (3, 9));
        assert!(pending.is_empty() && pending.under_way() == 0);
    }

    #[test]
    fn a_probe_of_a_route_that_changed_again_says_nothing() {
        let mut pending = Pending::default();
        pending.push(command(1));
        send_all(&mut pending, 0);
        pending.reroute();
        let probe = pending.doubt(Route::default(), 0).expect("a doubt");
        pending.reroute();
        assert_eq!(pending.conclude(probe), 0);
    }

    #[test]
    fn patience_ends_and_grows() {
        let mut pending = Pending::default();
        pending.push(command(1));
        send_all(&mut pending, 0);
        assert_eq!(pending.doubt(Route::default(), PATIENCE_MS), None);
        let probe = pending.doubt(Route::default(), PATIENCE_MS + LOOK_EVERY_MS).expect("a doubt");
        assert_eq!(pending.conclude(probe), 1);
        send_all(&mut pending, PATIENCE_MS + LOOK_EVERY_MS);
        assert_eq!(pending.doubt(Route::default(), 3 * PATIENCE_MS), None);
        assert!(pending.doubt(Route::default(), 4 * PATIENCE_MS).is_some());
    }

    #[test]
    fn equal_commands_count_each_for_itself() {
        let mut pending = Pending::default();
        pending.push(command(1));
        pending.push(command(1));
        send_all(&mut pending, 0);
        assert_eq!(pending.settle(&decided(&[1])), (1, 3));
        assert!(!pending.is_empty());
        assert_eq!(pending.settle(&decided(&[1, 1])), (1, 3));
        assert!(pending.is_empty());
    }
}
