//! The search for an order.

use std::collections::HashSet;
use std::fmt::Write as _;

use crate::history::Operation;
use crate::model::Model;
use crate::placing::{Event, Timeline};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none. The text says how far the best attempt came and what could not follow.
    Violation(String),
    /// The bound on configurations was reached first.
    Undecided {
        /// Configurations visited.
        visited: usize,
    },
}

/// Checks the history of one object, visiting at most `bound` configurations.
pub fn check<M: Model>(model: &M, history: &[Operation<M::Ask, M::Answer>], bound: usize) -> Verdict {
    let told = |operation: &&Operation<M::Ask, M::Answer>| {
        operation.returned.is_some() || !model.only_reads(&operation.ask)
    };
    Search::new(model, history.iter().filter(told).collect()).run(bound)
}

/// A configuration: which operations have been placed, and the state that this left.
type Seen<S> = HashSet<(Box<[u64]>, S)>;

struct Search<'a, M: Model> {
    model: &'a M,
    history: Vec<&'a Operation<M::Ask, M::Answer>>,
    left: Timeline,
    /// One bit for each operation that has been placed.
    placed: Box<[u64]>,
    /// Operations in the order they were placed, each with the state before it.
    order: Vec<(usize, M::State)>,
    state: M::State,
    seen: Seen<M::State>,
    /// Operations with an answer that have not been placed.
    waiting: usize,
    /// The longest order so far, for the report.
    best: Best<M::State>,
}

/// The attempt that came furthest.
struct Best<S> {
    order: Vec<usize>,
    state: S,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, history: Vec<&'a Operation<M::Ask, M::Answer>>) -> Self {
        let spans: Vec<_> =
            history.iter().map(|op| (op.called, op.returned.as_ref().map(|(at, _)| *at))).collect();
        let waiting = spans.iter().filter(|(_, returned)| returned.is_some()).count();
        Search {
            model,
            left: Timeline::new(&spans),
            placed: vec![0; history.len().div_ceil(64)].into(),
            history,
            order: Vec::new(),
            state: model.start(),
            seen: HashSet::new(),
            waiting,
            best: Best { order: Vec::new(), state: model.start() },
        }
    }

    /// Walks the list from its start: whatever is called before the first return that is left may come next.
    /// A return that is reached means that its operation should have been placed: step back and try the
    /// entry after the last one placed.
    fn run(mut self, bound: usize) -> Verdict {
        let mut at = self.left.first();
        while self.waiting > 0 {
            if self.seen.len() > bound {
                return Verdict::Undecided { visited: self.seen.len() };
            }
            at = match at.map(|place| (place, self.left.event(place))) {
                Some((_, Event::Call(operation))) if self.place(operation) => self.left.first(),
                Some((place, Event::Call(_))) => self.left.after(place),
                Some((_, Event::Return(_))) | None => match self.step_back() {
                    Some(place) => self.left.after(place),
                    None => return Verdict::Violation(self.report()),
                },
            };
        }
        Verdict::Linearizable
    }

    /// Places an operation next, if its answer allows it and this has not been tried.
    fn place(&mut self, operation: usize) -> bool {
        let Operation { ask, returned, .. } = self.history[operation];
        let (state, answer) = self.model.step(&self.state, ask);
        if returned.as_ref().is_some_and(|(_, expected)| *expected != answer) {
            return false;
        }
        self.placed[operation / 64] |= 1 << (operation % 64);
        if !self.seen.insert((self.placed.clone(), state.clone())) {
            self.placed[operation / 64] &= !(1 << (operation % 64));
            return false;
        }
        self.order.push((operation, std::mem::replace(&mut self.state, state)));
        self.left.take(operation);
        self.waiting -= usize::from(returned.is_some());
        if self.order.len() > self.best.order.len() {
            let order = self.order.iter().map(|(operation, _)| *operation).collect();
            self.best = Best { order, state: self.state.clone() };
        }
        true
    }

    /// Takes the last placed operation away; where its call stands.
    fn step_back(&mut self) -> Option<usize> {
        let (operation, before) = self.order.pop()?;
        self.state = before;
        self.placed[operation / 64] &= !(1 << (operation % 64));
        self.left.put_back(operation);
        self.waiting += usize::from(self.history[operation].returned.is_some());
        Some(self.left.call_of(operation))
    }

    /// How far it came, and what was then in the way.
    fn report(&self) -> String {
        let placed = &self.best.order;
        let mut text = format!(
            "no order explains this history: after {} of {} operations, with the state {:?}, none of these can follow:",
            placed.len(),
            self.history.len(),
            self.best.state
        );
        let rest = || (0..self.history.len()).filter(|operation| !placed.contains(operation));
        let returned = |operation: &usize| self.history[*operation].returned.as_ref().map(|(at, _)| *at);
        let first_return = rest().filter_map(|operation| returned(&operation)).min().unwrap_or(u64::MAX);
        let candidates = rest().filter(|operation| self.history[*operation].called <= first_return);
        for operation in candidates {
            let _ = write!(text, "\n  {:?}", self.history[operation]);
        }
        text.push_str("\nlast in that order:");
        for operation in placed.iter().rev().take(8).rev() {
            let _ = write!(text, "\n  {:?}", self.history[*operation]);
        }
        text
    }
}
