//! Drives a log: submits commands, applies what is decided, publishes snapshots.
//!
//! One thread applies. Everybody else holds a [`Store`]: a cheap handle that submits and waits, and reads
//! immutable [`Snapshot`]s. Nothing is published before the log is replayed. A snapshot is published before
//! the outcome of any command in it is handed back, so a caller reads its own writes.

mod driver;
mod topics;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catalog::{Applied, Command, Envelope, Outcome, Refusal, Snapshot};
use log::{Log, LogError, LogStatus};
use state::{Publisher, Reader};
use tokio::sync::oneshot;

pub use driver::{Clock, Config, open};
pub use topics::{Watch, Watched};

use topics::Topics;

/// The latest snapshot that was applied, as faces see it.
#[derive(Debug, Clone, Default)]
pub struct View(pub Snapshot);

impl state::Versioned for View {
    fn version(&self) -> u64 {
        self.0.index()
    }
}

impl std::ops::Deref for View {
    type Target = Snapshot;
    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// Why a command has no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// The log did not take it, or stopped before it was decided.
    #[error("submit a command")]
    Log(#[source] Arc<LogError>),
    /// The command cannot be encoded.
    #[error("submit a command: encode it: {0}")]
    Encode(String),
    /// The store is closed.
    #[error("submit a command: this node is shutting down")]
    Closed,
    /// Nobody decided, one way or the other: too few servers reach each other. It may still come about.
    #[error("submit a command: it was not decided within {waited_s} s, and may still be")]
    Undecided {
        /// For how long that was waited for, in seconds.
        waited_s: u64,
    },
    /// A member's version does not know such commands, and would stop at it.
    #[error(
        "submit a command: the version of node \"{node}\" does not know it (feature level {has}, and {needs} is needed); update that node first, or `portolan remove {node}` if it is gone for good"
    )]
    TooNew {
        /// The member that understands least.
        node: Arc<str>,
        /// What it understands.
        has: u32,
        /// What it would have to.
        needs: u32,
    },
    /// `apply` refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why the store did not open, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log ended before it was replayed.
    #[error("replay the log")]
    Log(#[source] Arc<LogError>),
    /// The checkpoint does not decode.
    #[error("read the checkpoint")]
    Checkpoint(#[from] catalog::checkpoint::ReadError),
    /// A decided command does not decode. Skipping it would make this node's state differ from others'.
    #[error("apply the command at index {index}")]
    Command {
        /// Its index.
        index: u64,
        /// Why.
        #[source]
        cause: catalog::command::DecodeError,
    },
    /// The engine's event stream ended.
    #[error("replay the log: its event stream ended early")]
    Ended,
    /// The store's thread could not be started.
    #[error("start the store's thread")]
    Thread(#[source] std::io::Error),
}

/// Handle to the store. Clones share it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    log: Arc<dyn Log>,
    node: Arc<str>,
    epoch: u64,
    clock: Clock,
    patience: Option<Duration>,
    reader: Reader<View>,
    topics: Topics,
    proposals: Mutex<Proposals>,
    kept: Mutex<Kept>,
}

/// The publisher of a store whose log has stopped. Readers take the end of their publisher for the end of the
/// node, and a node that cannot write any more still answers.
pub(crate) enum Kept {
    /// The driver has it.
    Waiting,
    /// The driver has ended.
    Here { _publisher: Publisher<View> },
    /// The store is closed: it may go.
    Closed,
}

impl Shared {
    pub(crate) fn keep(&self, publisher: Publisher<View>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*kept, Kept::Closed) {
            *kept = Kept::Here { _publisher: publisher };
        }
    }
}

/// Commands of this epoch that wait for their outcome.
#[derive(Default)]
pub(crate) struct Proposals {
    last_sequence: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Applied, SubmitError>>>,
    closed: Option<Arc<LogError>>,
}

impl Store {
    /// Submits a command and waits until it is durable and applied.
    ///
    /// # Errors
    /// [`SubmitError`]; a refusal by `apply` is one too, so that `?` does the right thing. Use
    /// [`Store::propose`] to look at the outcome of a batch.
    pub async fn submit(&self, command: Command) -> Result<Applied, SubmitError> {
        let applied = self.propose(command).await?;
        match applied.outcome {
            Outcome::Refused(refusal) => Err(SubmitError::Refused(refusal)),
            _ => Ok(applied),
        }
    }

    /// Submits a command and returns whatever became of it.
    ///
    /// # Errors
    /// [`SubmitError`], except `Refused`.
    pub async fn propose(&self, command: Command) -> Result<Applied, SubmitError> {
        let outcome = self.enqueue(command)?;
        let Some(patience) = self.shared.patience else {
            return outcome.await.unwrap_or(Err(SubmitError::Closed));
        };
        match tokio::time::timeout(patience, outcome).await {
            Ok(outcome) => outcome.unwrap_or(Err(SubmitError::Closed)),
            Err(_) => Err(SubmitError::Undecided { waited_s: patience.as_secs() }),
        }
    }

    /// Numbers a command and hands it to the log, in one step, so that numbers follow the log's order.
    fn enqueue(
        &self,
        command: Command,
    ) -> Result<oneshot::Receiver<Result<Applied, SubmitError>>, SubmitError> {
        let mut envelope = Envelope {
            node: self.shared.node.clone(),
            epoch: self.shared.epoch,
            sequence: 0,
            time_ms: (self.shared.clock)(),
            command,
        };
        if let Some(oldest) = self.now().too_old_for(&envelope.command) {
            let (node, has, needs) = (oldest.name.clone(), oldest.features, envelope.command.level());
            return Err(SubmitError::TooNew { node, has, needs });
        }
        let (sender, receiver) = oneshot::channel();
        let mut proposals = self.shared.proposals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cause) = &proposals.closed {
            return Err(SubmitError::Log(cause.clone()));
        }
        envelope.sequence = proposals.last_sequence + 1;
        let bytes = envelope.encode().map_err(|cause| SubmitError::Encode(cause.to_string()))?;
        self.shared.log.append(bytes).map_err(|cause| SubmitError::Log(Arc::new(cause)))?;
        proposals.last_sequence = envelope.sequence;
        proposals.waiting.insert(envelope.sequence, sender);
        Ok(receiver)
    }

    /// A reader of snapshots.
    pub fn reader(&self) -> Reader<View> {
        self.shared.reader.clone()
    }

    /// The latest snapshot.
    pub fn now(&self) -> Arc<View> {
        self.shared.reader.now()
    }

    /// Registers interest in some scopes. Register first, then look at a snapshot, then wait: the
    /// opposite order has a gap.
    pub fn watch(&self, scopes: impl IntoIterator<Item = Watched>) -> Watch {
        self.shared.topics.watch(scopes)
    }

    /// Wakes everybody who watches anything: to look again, and to see that it is time to leave.
    pub fn wake_watchers(&self) {
        self.shared.topics.wake_all();
    }

    /// An index at or above everything decided before the call, once it is applied here: a read of the
    /// returned snapshot is linearizable.
    ///
    /// # Errors
    /// [`SubmitError`] when the log stopped.
    pub async fn barrier(&self) -> Result<Arc<View>, SubmitError> {
        let index = self.shared.log.barrier().await.map_err(|cause| SubmitError::Log(Arc::new(cause)))?;
        self.shared.reader.at_least(index).await.map_err(|_| SubmitError::Closed)
    }

    /// Name of the node that this store proposes for.
    pub fn node(&self) -> &Arc<str> {
        &self.shared.node
    }

    /// This life of the node: grows with every start.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// The log's state, for status and metrics.
    pub fn log_status(&self) -> LogStatus {
        self.shared.log.status()
    }

    /// How many commands wait for their outcome.
    pub fn waiting(&self) -> usize {
        self.shared.proposals.lock().unwrap_or_else(PoisonError::into_inner).waiting.len()
    }

    /// Makes everything submitted durable and releases the log. Readers come to their end.
    pub async fn close(&self) {
        self.shared.log.close().await;
        *self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::Closed;
    }
}

/// What an engine hands to [`open`].
pub type Events = log::EventReceiver;
