//! What a single copy would answer.

use std::fmt::Debug;
use std::hash::Hash;

/// A deterministic object with one state.
pub trait Model {
    /// Its whole state; equal states answer alike for ever.
    type State: Clone + Eq + Hash + Debug;
    /// What may be asked of it.
    type Ask: Debug;
    /// What it answers.
    type Answer: Eq + Debug;

    /// Before the first operation.
    fn start(&self) -> Self::State;

    /// The state after `ask`, and what is answered.
    fn step(&self, state: &Self::State, ask: &Self::Ask) -> (Self::State, Self::Answer);

    /// True for what changes no state: when its answer is not known it says nothing and is left out.
    fn only_reads(&self, ask: &Self::Ask) -> bool;
}

/// One key of a key-value store. Values are numbers, 0 for "no such key".
///
/// Stores that compare a version rather than a value fit as well, as long as no value is written twice: then a
/// version stands for a value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Register;

/// An operation on one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// What is there?
    Read,
    /// Put it there, whatever was there.
    Write(u64),
    /// Put `to` there if `from` is there.
    Swap {
        /// Expected value, 0 to create.
        from: u64,
        /// New value.
        to: u64,
    },
    /// Take it away.
    Delete,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// To a read: the value, 0 for none.
    Value(u64),
    /// It was done.
    Done,
    /// To a swap: something else was there.
    Refused,
}

impl Model for Register {
    type State = u64;
    type Ask = Ask;
    type Answer = Answer;

    fn start(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, ask: &Ask) -> (u64, Answer) {
        match *ask {
            Ask::Read => (*state, Answer::Value(*state)),
            Ask::Write(value) => (value, Answer::Done),
            Ask::Swap { from, to } if from == *state => (to, Answer::Done),
            Ask::Swap { .. } => (*state, Answer::Refused),
            Ask::Delete => (0, Answer::Done),
        }
    }

    fn only_reads(&self, ask: &Ask) -> bool {
        matches!(ask, Ask::Read)
    }
}
