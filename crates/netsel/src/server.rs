//! The server: a Portolan node in memory, on the seed's four ports.

use std::sync::{Mutex, PoisonError};

use portolan::{Running, Server};
use tokio::sync::oneshot;

use crate::NetSelConfig;

/// Why the server did not start, or did not stop in order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It has been started before.
    #[error("start NetSel: it was started before")]
    Started,
    /// A port is taken, for example.
    #[error("start NetSel: {0:#}")]
    Node(Box<dyn std::error::Error + Send + Sync>),
    /// What was under way could not be finished.
    #[error("stop NetSel: {0:#}")]
    Stop(Box<dyn std::error::Error + Send + Sync>),
}

/// A registry, a TCP proxy, an HTTP proxy and a DNS server in one.
#[derive(Debug)]
pub struct NetSelServer {
    config: NetSelConfig,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    New,
    Started,
    Serving { config: NetSelConfig, stop: oneshot::Sender<Answer> },
}

/// Where whoever stops the server waits for it.
type Answer = oneshot::Sender<Result<(), StartError>>;
type Stopped = oneshot::Receiver<Answer>;

impl Default for NetSelServer {
    fn default() -> Self {
        NetSelServer::new()
    }
}

impl NetSelServer {
    /// A server with the default settings.
    pub fn new() -> NetSelServer {
        NetSelServer::with_config(NetSelConfig::default())
    }

    /// A server with these settings.
    pub fn with_config(config: NetSelConfig) -> NetSelServer {
        NetSelServer { config, state: Mutex::new(State::New) }
    }

    /// Starts it and returns once all four listeners answer. It then serves in the background for as long as
    /// the runtime lives, also when this value is dropped: a `main` that returns right after it ends it.
    /// Call it inside a multi-threaded runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(&self) -> Result<(), StartError> {
        self.may_start()?;
        let server = Server::in_memory().config(self.config.node());
        match server.start().await {
            Ok(node) => {
                let config = self.config.at(node.addresses());
                let (stop, stopped) = oneshot::channel();
                tokio::spawn(serve(node, stopped));
                *self.state() = State::Serving { config, stop };
                Ok(())
            }
            Err(error) => {
                *self.state() = State::New;
                Err(StartError::Node(error.into()))
            }
        }
    }

    /// The settings with the addresses that it really answers on, where port 0 was asked for; none before it
    /// has started.
    pub fn serving(&self) -> Option<NetSelConfig> {
        match &*self.state() {
            State::Serving { config, .. } => Some(config.clone()),
            State::New | State::Started => None,
        }
    }

    /// Stops accepting, finishes what is under way, ends. One may start it again then; what was registered
    /// is forgotten.
    ///
    /// # Errors
    /// [`StartError::Stop`].
    pub async fn stop(&self) -> Result<(), StartError> {
        let before = std::mem::replace(&mut *self.state(), State::New);
        let State::Serving { stop, .. } = before else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        match stop.send(answer) {
            Ok(()) => answered.await.unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }

    fn may_start(&self) -> Result<(), StartError> {
        let mut state = self.state();
        match *state {
            State::New => {
                *state = State::Started;
                Ok(())
            }
            State::Started | State::Serving { .. } => Err(StartError::Started),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds the node until it is told to stop. A server that was dropped tells nothing, and then the node lives
/// as long as the runtime.
async fn serve(mut node: Running, mut stopped: Stopped) {
    let ended = tokio::select! {
        told = &mut stopped => match told {
            Ok(answer) => {
                let result = node.shutdown().await.map_err(|error| StartError::Stop(error.into()));
                // Nobody may be waiting any more; stopped it is all the same.
                let _ = answer.send(result);
                return;
            }
            Err(_) => node.until_end().await,
        },
        ended = node.until_end() => ended,
    };
    let ended = ended.and(node.shutdown().await);
    tracing::error!(cause = ended.err().map(|cause| format!("{cause:#}")), "NetSel has ended by itself");
}
