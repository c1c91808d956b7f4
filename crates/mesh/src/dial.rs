//! Reaching peers: addresses resolved at each try, one after the other, with growing waits in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection};

use crate::greet::{self, Greeted, NoLink};
use crate::hello::Use;
use crate::link::{self, Close, Proof, with_causes};
use crate::mark;
use crate::mesh::Shared;
use crate::tls;

/// Addresses of one peer that are tried in one round.
const ADDRESSES: usize = 8;
/// A link that held for so long was a good one: the next wait is short again.
const HELD: Duration = Duration::from_secs(5);
/// The younger leaves the elder this much time to dial first, so that they rarely meet.
const COURTESY: Duration = Duration::from_millis(100);

/// Why a peer is not reached.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// No address is known.
    #[error("no address of {0:?} is known")]
    NoAddress(String),
    /// Every address failed; what each said.
    #[error("reach {peer:?}: {}", tries.join("; "))]
    Unreachable {
        /// Whom.
        peer: String,
        /// Address and cause of each try.
        tries: Vec<String>,
    },
}

/// Keeps a control link to `peer` until it is no longer wanted.
pub(crate) async fn keep(shared: Arc<Shared>, peer: String) {
    let changed = shared.table.changes(&peer);
    let mut waits = Waits::new(shared.config.retry_first, shared.config.retry_cap);
    let mut told = None;
    if shared.name() > peer {
        tokio::time::sleep(COURTESY).await;
    }
    loop {
        let notified = changed.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if let Some(control) = shared.table.control(&peer) {
            told = None;
            tokio::select! {
                () = notified => {}
                _ = control.link.connection.closed() => {}
            }
            if control.link.since.elapsed().is_ok_and(|held| held >= HELD) {
                waits.reset();
            }
            // Whoever ended it may be about to dial; and two must not dial in step.
            tokio::time::sleep(random_below(COURTESY)).await;
            continue;
        }
        if let Err(error) = control(&shared, &peer).await {
            // Once for each reason: what nobody mends goes on for days.
            let reason = error.to_string();
            match told.as_ref() == Some(&reason) {
                true => tracing::debug!(peer, %error, "no link yet"),
                false => tracing::info!(peer, %error, "no link yet"),
            }
            shared.table.failed(&peer, reason.clone());
            told = Some(reason);
            tokio::select! {
                () = notified => {}
                () = tokio::time::sleep(waits.next()) => {}
            }
        }
    }
}

/// Exponential, with a random half left out of each.
pub(crate) struct Waits {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Waits {
    pub(crate) fn new(first: Duration, cap: Duration) -> Waits {
        Waits { first, cap, next: first }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.cap);
        wait - random_below(wait / 2)
    }
}

fn random_below(most: Duration) -> Duration {
    most.mul_f64(fastrand::f64())
}

/// One round of tries at a control link. Ends well also when the elder found that none is needed.
async fn control(shared: &Arc<Shared>, peer: &str) -> Result<(), DialError> {
    let addresses = shared.peers.now().0.get(peer).cloned().unwrap_or_default();
    let greeted = match round(shared, peer, &addresses, Use::Control).await {
        Ok(greeted) => greeted,
        Err(error) => return Err(error),
    };
    let link = greeted.link.clone();
    let settled = tokio::time::timeout(shared.config.dial_timeout, shared.settle(greeted)).await;
    match settled {
        Ok(Ok(())) => Ok(()),
        // Its decision on another link is on its way; the caller looks again after a moment.
        Ok(Err(NoLink::NotNeeded)) | Err(_) if shared.table.control(peer).is_some() => Ok(()),
        Ok(Err(error)) => {
            link.close(Close::Greeting, &with_causes(&error));
            Err(unreachable(peer, vec![format!("{}: {}", link.address(), with_causes(&error))]))
        }
        Err(_) => {
            link.close(Close::Greeting, "no decision in time");
            Err(unreachable(peer, vec![format!("{}: it did not decide on the link in time", link.address())]))
        }
    }
}

fn unreachable(peer: &str, tries: Vec<String>) -> DialError {
    DialError::Unreachable { peer: peer.to_owned(), tries }
}

/// A data link, by the address of the control link if there is one: it is right also behind NAT.
pub(crate) async fn data(shared: &Arc<Shared>, peer: &str) -> Result<Arc<link::Link>, DialError> {
    let dialling = shared.table.dialling(peer);
    let _one_at_a_time = dialling.lock().await;
    if let Some(link) = shared.table.data(peer) {
        return Ok(link);
    }
    let greeted = round(shared, peer, &shared.addresses(peer), Use::Data).await?;
    let link = greeted.link.clone();
    match shared.settle(greeted).await {
        Ok(()) => Ok(link),
        Err(error) => Err(unreachable(peer, vec![with_causes(&error)])),
    }
}

async fn round(
    shared: &Arc<Shared>,
    peer: &str,
    addresses: &[String],
    purpose: Use,
) -> Result<Greeted, DialError> {
    let mut tries = Vec::new();
    for address in resolve(addresses, &mut tries).await {
        let attempt = one(shared, peer, address, purpose);
        match tokio::time::timeout(shared.config.dial_timeout, attempt).await {
            Ok(Ok(greeted)) => return Ok(greeted),
            Ok(Err(error)) => tries.push(format!("{address}: {error}")),
            Err(_) => tries.push(format!("{address}: no answer in {:?}", shared.config.dial_timeout)),
        }
    }
    if tries.is_empty() {
        return Err(DialError::NoAddress(peer.to_owned()));
    }
    Err(DialError::Unreachable { peer: peer.to_owned(), tries })
}

/// Socket addresses behind `addresses`, each once; what cannot be resolved is noted.
pub(crate) async fn resolve(addresses: &[String], failures: &mut Vec<String>) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for address in addresses {
        match tokio::net::lookup_host(address.as_str()).await {
            Ok(resolved) => found.extend(resolved),
            Err(error) => failures.push(format!("resolve {address}: {error}")),
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|address| seen.insert(*address));
    found.truncate(ADDRESSES);
    found
}

async fn one(shared: &Arc<Shared>, peer: &str, address: SocketAddr, purpose: Use) -> Result<Greeted, String> {
    let connection = connect(shared, peer, address, purpose).await?;
    let trust = shared.trust.now();
    let proof = match Proof::of(link::chain_of(&connection), &trust, Some(peer)) {
        Ok(proof) => proof,
        Err(disbelief) => {
            link::close(&connection, Close::Disbelieved, &disbelief.to_string());
            return Err(disbelief.to_string());
        }
    };
    let own = greet::own_hello(shared.config.speaks, &shared.table, peer, purpose);
    match greet::dialler(connection.clone(), proof, own).await {
        Ok(greeted) => Ok(greeted),
        Err(error) => {
            let text = closing_words(&connection).unwrap_or_else(|| with_causes(&error));
            link::close(&connection, Close::Greeting, &text);
            Err(text)
        }
    }
}

async fn connect(
    shared: &Arc<Shared>,
    peer: &str,
    address: SocketAddr,
    purpose: Use,
) -> Result<Connection, String> {
    let (tls, said) = tls::client(&shared.trust, peer).map_err(|error| with_causes(&error))?;
    let quic = QuicClientConfig::try_from(tls).map_err(|error| with_causes(&error))?;
    let mut config = ClientConfig::new(Arc::new(quic));
    config.transport_config(shared.transport.clone());
    if purpose == Use::Data {
        config.initial_dst_cid_provider(Arc::new(mark::data));
    }
    let connecting = shared.endpoint.connect_with(config, address, tls::SNI);
    let connecting = connecting.map_err(|error| with_causes(&error))?;
    connecting.await.map_err(|error| said.take().unwrap_or_else(|| link::ending(&error).0))
}

/// What the peer said when it closed the connection under the greeting: mostly that it does not believe us.
fn closing_words(connection: &Connection) -> Option<String> {
    connection.close_reason().map(|error| link::ending(&error).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_are_never_in_step() {
        let (first, cap) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut waits = Waits::new(first, cap);
        for expected in [100, 200, 400, 800, 1000, 1000] {
            let expected = Duration::from_millis(expected);
            let wait = waits.next();
            assert!(wait <= expected && wait >= expected / 2, "{wait:?} of {expected:?}");
        }
        waits.reset();
        assert!(waits.next() <= first);
    }
}
