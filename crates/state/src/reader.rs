//! One writer, any number of readers, whole values.

use std::sync::Arc;

use tokio::sync::watch;

/// A state that knows which index of the log it stands at.
pub trait Versioned {
    /// The index.
    fn version(&self) -> u64;
}

/// The publisher is gone: no state at the wanted version will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind;

/// The one writer of a state.
#[derive(Debug)]
pub struct Publisher<T>(watch::Sender<Arc<T>>);

/// One of its readers. Clones are independent.
#[derive(Debug)]
pub struct Reader<T>(watch::Receiver<Arc<T>>);

/// A state with its writer and a first reader.
pub fn channel<T>(first: T) -> (Publisher<T>, Reader<T>) {
    let (sender, receiver) = watch::channel(Arc::new(first));
    (Publisher(sender), Reader(receiver))
}

impl<T> Publisher<T> {
    /// Replaces the state and wakes the readers.
    pub fn publish(&self, value: T) {
        self.0.send_replace(Arc::new(value));
    }

    /// Replaces the state unless it is equal: a settled system wakes nobody.
    pub fn publish_if_changed(&self, value: T)
    where
        T: PartialEq,
    {
        self.0.send_if_modified(|current| {
            let differs = **current != value;
            if differs {
                *current = Arc::new(value);
            }
            differs
        });
    }

    /// Another reader.
    pub fn reader(&self) -> Reader<T> {
        Reader(self.0.subscribe())
    }

    /// The state now.
    pub fn now(&self) -> Arc<T> {
        self.0.borrow().clone()
    }
}

impl<T> Reader<T> {
    /// The state now. Never waits; holds no lock afterwards.
    pub fn now(&self) -> Arc<T> {
        self.0.borrow().clone()
    }

    /// Brings `held` up to date. Costs one atomic load when nothing changed: for a thread that looks before
    /// every connection and must not share a lock with the others.
    pub fn refresh(&mut self, held: &mut Arc<T>) {
        if self.0.has_changed().unwrap_or(false) {
            *held = self.0.borrow_and_update().clone();
        }
    }

    /// Waits for a state newer than the last one that this reader saw through `next`. Skips freely.
    /// `None` when the writer is gone, which means draining.
    pub async fn next(&mut self) -> Option<Arc<T>> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// Waits until the state stands at `version` or later. Bound it with a timeout.
    ///
    /// # Errors
    /// [`Behind`] when the writer is gone.
    pub async fn at_least(&self, version: u64) -> Result<Arc<T>, Behind>
    where
        T: Versioned,
    {
        let mut receiver = self.0.clone();
        let state = receiver.wait_for(|state| state.version() >= version).await.map_err(|_| Behind)?;
        Ok(state.clone())
    }
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Reader(self.0.clone())
    }
}
