//! The engine without a disk, for `portolan dev` and for tests: same trait, same stream, nothing kept.
//!
//! An entry is decided in the call that appends it. Deliberately absent: history. A checkpoint is written
//! (so that its errors show) and forgotten, because nothing will ever be restored from it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::events::{self, EventReceiver, EventSender};
use crate::{BoxFuture, Entry, Event, Index, Log, LogError, LogStatus, WriteState};

/// Limits of a memory log.
#[derive(Debug, Clone)]
pub struct Config {
    /// Largest command, in bytes.
    pub max_command_bytes: usize,
    /// Most entries that may wait for the reader before appends are refused.
    pub max_queued: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_command_bytes: crate::MAX_COMMAND_BYTES, max_queued: crate::MAX_QUEUED }
    }
}

/// Opens an empty log. Its stream starts with [`Event::Replayed`].
#[must_use]
pub fn open(config: Config) -> (Arc<Memory>, EventReceiver) {
    let (events, receiver) = events::channel();
    events.send(Event::Replayed);
    let state = State { events: Some(events), last: 0, checkpoint: 0, bytes: 0 };
    (Arc::new(Memory { config, state: Arc::new(Mutex::new(state)) }), receiver)
}

/// A log that lives as long as its process.
#[derive(Debug)]
pub struct Memory {
    config: Config,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// `None` once closed.
    events: Option<EventSender>,
    last: Index,
    checkpoint: Index,
    bytes: u64,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> LogError {
    LogError::Stopped { reason: "it was closed".to_owned() }
}

impl Log for Memory {
    fn append(&self, payload: Bytes) -> Result<(), LogError> {
        let limit = self.config.max_command_bytes;
        if payload.len() > limit {
            return Err(LogError::TooLarge { bytes: payload.len(), limit });
        }
        let mut state = lock(&self.state);
        let events = state.events.as_ref().ok_or_else(closed)?;
        let queued = events.gauge().backlog().entries;
        if queued >= self.config.max_queued {
            return Err(LogError::Full { queued });
        }
        let index = state.last + 1;
        let bytes = payload.len() as u64;
        events.send(Event::Entries(vec![Entry { index, payload }]));
        state.last = index;
        state.bytes += bytes;
        Ok(())
    }

    fn barrier(&self) -> BoxFuture<Result<Index, LogError>> {
        let state = lock(&self.state);
        let answer = if state.events.is_some() { Ok(state.last) } else { Err(closed()) };
        Box::pin(std::future::ready(answer))
    }

    fn save_checkpoint(&self, index: Index, write: WriteState) -> BoxFuture<Result<(), LogError>> {
        let (done, result) = tokio::sync::oneshot::channel();
        let state = Arc::clone(&self.state);
        let save = move || {
            // The receiver may have lost interest; the checkpoint counts all the same.
            drop(done.send(save(&state, index, write)));
        };
        let spawned = std::thread::Builder::new().name("log-checkpoint".to_owned()).spawn(save);
        Box::pin(async move {
            spawned.map_err(|cause| LogError::io("start a thread for", "a checkpoint", cause))?;
            result.await.unwrap_or_else(|_| Err(LogError::writer_panicked(index)))
        })
    }

    fn status(&self) -> LogStatus {
        let state = lock(&self.state);
        LogStatus {
            engine: "memory",
            first_index: if state.last > state.checkpoint { state.checkpoint + 1 } else { 0 },
            last_index: state.last,
            checkpoint_index: state.checkpoint,
            bytes_since_checkpoint: state.bytes,
            stopped: state.events.is_none().then(|| closed().to_string()),
            ..LogStatus::default()
        }
    }

    fn close(&self) -> BoxFuture<()> {
        lock(&self.state).events = None;
        Box::pin(std::future::ready(()))
    }
}

/// Runs `write` and counts its checkpoint. What came after `index` while it ran is not counted apart: the
/// bytes since are an estimate for status pages, exact again with the next checkpoint.
fn save(state: &Mutex<State>, index: Index, write: WriteState) -> Result<(), LogError> {
    let (last, bytes) = {
        let state = lock(state);
        (state.last, state.bytes)
    };
    if index > last {
        return Err(LogError::Ahead { index, last });
    }
    let mut sink = Discard;
    write(&mut sink).map_err(|cause| LogError::io("write", "a checkpoint", cause))?;
    let mut state = lock(state);
    if index > state.checkpoint {
        state.checkpoint = index;
        state.bytes = state.bytes.saturating_sub(bytes);
    }
    Ok(())
}

struct Discard;

impl Write for Discard {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_appended_comes_back_once_and_in_order() {
        let (log, mut events) = open(Config::default());
        for i in 0..3u8 {
            log.append(Bytes::from(vec![i])).expect("room");
        }
        assert_eq!(log.barrier().await.expect("open"), 3);
        log.close().await;
        assert!(matches!(events.recv().await, Some(Event::Replayed)));
        for i in 0..3u8 {
            let Some(Event::Entries(entries)) = events.recv().await else { panic!("entries expected") };
            assert_eq!(entries, [Entry { index: u64::from(i) + 1, payload: Bytes::from(vec![i]) }]);
        }
        assert!(events.recv().await.is_none(), "a closed log ends its stream");
    }

    #[tokio::test]
    async fn a_reader_that_lags_is_not_flooded() {
        let (log, mut events) = open(Config { max_queued: 2, ..Config::default() });
        log.append(Bytes::new()).expect("first");
        log.append(Bytes::new()).expect("second");
        assert!(matches!(log.append(Bytes::new()), Err(LogError::Full { queued: 2 })));
        events.recv().await.expect("replayed");
        events.recv().await.expect("an entry");
        log.append(Bytes::new()).expect("room again");
    }

    #[tokio::test]
    async fn a_checkpoint_moves_the_first_index() {
        let (log, _events) = open(Config::default());
        log.append(Bytes::from_static(b"abc")).expect("room");
        assert_eq!(log.status().first_index, 1);
        let ahead = log.save_checkpoint(2, Box::new(|_| Ok(()))).await;
        assert!(matches!(ahead, Err(LogError::Ahead { index: 2, last: 1 })));
        log.save_checkpoint(1, Box::new(|out| out.write_all(b"state"))).await.expect("saved");
        let status = log.status();
        assert_eq!((status.first_index, status.checkpoint_index, status.bytes_since_checkpoint), (0, 1, 0));
    }
}
