//! The one thread that applies.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use catalog::{Applied, Catalog, Envelope, Snapshot, checkpoint};
use log::{Entry, Event, Log, LogError};
use state::Publisher;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::topics::Topics;
use crate::{Events, Kept, OpenError, Proposals, Shared, Store, SubmitError, View};

/// Most entries behind one published snapshot: readers are never kept waiting for long.
const MAX_BATCH: usize = 8192;

/// Tells the time in Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How a store is driven.
#[derive(Clone)]
pub struct Config {
    /// Name of this node: the proposer of everything submitted here.
    pub node: Arc<str>,
    /// A checkpoint is saved once this many bytes were appended since the last.
    pub checkpoint_bytes: u64,
    /// Tells the time that goes into commands.
    pub clock: Clock,
    /// This life of the node is this one or a later one. What is replayed says which lives there were, but not
    /// always all of them: where others decide too, the last one's commands may not be on this disk yet, and
    /// its numbers used again would be taken for repetitions. Whoever shares an order counts lives apart.
    pub least_epoch: u64,
    /// How long a submitted command is waited for; for ever when unset, as where one node decides alone.
    pub patience: Option<Duration>,
}

impl Config {
    /// Defaults for `node`: a checkpoint every 64 MiB, the system's clock.
    pub fn new(node: &str) -> Config {
        let since_epoch = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Config {
            node: node.into(),
            checkpoint_bytes: 64 << 20,
            clock: Arc::new(move || since_epoch().as_millis() as u64),
            least_epoch: 1,
            patience: None,
        }
    }
}

/// Replays a log and starts to apply what it decides. Call inside a tokio runtime: checkpoints are awaited
/// there.
///
/// # Errors
/// [`OpenError`]. Nothing has been published then.
pub async fn open(config: Config, log: Arc<dyn Log>, mut events: Events) -> Result<Store, OpenError> {
    let mut catalog = Catalog::default();
    replay(&mut catalog, &mut events).await?;
    let snapshot = catalog.snapshot();
    let epoch = (snapshot.epoch_of(&config.node) + 1).max(config.least_epoch);
    let (publisher, reader) = state::channel(View(snapshot));
    let shared = Arc::new(Shared {
        log,
        node: config.node.clone(),
        epoch,
        clock: config.clock.clone(),
        patience: config.patience,
        reader,
        topics: Topics::default(),
        proposals: Mutex::new(Proposals::default()),
        kept: Mutex::new(Kept::Waiting),
    });
    let driver = Driver {
        catalog,
        publisher,
        shared: shared.clone(),
        checkpoint_bytes: config.checkpoint_bytes,
        checkpointing: None,
        runtime: Handle::current(),
        has_stopped: false,
    };
    std::thread::Builder::new()
        .name("store".into())
        .spawn(move || driver.run(events))
        .map_err(OpenError::Thread)?;
    Ok(Store { shared })
}

async fn replay(catalog: &mut Catalog, events: &mut Events) -> Result<(), OpenError> {
    loop {
        match events.recv().await.ok_or(OpenError::Ended)? {
            Event::Restore(saved) => *catalog = Catalog::from_snapshot(checkpoint::read(&saved.state[..])?),
            Event::Entries(entries) => {
                for entry in &entries {
                    apply(catalog, entry)?;
                }
            }
            Event::Replayed => return Ok(()),
            Event::Stopped(cause) => return Err(OpenError::Log(cause)),
        }
    }
}

/// Applies one entry; with whose it was: (epoch, sequence, node).
fn apply(catalog: &mut Catalog, entry: &Entry) -> Result<(Envelope, Applied), OpenError> {
    let envelope =
        Envelope::decode(&entry.payload).map_err(|cause| OpenError::Command { index: entry.index, cause })?;
    let applied = catalog.apply(entry.index, &envelope);
    Ok((envelope, applied))
}

struct Driver {
    catalog: Catalog,
    publisher: Publisher<View>,
    shared: Arc<Shared>,
    checkpoint_bytes: u64,
    checkpointing: Option<oneshot::Receiver<()>>,
    runtime: Handle,
    /// The engine gave up (a full disk, a failed sync) and said why.
    has_stopped: bool,
}

impl Driver {
    fn run(mut self, mut events: Events) {
        while let Some(event) = events.blocking_recv() {
            let result = match event {
                Event::Entries(entries) => self.entries(entries, &mut events),
                Event::Restore(saved) => self.restore(&saved.state),
                Event::Replayed => Ok(()),
                Event::Stopped(cause) => {
                    self.stop(cause);
                    Ok(())
                }
            };
            if let Err(cause) = result {
                tracing::error!(error = %chain(&cause), "this node stops applying: its state would differ from others'");
                let reason = chain(&cause);
                return self.stop(Arc::new(LogError::Stopped { reason }));
            }
        }
        if self.has_stopped {
            return self.shared.keep(self.publisher);
        }
        self.stop(Arc::new(LogError::Stopped { reason: "the log was closed".into() }));
    }

    /// Applies these entries and whatever else is already decided, then publishes once.
    fn entries(&mut self, mut entries: Vec<Entry>, events: &mut Events) -> Result<(), OpenError> {
        let mut mine = Vec::new();
        let mut touched = Vec::new();
        let mut pending = None;
        let mut count = 0;
        loop {
            for entry in &entries {
                let (envelope, applied) = apply(&mut self.catalog, entry)?;
                count += 1;
                touched.extend_from_slice(&applied.touched);
                if envelope.node == self.shared.node && envelope.epoch == self.shared.epoch {
                    mine.push((envelope.sequence, applied));
                }
            }
            match events.try_recv() {
                Ok(Event::Entries(more)) if count < MAX_BATCH => entries = more,
                Ok(other) => {
                    pending = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.publish(touched, mine);
        match pending {
            None => self.maybe_checkpoint(),
            Some(Event::Entries(more)) => return self.entries(more, events),
            Some(Event::Restore(saved)) => return self.restore(&saved.state),
            Some(Event::Replayed) => {}
            Some(Event::Stopped(cause)) => self.stop(cause),
        }
        Ok(())
    }

    /// Snapshot first, then the outcomes, then the watchers: whoever writes does not wait until thousands who
    /// watch have been told.
    fn publish(&self, mut touched: Vec<catalog::Topic>, mine: Vec<(u64, Applied)>) {
        self.publisher.publish(View(self.catalog.snapshot()));
        let waiting: Vec<_> = {
            let mut proposals = self.shared.proposals.lock().unwrap_or_else(PoisonError::into_inner);
            mine.into_iter().filter_map(|(seq, a)| Some((proposals.waiting.remove(&seq)?, a))).collect()
        };
        for (sender, applied) in waiting {
            // A caller that gave up has dropped its receiver; the command holds all the same.
            let _ = sender.send(Ok(applied));
        }
        touched.sort_unstable();
        touched.dedup();
        self.shared.topics.wake(&touched);
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), OpenError> {
        self.catalog = Catalog::from_snapshot(checkpoint::read(state)?);
        self.publisher.publish(View(self.catalog.snapshot()));
        self.shared.topics.wake_all();
        Ok(())
    }

    fn maybe_checkpoint(&mut self) {
        if let Some(running) = &mut self.checkpointing
            && running.try_recv() == Err(oneshot::error::TryRecvError::Empty)
        {
            return;
        }
        if self.shared.log.status().bytes_since_checkpoint < self.checkpoint_bytes {
            return;
        }
        let snapshot = self.catalog.snapshot();
        let saved = self
            .shared
            .log
            .save_checkpoint(snapshot.index(), Box::new(move |to| checkpoint::write(&snapshot, to)));
        let (done, running) = oneshot::channel();
        self.checkpointing = Some(running);
        self.runtime.spawn(async move {
            if let Err(cause) = saved.await {
                tracing::warn!(error = %chain(&cause), "no checkpoint was saved; the log keeps growing");
            }
            drop(done);
        });
    }

    /// Nothing more is decided. Reads go on.
    fn stop(&mut self, cause: Arc<LogError>) {
        self.has_stopped = true;
        self.fail_waiting(cause);
    }

    fn fail_waiting(&self, cause: Arc<LogError>) {
        let waiting = {
            let mut proposals = self.shared.proposals.lock().unwrap_or_else(PoisonError::into_inner);
            proposals.closed = Some(cause.clone());
            std::mem::take(&mut proposals.waiting)
        };
        for (_, sender) in waiting {
            let _ = sender.send(Err(SubmitError::Log(cause.clone())));
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<Snapshot> for View {
    fn from(snapshot: Snapshot) -> View {
        View(snapshot)
    }
}
