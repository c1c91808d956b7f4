//! The life of a daemon: start, serve, listen to signals, drain. What `dev` and `serve` have in common.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use api::Control as _;
use client::{Address, Client};

use crate::cli::Global;
use crate::compose::{self, Memory, Node};
use crate::config::{Config, Loaded, Sources};
use crate::consul_cli::Definitions;
use crate::daemon::containers::Registrar;
use crate::daemon::control::{Control, End};
use crate::daemon::guard::Guards;
use crate::daemon::handed;
use crate::daemon::home::{self, Home};
use crate::daemon::live::Live;
use crate::daemon::notify::Notify;
use crate::daemon::rounds::Rounds;
use crate::exit::{Failure, Result};
use crate::logging;
use crate::signals::{Signals, Word};

mod reload;

use reload::Reloader;

/// A daemon to run.
pub(crate) struct Daemon {
    pub(crate) sources: Sources,
    /// What the sources were laid over.
    pub(crate) defaults: Config,
    pub(crate) loaded: Loaded,
    pub(crate) memory: Memory,
    /// Printed to people once everything answers.
    pub(crate) greet: Option<fn(&Node) -> String>,
    /// For the log, once it is open.
    pub(crate) notes: Vec<String>,
    /// What is registered from files.
    pub(crate) definitions: Option<Definitions>,
}

/// Runs until a signal says otherwise, or until a face fails.
pub(crate) fn run(daemon: Daemon, global: &Global) -> Result {
    let level = logging::start(&daemon.loaded.config.logging, global.out().colored_errors())?;
    sys::process::give_large_blocks_back();
    if let Err(cause) = sys::process::raise_descriptor_limit() {
        tracing::warn!(error = %cause, "could not raise the limit of open descriptors");
    }
    // All threads inherit it; those that move bulk say otherwise.
    if let Err(cause) = sys::process::take_short_turns() {
        tracing::debug!(error = %cause, "could not ask for short turns on the processor");
    }
    handed::take();
    let config = &daemon.loaded.config;
    // Before there are other threads: rights are given up one by one.
    let guards = Guards::start(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(daemon.loaded.config.node.control_threads.max(1))
        .thread_name("control")
        .enable_all()
        .build()
        .context("start the control runtime")?;
    runtime.block_on(serve(daemon, guards, level, global))
}

async fn serve(daemon: Daemon, guards: Guards, level: logging::LevelHandle, global: &Global) -> Result {
    let mut signals = Signals::listen()?;
    let notify = Notify::from_env();
    let Daemon { sources, defaults, loaded, memory, greet, notes, definitions } = daemon;
    notes.iter().for_each(|note| tracing::warn!("{note}"));
    let config = loaded.config.clone();
    let live = Arc::new(Live::new(&config));
    let reloader = Mutex::new(Reloader::new(sources, defaults, loaded, level, live.clone()));
    let definitions = definitions.map(|definitions| Arc::new(tokio::sync::Mutex::new(definitions)));
    let rounds = definitions.is_some().then(Arc::<Rounds>::default);
    let reload = Box::new(move || reloader.lock().unwrap_or_else(PoisonError::into_inner).reload());
    let control = Arc::new(Control::new(reload, rounds.clone()));
    let home = memory.claim()?;
    let mut config = config;
    let mut greet = greet;
    loop {
        let mut node = tokio::select! {
            started = compose::start(config.clone(), home.clone(), control.clone(), &live, guards.clone()) => started?,
            Word::Leave(signal) = signals.next() => {
                tracing::info!(signal, "stopped before it had started");
                return Ok(());
            }
        };
        announce(&node, &notify);
        let defined = definitions.clone().zip(rounds.clone());
        let registering = defined.zip(local(&node, home.as_deref()));
        let registering = registering
            .map(|((definitions, rounds), client)| tokio::spawn(register(definitions, rounds, client)));
        let watching = local(&node, home.as_deref()).filter(|_| config.containers.enabled).map(|client| {
            let registrar = Registrar::new(client);
            tokio::spawn(containers::run(
                config.containers.clone(),
                node.identity.name.to_string(),
                registrar,
            ))
        });
        if let Some(greet) = greet.take() {
            global.out().say(&greet(&node))?;
        }
        let ended = until_the_end(&mut node, &mut signals, &control, &notify).await;
        match ended {
            Ok(End::Again) => notify.reloading(),
            Ok(End::Leave) | Err(_) => notify.stopping(),
        }
        registering.into_iter().chain(watching).for_each(|task| task.abort());
        config.keep_ports(&node.addresses);
        let stopped = node.stop().await;
        if ended.and_then(|end| stopped.map(|()| end)).map_err(Failure::from)? == End::Leave {
            break;
        }
        tracing::info!("starting again: what this node is has changed");
    }
    tracing::info!("stopped");
    Ok(())
}

/// A client of this very daemon: through its Unix socket where it has one, because it knows us there.
fn local(node: &Node, home: Option<&Home>) -> Option<Client> {
    let socket = home.and_then(|home| home::socket(home.dir())).filter(|socket| socket.exists());
    let address = socket.map(Address::Unix);
    let address = address.or_else(|| node.addresses.http.first()?.to_string().parse().ok())?;
    Some(Client::new(address).with_token_from_env())
}

/// Registers what stands in files, now and after every reload.
async fn register(definitions: Arc<tokio::sync::Mutex<Definitions>>, rounds: Arc<Rounds>, client: Client) {
    let mut asked = rounds.asked();
    loop {
        let round = *asked.borrow_and_update();
        definitions.lock().await.register(&client).await;
        rounds.done(round);
        if asked.changed().await.is_err() {
            return;
        }
    }
}

fn announce(node: &Node, notify: &Notify) {
    for (what, address) in node.addresses.iter() {
        tracing::info!(face = what, %address, "listening");
    }
    tracing::info!(node = node.identity.name, "serving");
    notify.ready(&status(node));
}

fn status(node: &Node) -> String {
    format!("serving as {}", node.identity.name)
}

/// Waits for the word to leave, or for a reason to.
async fn until_the_end(
    node: &mut Node,
    signals: &mut Signals,
    control: &Control,
    notify: &Notify,
) -> anyhow::Result<End> {
    loop {
        tokio::select! {
            ended = node.until_end() => {
                if let Ok(End::Leave) = ended {
                    tracing::info!("asked to leave; draining");
                }
                return ended;
            }
            word = signals.next() => match word {
                Word::Reload => {
                    notify.reloading();
                    // What came of it has been logged.
                    drop(control.reload());
                    notify.ready(&status(node));
                }
                Word::Leave(signal) => {
                    tracing::info!(signal, "draining");
                    return Ok(End::Leave);
                }
            }
        }
    }
}
