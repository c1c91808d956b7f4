//! What one data thread owns. Nothing here is locked, because nobody else touches it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use route::{Backend, Routes};
use state::Reader;
use sys::splice::Pipe;

use crate::balance::{Balancer, Failure, Flight};
use crate::config::Config;
use crate::dial::Dial;
use crate::http::Pools;
use crate::judge::Changes;
use crate::limit::Held;
use crate::metrics::Metrics;
use crate::threads::{Remote, Shared};
use crate::tls::Upstreams;
use crate::udp::Batches;

/// Size of the read buffer that all connections of a thread share.
pub(crate) const BUFFER: usize = 64 * 1024;
/// Size that is asked for a pipe.
const PIPE: usize = 256 * 1024;
/// Empty pipes kept.
const MOST_PIPES: usize = 64;

/// One data thread's own things.
pub struct Local {
    index: usize,
    shared: Arc<Shared>,
    routes: RefCell<(Reader<Routes>, Arc<Routes>)>,
    balancer: RefCell<Balancer>,
    random: RefCell<fastrand::Rng>,
    buffer: Cell<Option<Box<[u8]>>>,
    pipes: RefCell<Vec<Pipe>>,
    pub(crate) pools: Pools,
    pub(crate) changes: Changes,
    pub(crate) datagrams: RefCell<Option<Batches>>,
}

impl Local {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, routes: Reader<Routes>) -> Rc<Local> {
        let seed = fastrand::u64(..);
        let first = routes.now();
        let balancer = Balancer::new(shared.config.clone(), shared.endpoints.clone(), seed);
        Rc::new(Local {
            index,
            routes: RefCell::new((routes, first)),
            balancer: RefCell::new(balancer),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            buffer: Cell::new(None),
            pipes: RefCell::default(),
            pools: Pools::new(shared.config.pool_size, shared.config.pool_idle),
            datagrams: RefCell::default(),
            changes: Changes::default(),
            shared,
        })
    }

    /// Number of this thread, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Settings.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Counters.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Lends where every service leads, as of now. Lent and not handed out: a count of holders that all
    /// threads share would be fought over on every request.
    pub fn with_routes<R>(&self, with: impl FnOnce(&Routes) -> R) -> R {
        let (reader, held) = &mut *self.routes.borrow_mut();
        reader.refresh(held);
        with(held)
    }

    /// Nanoseconds since the data threads started: the balancer's clock.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The moment that `now_ns` counts from.
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// Chooses an endpoint, see [`Balancer::pick`].
    pub fn pick(&self, backend: &Arc<Backend>, tried: &[usize], key: Option<u64>) -> Option<(usize, Flight)> {
        self.balancer.borrow_mut().pick(backend, tried, key, self.now_ns())
    }

    /// Whether a request that was sent may be sent again, see [`Balancer::may_repeat`].
    pub(crate) fn may_repeat(&self, backend: &Arc<Backend>) -> bool {
        let may = self.balancer.borrow_mut().may_repeat(backend, self.now_ns());
        if !may {
            self.metrics().retries_refused.inc();
        }
        may
    }

    /// Tells of a failure toward the endpoint of `flight`.
    pub fn failed(&self, flight: &Flight, failure: Failure) {
        if flight.failed(self.now_ns(), failure) {
            self.metrics().ejections.inc();
        }
    }

    pub(crate) fn dialer(&self) -> &dyn Dial {
        &*self.shared.dial
    }

    pub(crate) fn upstreams(&self) -> &Upstreams {
        &self.shared.upstreams
    }

    pub(crate) fn threads(&self) -> &[Remote] {
        &self.shared.remotes
    }

    pub(crate) fn udp_sessions(&self) -> &Arc<AtomicUsize> {
        &self.shared.udp_sessions
    }

    /// A random thread that is not this one.
    pub(crate) fn another(&self) -> Option<usize> {
        let others = self.threads().len().checked_sub(1).filter(|others| *others > 0)?;
        let drawn = self.random.borrow_mut().usize(0..others);
        Some(if drawn >= self.index { drawn + 1 } else { drawn })
    }

    /// Counts one more connection on this thread, until the value is dropped.
    pub fn busy(self: &Rc<Self>) -> Busy {
        self.threads()[self.index].load.fetch_add(1, Relaxed);
        self.metrics().open.inc();
        Busy(self.clone())
    }

    /// Lends the shared read buffer of 64 KiB. Never across an await: it is back when this returns. Lent while
    /// it is lent already, it is another one.
    pub fn with_buffer<R>(&self, with: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut buffer = self.buffer.take().unwrap_or_else(|| vec![0; BUFFER].into());
        let result = with(&mut buffer);
        self.buffer.set(Some(buffer));
        result
    }

    /// Counts bytes that wait for a slow reader.
    pub fn hold(&self, count: usize) -> Held {
        Held::new(&self.metrics().buffered, count)
    }

    /// Whether there is room for what further connections may have us keep.
    pub fn has_memory(&self) -> bool {
        u64::try_from(self.metrics().buffered.get()).is_ok_and(|held| held < self.shared.config.max_buffered)
    }

    /// An empty pipe.
    pub(crate) fn take_pipe(&self) -> io::Result<Pipe> {
        let kept = self.pipes.borrow_mut().pop();
        kept.map_or_else(|| Pipe::new(PIPE), Ok)
    }

    /// Takes a pipe back; one that holds something is closed with it.
    pub(crate) fn give_pipe(&self, pipe: Pipe) {
        let mut pipes = self.pipes.borrow_mut();
        if pipe.held() == 0 && pipes.len() < MOST_PIPES {
            pipes.push(pipe);
        }
    }
}

/// See [`Local::busy`].
pub struct Busy(Rc<Local>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.threads()[self.0.index].load.fetch_sub(1, Relaxed);
        self.0.metrics().open.dec();
    }
}
