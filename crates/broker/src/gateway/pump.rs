//! Moves a connection's bytes, for as long as the rules let it.

use bytes::Bytes;
use relay::Stream;
use relay::pump::{Broken, Prefix};

use super::accept::Client;
use super::reach::Reached;

/// Moves what client and service say, until both have ended, the rules forbid it, or the node goes. `first` was read of
/// the client already.
pub(super) async fn run(client: &Client, down: Stream, reached: Reached, first: Bytes) {
    let Reached { permit, stream, flight, .. } = reached;
    let prefix = Prefix { upstream: first, downstream: Bytes::new() };
    let idle = client.face.config.idle();
    let outcome = relay::pump::run(&client.local, permit, down, stream, prefix, idle).await;
    match &outcome.broken {
        Some(broken @ Broken::Forbidden(_)) => {
            tracing::info!(client = %client.peer, %broken, "cut a connection at the gateway");
        }
        Some(broken) => tracing::debug!(client = %client.peer, %broken, "a connection at the gateway broke"),
        None => {}
    }
    drop(flight);
}
