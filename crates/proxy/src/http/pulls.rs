//! How the answers of one HTTP/2 connection are taken. hyper asks for more of one when the client has room for it: after
//! some was given out and as long as nobody asks, the client keeps that stream's window shut.

use std::cell::{Cell, RefCell};

use relay::limit::Held;

/// The answers of a connection that are on their way.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    is_on: Cell<bool>,
    places: RefCell<Vec<Option<Pull>>>,
    empty: RefCell<Vec<usize>>,
}

/// One of them.
#[derive(Debug)]
struct Pull {
    /// Something was given out, and no more asked for.
    is_kept: bool,
    looks: u32,
    /// What is kept meanwhile.
    held: Option<Held>,
}

impl Pulls {
    /// Answers are watched from now on.
    pub(crate) fn watch(&self) {
        self.is_on.set(true);
    }

    /// Watches one more, where any are; its place.
    pub(crate) fn begin(&self) -> Option<usize> {
        if !self.is_on.get() {
            return None;
        }
        let pull = Some(Pull { is_kept: true, looks: 0, held: None });
        let mut places = self.places.borrow_mut();
        match self.empty.borrow_mut().pop() {
            Some(place) => {
                places[place] = pull;
                Some(place)
            }
            None => {
                places.push(pull);
                Some(places.len() - 1)
            }
        }
    }

    /// It was asked for more, and gave some or did not.
    pub(crate) fn note(&self, place: usize, gave_out: bool) {
        if let Some(Some(pull)) = self.places.borrow_mut().get_mut(place) {
            *pull = Pull { is_kept: gave_out, looks: 0, held: None };
        }
    }

    /// It is over.
    pub(crate) fn end(&self, place: usize) {
        if self.places.borrow_mut().get_mut(place).and_then(Option::take).is_some() {
            self.empty.borrow_mut().push(place);
        }
    }

    /// Looks once at all of them; for how many looks, with this one, the longest has been asked for nothing. `hold` counts
    /// what is kept for such a one.
    pub(crate) fn look(&self, hold: impl Fn() -> Held) -> u32 {
        let mut places = self.places.borrow_mut();
        let kept = places.iter_mut().flatten().filter(|pull| pull.is_kept);
        let longest = kept.map(|pull| {
            pull.held.get_or_insert_with(&hold);
            pull.looks += 1;
            pull.looks
        });
        longest.max().unwrap_or_default()
    }
}
