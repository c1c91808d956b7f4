//! Batches that are written and not yet durable, and the one order in which they are acknowledged.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::Index;

/// One batch under way.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Where it stands in the active segment.
    pub(crate) start: u64,
    /// Index of its first command.
    pub(crate) first: Index,
    pub(crate) payloads: Vec<Bytes>,
    /// The horizon of the mark that was written with it, if one was.
    pub(crate) horizon: Option<u64>,
}

/// Names one batch under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Those under way, in the order of their places, each with whether its own sync is done.
///
/// A sync that is done says nothing about batches before: each waits for its own. So a batch is acknowledged
/// when it and all before it have landed.
#[derive(Debug)]
pub(crate) struct Flights {
    /// No batch may end beyond: that of the newest mark which is durable.
    horizon: u64,
    air: VecDeque<(Flight, bool)>,
    /// Ticket of the first of them.
    oldest: u64,
}

impl Flights {
    /// Nothing under way, in a segment whose mark says `horizon`.
    pub(crate) fn new(horizon: u64) -> Self {
        Self { horizon, air: VecDeque::new(), oldest: 0 }
    }

    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Another mark is durable, perhaps of another segment.
    pub(crate) fn set_horizon(&mut self, horizon: u64) {
        self.horizon = horizon;
    }

    /// Everything below this offset of the active segment is known to be durable; none when all of it is.
    pub(crate) fn synced(&self) -> Option<u64> {
        self.air.front().map(|(flight, _)| flight.start)
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.air.is_empty()
    }

    /// A batch was written, behind all that are under way.
    pub(crate) fn depart(&mut self, flight: Flight) -> Ticket {
        self.air.push_back((flight, false));
        Ticket(self.oldest + self.air.len() as u64 - 1)
    }

    /// What a hasty log would do: take one sync for the sync of all before it.
    #[cfg(test)]
    pub(crate) fn land_up_to(&mut self, Ticket(number): Ticket) -> Vec<Flight> {
        (self.oldest..=number).flat_map(|before| self.land(Ticket(before))).collect()
    }

    /// The batch's own sync is done. Answers what may be acknowledged now, in order.
    pub(crate) fn land(&mut self, Ticket(number): Ticket) -> Vec<Flight> {
        let place = number.checked_sub(self.oldest).and_then(|place| usize::try_from(place).ok());
        if let Some((_, landed)) = place.and_then(|place| self.air.get_mut(place)) {
            *landed = true;
        }
        let ready = self.air.iter().take_while(|(_, landed)| *landed).count();
        self.oldest += ready as u64;
        let ready: Vec<Flight> = self.air.drain(..ready).map(|(flight, _)| flight).collect();
        self.horizon = ready.iter().rev().find_map(|flight| flight.horizon).unwrap_or(self.horizon);
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_acknowledged_in_order_whatever_order_their_syncs_end_in() {
        let mut flights = Flights::new(7);
        let depart = |flights: &mut Flights, first| {
            let horizon = (first == 2).then_some(9);
            flights.depart(Flight { start: first * 512, first, payloads: vec![], horizon })
        };
        let [a, b, c] = [1, 2, 3].map(|first| depart(&mut flights, first));
        let firsts = |landed: Vec<Flight>| landed.iter().map(|flight| flight.first).collect::<Vec<_>>();
        assert_eq!(firsts(flights.land(b)), [0; 0], "the one before is not durable");
        assert_eq!((flights.synced(), flights.horizon()), (Some(512), 7));
        assert_eq!(firsts(flights.land(a)), [1, 2]);
        assert_eq!((flights.synced(), flights.horizon()), (Some(3 * 512), 9));
        let d = depart(&mut flights, 4);
        assert_eq!(firsts(flights.land(c)), [3]);
        assert_eq!(firsts(flights.land(d)), [4]);
        assert!(flights.is_empty() && flights.synced().is_none());
    }
}
