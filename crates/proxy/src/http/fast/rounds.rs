//! Time for all plain connections of a thread: one clock goes round and visits each, instead of a timer and two
//! subscriptions in every one, which would be touched at every wake-up.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Weak as Remote};
use std::task::{self, Waker};
use std::time::{Duration, Instant, SystemTime};

use relay::Local;

use super::super::guard::State;
use super::super::patience::{Limits, Patience, Verdict};
use super::super::refusal::Refusal;
use crate::serve::{Context, Face};

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Nothing.
    GoOn,
    /// Answer what was asked and take no more.
    Leave,
    /// Look into the state: something was refused.
    Refuse,
    /// The endpoint takes too long.
    TimedOut,
    /// Now.
    Close,
}

/// A connection that is visited.
pub(crate) struct Visited {
    state: Rc<State>,
    local: Rc<Local>,
    patience: RefCell<Patience>,
    interval: Duration,
    due: Cell<Instant>,
    /// How long an endpoint may think, and since when it does.
    response: Option<Duration>,
    asked: Cell<Option<Instant>>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
}

/// The clock of one thread.
struct Rounds {
    visited: RefCell<Vec<Weak<Visited>>>,
    /// Between two rounds; 0 while nobody goes round.
    every: Cell<Duration>,
    sooner: tokio::sync::Notify,
}

thread_local! {
    /// Each data thread has one, and each runs one proxy.
    static ROUNDS: Rc<Rounds> = Rc::new(Rounds {
        visited: RefCell::default(),
        every: Cell::default(),
        sooner: tokio::sync::Notify::new(),
    });
    static DATE: RefCell<(u64, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
}

/// Has a connection visited until what is returned is dropped.
pub(crate) fn visit(
    context: &Context,
    state: &Rc<State>,
    limits: Limits,
    response: Option<Duration>,
) -> Rc<Visited> {
    let Context { face, local, .. } = context;
    let patience = Patience::new(limits);
    let interval = response.map_or(patience.interval(), |response| patience.interval().min(response / 2));
    ROUNDS.with(|rounds| {
        let now = Instant::now();
        let visited = Rc::new(Visited {
            state: state.clone(),
            local: local.clone(),
            interval: patience.interval(),
            patience: RefCell::new(patience),
            due: Cell::new(now),
            response,
            asked: Cell::new(None),
            order: Cell::new(if face.drain.is_started() { Order::Leave } else { Order::GoOn }),
            waker: RefCell::default(),
        });
        visited.due.set(now + visited.interval);
        rounds.visited.borrow_mut().push(Rc::downgrade(&visited));
        let interval = interval.max(Duration::from_millis(10));
        if rounds.every.get().is_zero() {
            rounds.every.set(interval);
            tokio::task::spawn_local(go_round(rounds.clone(), Arc::downgrade(face)));
        } else if interval < rounds.every.get() {
            rounds.every.set(interval);
            rounds.sooner.notify_one();
        }
        visited
    })
}

impl Visited {
    /// What it is told.
    pub(super) fn order(&self) -> Order {
        self.order.get()
    }

    /// Remembers whom to wake.
    pub(super) fn note_waker(&self, cx: &task::Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// An endpoint is asked. By the clock itself: counted from the round before, it would have a round less.
    pub(super) fn asks(&self) {
        self.asked.set(Some(Instant::now()));
    }

    /// How long an endpoint may think; zero where that is its own affair.
    pub(super) fn patience_for_answers(&self) -> Duration {
        self.response.unwrap_or_default()
    }

    /// It has answered.
    pub(super) fn is_answered(&self) {
        self.asked.set(None);
        if self.order.get() == Order::TimedOut {
            // It came at the last moment.
            self.order.set(Order::GoOn);
        }
    }

    fn tell(&self, order: Order) {
        self.order.set(order);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn look(&self, now: Instant, face: &Face) {
        let late = self.asked.get().zip(self.response).is_some_and(|(asked, limit)| now >= asked + limit);
        if late {
            // Said once: it is answered by an answer of our own.
            self.asked.set(None);
            return self.tell(Order::TimedOut);
        }
        if now < self.due.get() {
            return;
        }
        self.due.set(now + self.interval);
        match self.patience.borrow_mut().look(self.state.seen(), &self.local) {
            Verdict::Wait => {}
            Verdict::Idle => self.tell(Order::Leave),
            Verdict::SlowHead => {
                self.state.refuse_head(Refusal::SlowHead);
                self.tell(Order::Refuse);
            }
            Verdict::SlowBody => {
                self.state.refuse_body(Refusal::SlowBody);
                self.tell(Order::Refuse);
            }
            Verdict::SlowReader => {
                face.metrics.slow_readers.inc();
                self.tell(Order::Close);
            }
        }
    }
}

/// Goes round as long as there is anybody to visit. Holds the proxy's surroundings only while it waits for news of
/// them: the proxy has finished when nobody holds them any more.
async fn go_round(rounds: Rc<Rounds>, face: Remote<Face>) {
    let mut leaving = false;
    loop {
        let Some(held) = face.upgrade() else { break };
        if leaving {
            // The last connections are finishing; a short sleep holds nobody up.
            drop(held);
            tokio::time::sleep(Duration::from_millis(20)).await;
        } else {
            tokio::select! {
                () = held.drain.started() => leaving = true,
                () = rounds.sooner.notified() => {}
                () = tokio::time::sleep(rounds.every.get()) => {}
            }
        }
        let Some(face) = face.upgrade() else { break };
        if !round(&rounds, &face, leaving) {
            break;
        }
    }
    rounds.every.set(Duration::ZERO);
}

/// One round; false when nobody was there.
fn round(rounds: &Rounds, face: &Face, leaving: bool) -> bool {
    let now = Instant::now();
    let cut = leaving && face.cut.is_started();
    let mut list = rounds.visited.borrow_mut();
    list.retain(|visited| visited.strong_count() > 0);
    for visited in list.iter().filter_map(Weak::upgrade) {
        match visited.order() {
            _ if cut => visited.tell(Order::Close),
            Order::GoOn if leaving => visited.tell(Order::Leave),
            _ => visited.look(now, face),
        }
    }
    !list.is_empty()
}

/// The moment as a `Date` field has it (RFC 9110 section 5.6.7), written once a second.
pub(crate) fn with_date<R>(with: impl FnOnce(&[u8]) -> R) -> R {
    let now = SystemTime::now();
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with(|date| {
        let (written, text) = &mut *date.borrow_mut();
        if *written != seconds || text.is_empty() {
            (*written, *text) = (seconds, httpdate::fmt_http_date(now).into_bytes());
        }
        with(text)
    })
}
