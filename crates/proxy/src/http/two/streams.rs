//! The streams of one connection, polled in its task: those that were woken, in the order in which they were.
//!
//! A task for each would let a connection with hundreds of streams have hundreds of turns where others have one. It
//! would cost more, too: the answers of several streams go out by one wake-up and one write. The connection itself waits
//! in the same line, so that what a stream hands to it does not wake the task that is at work anyway.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

/// Places that a connection keeps while no stream is open.
const KEPT: usize = 4;
/// The connection's own place.
const CONNECTION: usize = usize::MAX;

/// See the module.
pub(super) struct Streams<F> {
    places: Vec<Place<F>>,
    empty: Vec<usize>,
    door: Arc<Door>,
    connection: Arc<Knock>,
}

/// What streams may do in a turn.
pub(super) struct Share {
    left: usize,
    until: Instant,
}

impl Share {
    /// So many are polled, and none once so much time has passed: one that connects to an endpoint takes as long as ten
    /// that go on.
    pub(super) fn new(most: usize, time: Duration) -> Share {
        Share { left: most, until: Instant::now() + time }
    }

    /// Takes one out, if there is one. The clock is looked at now and then.
    fn take(&mut self) -> bool {
        if self.left % 4 == 1 && Instant::now() >= self.until {
            self.left = 0;
        }
        self.left = match self.left {
            0 => return false,
            left => left - 1,
        };
        true
    }
}

/// What holds one stream after another.
struct Place<F> {
    stream: Pin<Box<Option<F>>>,
    knock: Arc<Knock>,
    waker: Waker,
}

/// Where those that can go on are heard of.
#[derive(Debug, Default)]
struct Door(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    places: VecDeque<usize>,
    /// Absent while the task is on its way, or at work.
    task: Option<Waker>,
}

/// Wakes one stream, or the connection.
#[derive(Debug)]
struct Knock {
    place: usize,
    is_heard: AtomicBool,
    door: Arc<Door>,
}

impl Door {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Knock {
    fn new(place: usize, door: &Arc<Door>) -> Arc<Knock> {
        Arc::new(Knock { place, is_heard: AtomicBool::new(false), door: door.clone() })
    }

    fn knock(&self) {
        if self.is_heard.swap(true, SeqCst) {
            return;
        }
        let task = {
            let mut waiting = self.door.waiting();
            waiting.places.push_back(self.place);
            waiting.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wake for Knock {
    fn wake(self: Arc<Self>) {
        self.knock();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.knock();
    }
}

impl<F: Future<Output = ()>> Streams<F> {
    pub(super) fn new() -> Streams<F> {
        let door = Arc::default();
        Streams { places: Vec::new(), empty: Vec::new(), connection: Knock::new(CONNECTION, &door), door }
    }

    /// By which the connection is woken.
    pub(super) fn connection(&self) -> Waker {
        Waker::from(self.connection.clone())
    }

    /// The connection is to be polled.
    pub(super) fn wake_connection(&self) {
        self.connection.knock();
    }

    /// Takes one in; it is polled next time.
    pub(super) fn begin(&mut self, stream: F) {
        let at = match self.empty.pop() {
            Some(at) => {
                self.places[at].stream.set(Some(stream));
                at
            }
            None => {
                let knock = Knock::new(self.places.len(), &self.door);
                let waker = Waker::from(knock.clone());
                self.places.push(Place { stream: Box::pin(Some(stream)), knock, waker });
                self.places.len() - 1
            }
        };
        self.places[at].knock.knock();
    }

    /// The task is at work, and needs not be woken until it listens again.
    pub(super) fn answer_the_door(&self) {
        self.door.waiting().task = None;
    }

    /// Polls those that were woken, as far as the share goes; true when it is the connection's turn.
    pub(super) fn poll(&mut self, share: &mut Share) -> bool {
        let mut connection = false;
        while share.take() {
            let Some(at) = self.door.waiting().places.pop_front() else {
                share.left += 1;
                break;
            };
            if at == CONNECTION {
                // After those that wait with it: what they hand to it goes out at once.
                self.connection.is_heard.store(false, SeqCst);
                connection = true;
                continue;
            }
            let Some(place) = self.places.get_mut(at) else { continue };
            place.knock.is_heard.store(false, SeqCst);
            let Some(stream) = place.stream.as_mut().as_pin_mut() else { continue };
            if stream.poll(&mut Context::from_waker(&place.waker)).is_ready() {
                place.stream.set(None);
                self.empty.push(at);
            }
        }
        connection
    }

    /// Has the task woken by the next that can go on; true when there are some already.
    pub(super) fn listen(&mut self, cx: &Context<'_>) -> bool {
        // A connection on which nothing is asked keeps no memory.
        if self.empty.len() == self.places.len() && self.places.len() > KEPT {
            (self.places, self.empty) = (Vec::new(), Vec::new());
        }
        let mut waiting = self.door.waiting();
        if waiting.places.is_empty() {
            waiting.task = Some(cx.waker().clone());
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Poll;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    type Told = Rc<RefCell<Vec<u32>>>;
    type Wakers = Rc<RefCell<Vec<Waker>>>;

    /// One that waits until it is woken, and says each time that it is polled.
    fn waits(name: u32, told: &Told, wakers: &Wakers) -> impl Future<Output = ()> {
        let (told, wakers, mut begun) = (told.clone(), wakers.clone(), false);
        poll_fn(move |cx| {
            told.borrow_mut().push(name);
            if std::mem::replace(&mut begun, true) {
                return Poll::Ready(());
            }
            wakers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
    }

    fn share(most: usize) -> Share {
        Share::new(most, Duration::from_secs(600))
    }

    #[test]
    fn time_ends_a_share() {
        let mut share = Share::new(32, Duration::ZERO);
        let taken = std::iter::from_fn(|| share.take().then_some(())).count();
        assert!((1..=4).contains(&taken), "{taken}");
    }

    #[test]
    fn only_those_that_were_woken_go_on_and_one_wake_up_is_enough_for_all() {
        let (told, wakers) = (Told::default(), Wakers::default());
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);
        let mut streams = Streams::new();
        streams.wake_connection();
        (0..5).for_each(|name| streams.begin(waits(name, &told, &wakers)));
        assert!(streams.poll(&mut share(3)), "the connection is first");
        assert!(streams.listen(&cx), "there are two more");
        assert!(!streams.poll(&mut share(3)));
        assert!(!streams.listen(&cx));
        assert_eq!(told.take(), [0, 1, 2, 3, 4]);
        [3, 1, 3].iter().for_each(|at: &usize| wakers.borrow()[*at].wake_by_ref());
        assert_eq!(count.0.load(SeqCst), 1);
        streams.connection().wake();
        assert!(streams.poll(&mut share(9)));
        assert_eq!((told.take(), count.0.load(SeqCst)), (vec![3, 1], 1));
        streams.begin(waits(5, &told, &wakers));
        wakers.borrow()[1].wake_by_ref();
        assert!(!streams.poll(&mut share(9)));
        assert_eq!(told.take(), [5], "in the place of one that is over, whose waker says nothing new");
    }

    #[test]
    fn a_task_that_is_at_work_is_not_woken() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut streams = Streams::<std::future::Ready<()>>::new();
        streams.wake_connection();
        assert!(streams.poll(&mut share(1)) && !streams.listen(&Context::from_waker(&waker)));
        streams.answer_the_door();
        streams.wake_connection();
        assert_eq!(count.0.load(SeqCst), 0);
        assert!(streams.listen(&Context::from_waker(&waker)), "it has not been polled");
    }
}
