//! The gateway: services for clients on other hosts, in protocols that they speak already.
//!
//! HTTP CONNECT and proxied requests (HTTP/1.1 and 2), SOCKS5, WebSocket by path, TLS by the name that is asked for. One
//! port takes all of them, plain or under TLS: the first bytes say which. Whoever comes is somebody to the rules (`who`),
//! asks for a name (`target`), and gets it by a permit or a refusal in the words of their protocol (`reach`).
//!
//! What is absent: any way to an address that no rule names, so that nobody reaches through the gateway what only this
//! host should reach; and any answer that tells a stranger which names there are.

mod accept;
mod config;
mod connect;
mod conversation;
mod forward;
mod head;
mod listen;
mod metrics;
mod pump;
mod reach;
mod rewind;
mod secure;
mod socks;
mod target;
mod web;
mod who;

use std::sync::Arc;
use std::time::Duration;

use relay::Relay;
use relay::tls::Certificates;
use route::{Facts, Principal};
use state::{Drain, Reader};

use crate::config::Libipc;

pub use config::Config;
pub use listen::{BindError, Listeners};
pub use metrics::Metrics;

pub(crate) use socks::fuzz as fuzz_socks;
pub(crate) use target::fuzz as fuzz_target;

/// Knows who a secret belongs to.
pub trait Credentials: Send + Sync {
    /// Who shows this: a user's name, which may be empty or anything where the secret says it all, and a secret.
    /// `None` when nobody does.
    fn holder(&self, user: &str, secret: &str) -> Option<Principal>;
}

/// What the gateway is handed.
pub struct Inputs {
    /// The data threads, with the routes that they read.
    pub relay: Relay,
    /// This node's name.
    pub node: Arc<str>,
    /// Trust domain of the names that clients' certificates prove, unless the configuration has another.
    pub domain: Arc<str>,
    /// Which addresses are this host's.
    pub facts: Reader<Facts>,
    /// Who secrets belong to.
    pub credentials: Arc<dyn Credentials>,
    /// Shown to TLS clients where the configuration names none.
    pub certificates: Arc<Certificates>,
    /// Where libipc's services are.
    pub libipc: Libipc,
    /// Counters.
    pub metrics: Metrics,
    /// How long connections may take to finish when the node drains.
    pub patience: Duration,
}

/// Serves until the drain starts; then takes nobody in any more, lets connections finish for a while, and cuts the rest
/// off.
pub async fn run(config: Config, listeners: Listeners, inputs: Inputs, drain: Drain) {
    let (mut cut_trigger, cut) = state::drain();
    let patience = inputs.patience;
    accept::open(config, listeners, inputs, (drain.clone(), cut));
    drain.started().await;
    if !cut_trigger.idle(patience).await {
        tracing::info!("the time to finish is over: cutting the gateway's connections off");
        cut_trigger.finish(crate::FAREWELL).await;
    }
}
