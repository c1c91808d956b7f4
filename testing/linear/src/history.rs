//! Taking a history down while it happens.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// One operation of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<A, R> {
    /// Who asked; for whoever reads a violation.
    pub client: usize,
    /// What was asked.
    pub ask: A,
    /// When it was called. Any clock that all clients share, in any unit.
    pub called: u64,
    /// When it returned and what it answered; `None` when nobody knows.
    pub returned: Option<(u64, R)>,
}

/// A history that many threads write.
#[derive(Debug)]
pub struct Recorder<K, A, R> {
    origin: Instant,
    operations: Mutex<Vec<(K, Operation<A, R>)>>,
}

impl<K, A, R> Default for Recorder<K, A, R> {
    fn default() -> Self {
        Recorder { origin: Instant::now(), operations: Mutex::default() }
    }
}

impl<K, A, R> Recorder<K, A, R> {
    /// Notes that an operation begins. Dropping what comes back means that its outcome is not known.
    pub fn call(&self, client: usize, key: K, ask: A) -> Pending<'_, K, A, R> {
        let operation = Operation { client, ask, called: self.now(), returned: None };
        Pending { recorder: self, operation: Some((key, operation)) }
    }

    /// Everything so far, in the order in which it ended.
    pub fn take(&self) -> Vec<(K, Operation<A, R>)> {
        std::mem::take(&mut *self.operations.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nanoseconds since the recorder was made.
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// An operation that has been called and has not returned.
#[derive(Debug)]
pub struct Pending<'a, K, A, R> {
    recorder: &'a Recorder<K, A, R>,
    operation: Option<(K, Operation<A, R>)>,
}

impl<K, A, R> Pending<'_, K, A, R> {
    /// It answered.
    pub fn returned(mut self, answer: R) {
        if let Some((_, operation)) = &mut self.operation {
            operation.returned = Some((self.recorder.now(), answer));
        }
    }

    /// It was certainly never carried out: the request never left.
    pub fn never_sent(mut self) {
        self.operation = None;
    }
}

impl<K, A, R> Drop for Pending<'_, K, A, R> {
    fn drop(&mut self) {
        if let Some(operation) = self.operation.take() {
            self.recorder.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
        }
    }
}
