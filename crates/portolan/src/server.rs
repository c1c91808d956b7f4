//! A whole node inside another program: for tests, and for those who ship one binary.

use std::path::PathBuf;
use std::sync::Arc;

use crate::compose::{self, Memory};
use crate::config::Config;
use crate::daemon::control::Control;
use crate::daemon::guard::Guards;
use crate::daemon::home::Home;
use crate::daemon::live::Live;
use crate::listeners::Addresses;

/// A node that has not started.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// let node = portolan::Server::in_memory().ephemeral_ports().start().await?;
/// println!("the API is at {:?}", node.addresses().http);
/// node.shutdown().await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Server {
    /// In a box: what starts it holds it while it waits.
    config: Box<Config>,
    memory: Memory,
}

impl Server {
    /// A node that forgets everything when it stops.
    pub fn in_memory() -> Server {
        Server { config: Box::default(), memory: Memory::Volatile }
    }

    /// A node that keeps its state in this directory.
    pub fn durable(data_dir: impl Into<PathBuf>) -> Server {
        Server { config: Box::default(), memory: Memory::Durable(data_dir.into()) }
    }

    /// Replaces the configuration. `node.data_dir` in it is not looked at: where the state is kept was said.
    #[must_use]
    pub fn config(mut self, config: Config) -> Server {
        *self.config = config;
        self
    }

    /// Takes free ports instead of the configured ones, on the same addresses, and no broker socket unless one
    /// is named.
    #[must_use]
    pub fn ephemeral_ports(mut self) -> Server {
        self.config.for_each_listener(|address| address.set_port(0));
        // The usual place is for the one daemon of a host.
        self.config.broker.socket.get_or_insert_default();
        self
    }

    /// Starts it. Call inside a multi-threaded tokio runtime. Everything answers when this returns.
    ///
    /// # Errors
    /// An address in use (with who holds it), a data directory in use or damaged.
    pub async fn start(self) -> anyhow::Result<Running> {
        let live = Live::new(&self.config);
        let control = Arc::new(Control::embedded());
        let home = self.memory.claim()?;
        let start = compose::start(*self.config, home.clone(), control, &live, Guards::default());
        let node = Box::pin(start).await?;
        Ok(Running { node, _live: live, _home: home })
    }
}

/// A node that serves. Dropping it ends it without draining: its data threads are gone when that returns, its tasks
/// once the runtime has dropped them. [`Running::shutdown`] ends it in order.
pub struct Running {
    node: compose::Node,
    /// Its readers take the end of it for the end of the node.
    _live: Live,
    /// Nobody else may have it until the node has stopped.
    _home: Option<Arc<Home>>,
}

impl Running {
    /// Where it answers.
    pub fn addresses(&self) -> &Addresses {
        &self.node.addresses
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.node.identity.name
    }

    /// Resolves when it is time for [`Running::shutdown`]: a client asked the node to leave, it became part of a
    /// cluster and is to be started again, or it cannot go on.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub async fn until_end(&mut self) -> anyhow::Result<()> {
        self.node.until_end().await.map(drop)
    }

    /// Stops accepting, finishes what is in progress, makes everything durable.
    ///
    /// # Errors
    /// What could not be finished.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        self.node.stop().await
    }
}
