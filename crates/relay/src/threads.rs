//! The data threads: one per processor, each a current-thread runtime with its own listeners, pools and
//! buffers. Work that belongs to all (statistics, counters) is in shared atomics.

use std::io;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use prometheus_client::registry::Registry;
use route::Routes;
use state::Reader;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

use crate::accept;
use crate::balance;
use crate::config::Config;
use crate::dial::Dial;
use crate::local::Local;
use crate::metrics::Metrics;
use crate::resolve;
use crate::tls::Upstreams;

/// Something to do on a data thread.
pub type Job = Box<dyn FnOnce(&Rc<Local>) + Send>;

enum Message {
    Run(Job),
    Stop,
}

/// The way to one data thread.
pub(crate) struct Remote {
    messages: mpsc::UnboundedSender<Message>,
    /// Connections that live there.
    pub(crate) load: AtomicUsize,
}

impl Remote {
    pub(crate) fn run(&self, job: Job) {
        // Fails only after `stop`, when nobody waits for the job any more.
        let _ = self.messages.send(Message::Run(job));
    }
}

/// What all data threads share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) started: Instant,
    pub(crate) endpoints: Arc<balance::Registry>,
    pub(crate) metrics: Metrics,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) remotes: Box<[Remote]>,
    pub(crate) udp_sessions: Arc<AtomicUsize>,
    pub(crate) upstreams: Upstreams,
}

/// Handle to the data threads. Clones share them.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
    joins: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// Stops the data threads when it is dropped, so that whatever they listened on is free once its owner is gone.
/// Where blocking is not allowed, call [`Relay::stop`] elsewhere first.
pub struct StopOnDrop(pub Relay);

impl std::ops::Deref for StopOnDrop {
    type Target = Relay;

    fn deref(&self) -> &Relay {
        &self.0
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Relay {
    /// Starts the data threads.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(
        config: Config,
        routes: &Reader<Routes>,
        dial: Arc<dyn Dial>,
        registry: &mut Registry,
    ) -> io::Result<Relay> {
        let processors = sys::process::processors()?;
        let count = config.thread_count()?;
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        let remotes = senders.into_iter().map(|messages| Remote { messages, load: AtomicUsize::new(0) });
        let shared = Arc::new(Shared {
            started: Instant::now(),
            endpoints: Arc::new(balance::Registry::new(balance::Rules::new(&config))),
            metrics: Metrics::register(registry),
            dial,
            remotes: remotes.collect(),
            udp_sessions: Arc::default(),
            upstreams: Upstreams::default(),
            config,
        });
        let relay = Relay { shared, joins: Arc::default() };
        for (index, receiver) in receivers.into_iter().enumerate() {
            let processor = relay.shared.config.pin.then(|| processors[index % processors.len()]);
            relay.start_thread(index, processor, routes.clone(), receiver)?;
        }
        Ok(relay)
    }

    fn start_thread(
        &self,
        index: usize,
        processor: Option<usize>,
        routes: Reader<Routes>,
        messages: mpsc::UnboundedReceiver<Message>,
    ) -> io::Result<()> {
        let runtime = Builder::new_current_thread();
        let shared = self.shared.clone();
        let body = move || run(index, processor, shared, routes, messages, runtime);
        let join = std::thread::Builder::new().name(format!("data-{index}")).spawn(body)?;
        self.joins.lock().unwrap_or_else(PoisonError::into_inner).push(join);
        Ok(())
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.shared.remotes.len()
    }

    /// Connections that live on a thread.
    pub fn load(&self, thread: usize) -> usize {
        self.shared.remotes[thread].load.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Settings.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Counters.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Which services are reached by TLS.
    pub fn upstreams(&self) -> &Upstreams {
        &self.shared.upstreams
    }

    /// Runs `job` on a thread, soon. Jobs for one thread run in the order given. After [`Relay::stop`] it
    /// is dropped unrun.
    pub fn run_on(&self, thread: usize, job: impl FnOnce(&Rc<Local>) + Send + 'static) {
        self.shared.remotes[thread].run(Box::new(job));
    }

    /// Ends the threads and drops whatever still runs on them: drain first. Blocks until they are gone, so
    /// not for a data thread to call.
    pub fn stop(&self) {
        for remote in &self.shared.remotes {
            let _ = remote.messages.send(Message::Stop);
        }
        let joins = std::mem::take(&mut *self.joins.lock().unwrap_or_else(PoisonError::into_inner));
        for join in joins {
            if join.join().is_err() {
                tracing::error!("a data thread panicked");
            }
        }
    }
}

fn run(
    index: usize,
    processor: Option<usize>,
    shared: Arc<Shared>,
    routes: Reader<Routes>,
    mut messages: mpsc::UnboundedReceiver<Message>,
    mut runtime: Builder,
) {
    if let Some(processor) = processor
        && let Err(cause) = sys::process::stay_on(processor)
    {
        tracing::warn!(thread = index, processor, %cause, "cannot keep a data thread on its processor");
    }
    if let Err(cause) = sys::process::take_usual_turns() {
        tracing::debug!(thread = index, %cause, "a data thread keeps the turns that it was started with");
    }
    // Only the resolver blocks.
    let runtime = runtime.enable_all().max_blocking_threads(resolve::THREADS);
    let runtime = match runtime.build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(cause) => {
            tracing::error!(thread = index, %cause, "cannot make a data thread's runtime");
            return;
        }
    };
    runtime.block_on(async move {
        let local = Local::new(index, shared, routes.clone());
        tokio::task::spawn_local(crate::judge::follow(Rc::downgrade(&local), routes));
        tokio::task::spawn_local(crate::http::sweep(Rc::downgrade(&local)));
        let mut in_a_row = 0;
        while let Some(Message::Run(job)) = messages.recv().await {
            job(&local);
            accept::give_way(&mut in_a_row).await;
        }
    });
    // A host's name that is still being looked up is nobody's any more.
    runtime.shutdown_background();
}
