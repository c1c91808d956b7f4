//! Judges live connections again when the rules change. Each holds its own permit and asks about it; here is only
//! how it hears of a change.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use route::{Permit, Routes};
use state::Reader;

use crate::local::Local;

/// Changes of the rules, as one thread's connections wait for them.
#[derive(Default)]
pub(crate) struct Changes {
    count: Cell<u64>,
    waiting: RefCell<Waiting>,
}

/// Places of those who wait; an empty one is taken again.
#[derive(Default)]
struct Waiting {
    places: Vec<Option<Waker>>,
    empty: Vec<usize>,
}

impl Changes {
    fn happened(&self) {
        self.count.set(self.count.get() + 1);
        let woken: Vec<Waker> = self.waiting.borrow().places.iter().flatten().cloned().collect();
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Resolves at the next change of the rules. Polling it again for nothing costs two comparisons.
pub(crate) struct Changed {
    local: Rc<Local>,
    seen: u64,
    place: Option<usize>,
}

impl Future for Changed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let local = self.local.clone();
        let changes = &local.changes;
        if changes.count.get() != self.seen {
            self.seen = changes.count.get();
            return Poll::Ready(());
        }
        let mut waiting = changes.waiting.borrow_mut();
        let Waiting { places, empty } = &mut *waiting;
        let place = *self.place.get_or_insert_with(|| {
            empty.pop().unwrap_or_else(|| {
                places.push(None);
                places.len() - 1
            })
        });
        if !places[place].as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            places[place] = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut waiting = self.local.changes.waiting.borrow_mut();
            waiting.places[place] = None;
            waiting.empty.push(place);
        }
    }
}

impl Local {
    /// Resolves when the rules change, each time that it is awaited.
    pub(crate) fn changed(self: &Rc<Self>) -> Changed {
        Changed { local: self.clone(), seen: self.changes.count.get(), place: None }
    }

    /// Resolves when the rules no longer allow what `permit` allowed; for ever pending while they do. A connection
    /// that was permitted a moment ago is judged at once, since they may have changed before it came here.
    pub fn forbidden(self: &Rc<Self>, permit: &Permit) -> Forbidden {
        Forbidden(Standing::new(self, permit.clone()))
    }

    /// The same for a permit that was made in this turn of the thread, so that nothing can have changed since: it is judged
    /// when the rules change, and costs next to nothing while they do not.
    pub fn forbidden_from_now(self: &Rc<Self>, permit: Permit) -> Forbidden {
        Forbidden(Standing { judged: true, ..Standing::new(self, permit) })
    }
}

/// Resolves when the rules no longer allow what a permit allowed, see [`Local::forbidden`].
pub struct Forbidden(Standing);

impl Future for Forbidden {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.poll(cx) { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// A permit, with an ear for changes of the rules.
pub(crate) struct Standing {
    permit: Permit,
    changed: Changed,
    /// It was asked about since the last change.
    judged: bool,
}

impl Standing {
    pub(crate) fn new(local: &Rc<Local>, permit: Permit) -> Standing {
        Standing { permit, changed: local.changed(), judged: false }
    }

    pub(crate) fn permit(&self) -> &Permit {
        &self.permit
    }

    /// False once the rules no longer allow it; while they do, the task is woken when they change.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        while Pin::new(&mut self.changed).poll(cx).is_ready() {
            self.judged = false;
        }
        let judged = std::mem::replace(&mut self.judged, true);
        judged || self.changed.local.with_routes(|routes| routes.still_permits(&self.permit))
    }
}

/// Tells a thread's connections of every change of the rules, until the thread or the routes are gone.
pub(crate) async fn follow(local: Weak<Local>, mut routes: Reader<Routes>) {
    let mut seen = routes.now().policy().clone();
    while let Some(now) = routes.next().await {
        let Some(local) = local.upgrade() else { return };
        if !Arc::ptr_eq(&seen, now.policy()) {
            seen = now.policy().clone();
            local.changes.happened();
        }
    }
}
