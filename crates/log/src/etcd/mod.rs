//! The engine of those who run etcd already: an existing cluster carries the order.
//!
//! ```text
//! <prefix>order/log/<proposer>/<sequence>   one batch of commands, put by one transaction together with
//! <prefix>order/head                        whose version counts the batches, without a gap
//! <prefix>state/meta, state/<id>/<number>   the newest checkpoint, and its chunks
//! <prefix>leader                            which node does what one has to do for all, for as long as it lives
//! <prefix>begun                             which log of one node the order went on from
//! ```
//!
//! The order is that of the revisions at which batches were put. To change what is written, see `append`; how the
//! order is followed, `tail`; how old batches go, `state`; who leads, `lead`; how a node's own log becomes the
//! beginning of one, `take_over`. etcd's JSON gateway is spoken over HTTP/1.1, with TLS and etcd's own
//! authentication where they are asked for (`access`).
//!
//! Nothing is kept on this host: a node that starts while etcd cannot be reached has nothing to answer with.

mod access;
mod append;
mod client;
mod lead;
mod shared;
mod state;
mod tail;
mod take_over;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use self::access::Access;
use self::append::Appender;
use self::client::Client;
use self::shared::{Place, Shared};
use self::tail::Tail;
use self::wire::RangeRequest;
use crate::events::{self, EventReceiver, EventSender, Gauge};
use crate::queue::Limits;
use crate::{BoxFuture, Event, Index, Log, LogError, LogStatus, WriteState};

pub use self::access::{Files, Login};
pub use self::take_over::{Begun, take_over};
#[cfg(any(test, feature = "testing"))]
pub use self::wire::fuzz_answer;

/// Which etcd, and how much it is given.
#[derive(Debug, Clone)]
pub struct Config {
    /// Client addresses of the cluster's members: `https://host:port`, `http://host:port`, or `host:port`, which is
    /// without TLS.
    pub endpoints: Vec<String>,
    /// What proves who is who where TLS is spoken.
    pub files: Files,
    /// What etcd is told where it wants to know.
    pub login: Option<Login>,
    /// This node's number, if it is one that may lead.
    pub candidate: Option<u64>,
    /// What all keys begin with. One prefix is one order.
    pub prefix: String,
    /// Largest command, in bytes. etcd takes requests of 1.5 MiB unless told otherwise.
    pub max_command_bytes: usize,
    /// Bytes of commands in one transaction, or one command if that is larger.
    pub max_batch_bytes: usize,
    /// Most commands that may wait: to be decided, or for the reader.
    pub max_queued: usize,
    /// Most bytes of commands that may wait.
    pub max_queued_bytes: usize,
    /// How long a barrier waits for etcd before it fails.
    pub barrier_patience: Duration,
    /// How long closing waits for what is queued to be decided.
    pub close_patience: Duration,
}

impl Config {
    /// The defaults for some endpoints, under `/portolan/`.
    #[must_use]
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            files: Files::default(),
            login: None,
            candidate: None,
            prefix: "/portolan/".to_owned(),
            max_command_bytes: 1 << 20,
            max_batch_bytes: 1 << 20,
            max_queued: crate::MAX_QUEUED,
            max_queued_bytes: 64 << 20,
            barrier_patience: Duration::from_secs(10),
            close_patience: Duration::from_secs(10),
        }
    }

    /// Checks the settings and reads the files that they name.
    ///
    /// # Errors
    /// [`LogError::Settings`] with what makes no sense, [`LogError::Io`] with the file that does not read.
    pub fn check(&self) -> Result<(), LogError> {
        self.access().map(drop)
    }

    fn access(&self) -> Result<Access, LogError> {
        if self.prefix.is_empty() || self.max_queued == 0 {
            let reason = "etcd needs a prefix for its keys, and the queue must hold something".to_owned();
            return Err(LogError::Settings { reason });
        }
        Access::new(&self.endpoints, &self.files, self.login.clone())
    }
}

/// Names of keys.
struct Keys {
    root: String,
    order: String,
    log: String,
    head: String,
    meta: String,
    leader: String,
    begun: String,
}

impl Keys {
    fn new(prefix: &str) -> Self {
        Self {
            root: prefix.to_owned(),
            order: format!("{prefix}order/"),
            log: format!("{prefix}order/log/"),
            head: format!("{prefix}order/head"),
            meta: format!("{prefix}state/meta"),
            leader: format!("{prefix}leader"),
            begun: format!("{prefix}begun"),
        }
    }

    fn batch(&self, proposer: u64, sequence: u64) -> String {
        format!("{}{proposer:016x}/{sequence:020}", self.log)
    }

    fn is_of(&self, key: &str, proposer: u64) -> bool {
        key.strip_prefix(&self.log).is_some_and(|rest| rest.starts_with(&format!("{proposer:016x}/")))
    }

    fn chunks(&self, id: &str) -> String {
        format!("{}state/{id}/", self.root)
    }

    fn chunk(&self, id: &str, number: u64) -> String {
        format!("{}{number:08}", self.chunks(id))
    }
}

/// Waits a little longer after each attempt that came to nothing.
async fn backoff(attempt: u32) {
    let wait = Duration::from_millis(20 << attempt.min(7)).min(Duration::from_secs(2));
    tokio::time::sleep(wait).await;
}

/// Opens the order under a prefix, or begins it: there is no difference. What etcd holds is replayed as soon as it can
/// be reached.
///
/// # Errors
/// [`LogError::Settings`] when the configuration makes no sense, [`LogError::Io`] when no thread can be started.
pub fn open(config: &Config) -> Result<(Arc<Etcd>, EventReceiver), LogError> {
    let access = config.access()?;
    let io = |cause| LogError::io("start a thread for", "the log in etcd", cause);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    let shared = Arc::new(Shared::new(Limits {
        command_bytes: config.max_command_bytes,
        queued: config.max_queued,
        queued_bytes: config.max_queued_bytes,
    }));
    let (events, receiver) = events::channel();
    let gauge = events.gauge();
    let (barriers, asked) = mpsc::unbounded_channel();
    let (saves, to_save) = mpsc::unbounded_channel();
    let (closed, on_closed) = watch::channel(());
    let thread = Thread {
        config: config.clone(),
        access,
        shared: Arc::clone(&shared),
        keys: Arc::new(Keys::new(&config.prefix)),
        asked,
        to_save,
    };
    let run = move || {
        runtime.block_on(thread.run(events));
        drop(runtime);
        drop(closed);
    };
    std::thread::Builder::new().name("log".to_owned()).spawn(run).map_err(io)?;
    Ok((Arc::new(Etcd { shared, gauge, barriers, saves, on_closed }), receiver))
}

type Asked = oneshot::Sender<Result<Index, LogError>>;

struct Save {
    index: Index,
    state: Bytes,
    done: oneshot::Sender<Result<(), LogError>>,
}

/// What runs, on a thread and a runtime of its own.
struct Thread {
    config: Config,
    access: Access,
    shared: Arc<Shared>,
    keys: Arc<Keys>,
    asked: mpsc::UnboundedReceiver<Asked>,
    to_save: mpsc::UnboundedReceiver<Save>,
}

impl Thread {
    async fn run(self, events: EventSender) {
        let Self { config, access, shared, keys, asked, to_save } = self;
        let client = || Client::new(access.clone());
        let proposer = crate::solo::format::random();
        let (others, watched) = (access.clone(), events.clone());
        let tail = Tail {
            shared: Arc::clone(&shared),
            client: client(),
            watcher: Box::new(move || Client::new(others.clone())),
            keys: Arc::clone(&keys),
            events: watched,
            proposer,
            place: Place::default(),
            counted: 0,
            replayed: false,
        };
        let appender = Appender {
            shared: Arc::clone(&shared),
            client: client(),
            keys: Arc::clone(&keys),
            proposer,
            batch_bytes: config.max_batch_bytes,
        };
        let work = async {
            tokio::select! {
                error = tail.run() => Some(error),
                () = appender.run() => None,
                () = answer_barriers(&shared, client(), &keys, asked, config.barrier_patience) => None,
                () = save_all(&shared, client(), &keys, to_save) => None,
                () = lead::watch(&shared, client(), &keys, config.candidate) => None,
                () = finish(&shared, config.close_patience) => None,
            }
        };
        if let Some(error) = Box::pin(work).await {
            let reason = crate::error_chain(&error);
            tracing::error!("the log has stopped: {reason}");
            shared.stop(&reason);
            events.send(Event::Stopped(Arc::new(error)));
        } else {
            shared.stop("it was closed");
        }
        lead::resign(&shared, client()).await;
    }
}

/// Resolves when the log was closed and what was queued is decided, or for too long is not.
async fn finish(shared: &Shared, patience: Duration) {
    shared.closing.notified().await;
    let done = async {
        while !shared.is_done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Too late is as good as done: nothing can be done about it.
    let _ = tokio::time::timeout(patience, done).await;
}

/// Reads `head` once for all that wait, and answers them when the reader was handed all that it counts.
async fn answer_barriers(
    shared: &Arc<Shared>,
    mut client: Client,
    keys: &Keys,
    mut asked: mpsc::UnboundedReceiver<Asked>,
    patience: Duration,
) {
    while let Some(first) = asked.recv().await {
        let mut waiting = vec![first];
        while let Ok(next) = asked.try_recv() {
            waiting.push(next);
        }
        let answer = tokio::time::timeout(patience, barrier(shared, &mut client, keys)).await;
        for done in waiting {
            let answer = answer.as_ref().map(|index| *index).map_err(|_| LogError::NoMajority {
                waited_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
                cause: "etcd cannot be reached, or has no leader".to_owned(),
            });
            // Who asked may have lost interest.
            drop(done.send(answer));
        }
    }
}

async fn barrier(shared: &Shared, client: &mut Client, keys: &Keys) -> Index {
    let mut attempt = 0;
    let version = loop {
        match client.range(&RangeRequest::one(&keys.head)).await {
            Ok(head) => break head.kvs.first().map_or(0, |head| head.version),
            Err(error) => {
                tracing::debug!("read from the log: {error}");
                backoff(attempt).await;
                attempt += 1;
            }
        }
    };
    let mut place = shared.place.subscribe();
    loop {
        let now = *place.borrow_and_update();
        if now.version >= version {
            return now.last;
        }
        if tokio::time::timeout(Duration::from_millis(20), place.changed()).await.is_err() {
            shared.poke.notify_one();
        }
    }
}

async fn save_all(
    shared: &Shared,
    mut client: Client,
    keys: &Keys,
    mut to_save: mpsc::UnboundedReceiver<Save>,
) {
    while let Some(Save { index, state, done }) = to_save.recv().await {
        let place = state::locate(&shared.progress(), index);
        let result = match place {
            // Behind a newer checkpoint.
            None => Ok(()),
            Some(place) => state::save(&mut client, keys, (index, place), state).await,
        };
        if let (Ok(()), Some((base, ..))) = (&result, place) {
            let mut progress = shared.progress();
            progress.checkpoint = progress.checkpoint.max(index);
            while progress.batches.front().is_some_and(|batch| batch.first + batch.count - 1 <= base) {
                progress.batches.pop_front();
            }
        }
        drop(done.send(result));
    }
}

/// A log in etcd, open. Dropping it closes it without waiting.
pub struct Etcd {
    shared: Arc<Shared>,
    gauge: Gauge,
    barriers: mpsc::UnboundedSender<Asked>,
    saves: mpsc::UnboundedSender<Save>,
    on_closed: watch::Receiver<()>,
}

fn stopped() -> LogError {
    LogError::Stopped { reason: "before it was done".to_owned() }
}

impl Log for Etcd {
    fn append(&self, payload: Bytes) -> Result<(), LogError> {
        let unread = self.gauge.backlog();
        self.shared.push(payload, (unread.entries, unread.bytes))
    }

    fn barrier(&self) -> BoxFuture<Result<Index, LogError>> {
        if let Some(refusal) = self.shared.refusal() {
            return Box::pin(std::future::ready(Err(refusal)));
        }
        let (done, answer) = oneshot::channel();
        // A thread that has ended drops it, which the answer shows.
        let _ = self.barriers.send(done);
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(stopped())) })
    }

    fn save_checkpoint(&self, index: Index, write: WriteState) -> BoxFuture<Result<(), LogError>> {
        if let Some(refusal) = self.shared.refusal() {
            return Box::pin(std::future::ready(Err(refusal)));
        }
        let (shared, saves) = (Arc::clone(&self.shared), self.saves.clone());
        let (done, result) = oneshot::channel();
        let save = move || drop(done.send(save(&shared, &saves, index, write)));
        let spawned = std::thread::Builder::new().name("log-checkpoint".to_owned()).spawn(save);
        Box::pin(async move {
            spawned.map_err(|cause| LogError::io("start a thread for", "a checkpoint", cause))?;
            result.await.unwrap_or_else(|_| Err(LogError::writer_panicked(index)))
        })
    }

    fn status(&self) -> LogStatus {
        let queued = self.shared.queued() as u64;
        let progress = self.shared.progress();
        LogStatus {
            engine: "etcd",
            first_index: if progress.last > progress.checkpoint { progress.checkpoint + 1 } else { 0 },
            last_index: progress.last,
            checkpoint_index: progress.checkpoint,
            bytes_since_checkpoint: progress.bytes,
            syncs: progress.calls,
            sync_us: progress.call_us,
            queued,
            stopped: progress.stopped.clone(),
            cut_off: progress.cut_off,
            leader: progress.leader,
            voters: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn close(&self) -> BoxFuture<()> {
        self.shared.close();
        let mut on_closed = self.on_closed.clone();
        Box::pin(async move {
            // An error is what is waited for: the sender is gone, and with it the thread.
            while on_closed.changed().await.is_ok() {}
        })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Writes the state here, then has the thread put it in place, and waits for that.
fn save(
    shared: &Shared,
    saves: &mpsc::UnboundedSender<Save>,
    index: Index,
    write: WriteState,
) -> Result<(), LogError> {
    let (last, bytes, checkpoint) = {
        let progress = shared.progress();
        (progress.last, progress.bytes, progress.checkpoint)
    };
    if index > last {
        return Err(LogError::Ahead { index, last });
    }
    if index <= checkpoint {
        return Ok(());
    }
    let mut state = Vec::new();
    write(&mut state).map_err(|cause| LogError::io("write", format!("checkpoint {index}"), cause))?;
    let (done, result) = oneshot::channel();
    saves.send(Save { index, state: state.into(), done }).map_err(|_| stopped())?;
    result.blocking_recv().unwrap_or_else(|_| Err(stopped()))?;
    let mut progress = shared.progress();
    progress.bytes = progress.bytes.saturating_sub(bytes);
    Ok(())
}
