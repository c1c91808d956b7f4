//! The calls and returns of a history in the order of time, as a list from which operations are taken out and
//! into which they are put back.

/// No further entry.
const END: usize = usize::MAX;

/// A place in the list: the call or the return of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Call(usize),
    Return(usize),
}

/// A doubly linked list over a fixed set of entries ("dancing links"): taking an operation out and putting it
/// back in the reverse order are constant in time.
#[derive(Debug)]
pub(crate) struct Timeline {
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    first: usize,
    /// Entries of the call and of the return of each operation.
    places: Vec<(usize, Option<usize>)>,
}

impl Timeline {
    /// `spans` are when each operation was called and, if it did, when it returned. What is called at the
    /// moment when something else returns overlaps with it: a clock's tick orders nothing.
    pub(crate) fn new(spans: &[(u64, Option<u64>)]) -> Timeline {
        let mut ordered = Vec::new();
        for (operation, (called, returned)) in spans.iter().enumerate() {
            ordered.push((*called, 0, Event::Call(operation)));
            if let Some(returned) = returned {
                ordered.push((*returned, 1, Event::Return(operation)));
            }
        }
        ordered.sort_by_key(|(time, kind, _)| (*time, *kind));
        let events: Vec<Event> = ordered.into_iter().map(|(.., event)| event).collect();
        let mut places = vec![(END, None); spans.len()];
        for (place, event) in events.iter().enumerate() {
            match *event {
                Event::Call(operation) => places[operation].0 = place,
                Event::Return(operation) => places[operation].1 = Some(place),
            }
        }
        let last = events.len();
        let link = |place: usize| if place < last { place } else { END };
        let next = (0..last).map(|place| link(place + 1)).collect();
        let previous = (0..last).map(|place| place.checked_sub(1).unwrap_or(END)).collect();
        Timeline { events, next, previous, first: link(0), places }
    }

    /// The first entry that is left.
    pub(crate) fn first(&self) -> Option<usize> {
        (self.first != END).then_some(self.first)
    }

    pub(crate) fn after(&self, place: usize) -> Option<usize> {
        Some(self.next[place]).filter(|place| *place != END)
    }

    pub(crate) fn event(&self, place: usize) -> Event {
        self.events[place]
    }

    /// Where an operation's call stands.
    pub(crate) fn call_of(&self, operation: usize) -> usize {
        self.places[operation].0
    }

    pub(crate) fn take(&mut self, operation: usize) {
        let (call, returned) = self.places[operation];
        self.unlink(call);
        if let Some(place) = returned {
            self.unlink(place);
        }
    }

    /// Undoes the last [`Timeline::take`] that has not been undone.
    pub(crate) fn put_back(&mut self, operation: usize) {
        let (call, returned) = self.places[operation];
        if let Some(place) = returned {
            self.link(place);
        }
        self.link(call);
    }

    fn unlink(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.connect(previous, next);
    }

    fn link(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.connect(previous, place);
        self.connect(place, next);
    }

    fn connect(&mut self, before: usize, after: usize) {
        match before {
            END => self.first = after,
            before => self.next[before] = after,
        }
        if after != END {
            self.previous[after] = before;
        }
    }
}
