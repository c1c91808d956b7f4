//! Signs of life while the disk takes long.
//!
//! The engine's thread waits for its disk, and a disk may stall for longer than peers wait for a heartbeat. A second
//! thread looks now and then whether it does; while it does, that one takes in what arrives and sends the heartbeats
//! that follow. Everything else that follows waits for the turn that the disk is busy with.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::engine::Engine;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(40);
/// A disk that has taken this long may take much longer.
const LONG_MS: u64 = 20;

#[derive(Debug)]
struct Shared {
    origin: Instant,
    /// When the disk was given its work, in milliseconds after the origin and one; 0 when it has none.
    since: AtomicU64,
    over: AtomicBool,
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_slow(&self) -> bool {
        let since = self.since.load(Ordering::Acquire);
        since != 0 && self.now_ms() + 1 >= since + LONG_MS
    }
}

/// The disk has work.
#[derive(Debug)]
pub(crate) struct Working<'a>(&'a AtomicU64);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// The second thread.
#[derive(Debug)]
pub(crate) struct Pulse {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    /// # Errors
    /// The kernel's, when there is no thread to be had.
    pub(crate) fn start(engine: &Arc<Mutex<Engine>>) -> std::io::Result<Self> {
        let shared =
            Shared { origin: Instant::now(), since: AtomicU64::new(0), over: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let (seen, engine) = (Arc::clone(&shared), Arc::downgrade(engine));
        let look = move || {
            while !seen.over.load(Ordering::Acquire) {
                std::thread::park_timeout(LOOK);
                if seen.is_slow() {
                    beat(&engine);
                }
            }
        };
        let thread = std::thread::Builder::new().name("log-pulse".to_owned()).spawn(look)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The disk has work until the answer is dropped.
    pub(crate) fn watch(&self) -> Working<'_> {
        self.shared.since.store(self.shared.now_ms() + 1, Ordering::Release);
        Working(&self.shared.since)
    }

    /// Ends the thread, and waits for that.
    pub(crate) fn stop(mut self) {
        self.shared.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
    }
}

fn beat(engine: &Weak<Mutex<Engine>>) {
    let Some(engine) = engine.upgrade() else { return };
    let mut engine = match engine.try_lock() {
        Ok(engine) => engine,
        // The disk was done meanwhile.
        Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return,
    };
    engine.take_input();
    for effect in engine.driver.poll_heartbeats() {
        // Sending is all that heartbeats ask for, and sending does not fail.
        drop(engine.effect(effect));
    }
}
