//! Connections that arrive by QUIC.

use std::sync::Arc;
use std::time::Instant;

use quinn::{Connection, Incoming};

use crate::gate::{Seat, Verdict};
use crate::greet;
use crate::guest;
use crate::hello::{GreetingError, Use};
use crate::join;
use crate::link::{self, Close, Proof, with_causes};
use crate::mark;
use crate::mesh::Shared;
use crate::tls;

/// Takes connections until the endpoint is closed.
pub(crate) async fn run(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let from = incoming.remote_address();
        match shared.gate.knock(from.ip(), incoming.remote_address_validated(), Instant::now()) {
            Verdict::Admit(seat) => {
                let is_data = mark::is_data(&incoming.orig_dst_cid());
                let runtime = if is_data { &shared.data } else { &shared.control };
                runtime.spawn(handshake(shared.clone(), incoming, seat));
            }
            Verdict::Retry => {
                let _ = incoming.retry();
            }
            Verdict::Ignore => incoming.ignore(),
        }
    }
}

async fn handshake(shared: Arc<Shared>, incoming: Incoming, mut seat: Seat) {
    let from = incoming.remote_address();
    let greeted = async {
        let connecting = incoming.accept().map_err(|error| link::ending(&error).0)?;
        let connection = connecting.await.map_err(|error| {
            if link::is_disbelief(&error) {
                // What the caller's operator sees is told here, too: the fault may be this node's.
                tracing::info!(%from, reason = link::ending(&error).0, "a caller ended its handshake");
            }
            link::ending(&error).0
        })?;
        seat.settled();
        Ok::<Connection, String>(connection)
    };
    let connection = match tokio::time::timeout(shared.config.dial_timeout, greeted).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%from, error, "handshake failed"),
        Err(_) => return tracing::debug!(%from, "handshake took too long"),
    };
    match link::alpn_of(&connection).as_deref() {
        Some(tls::ALPN_JOIN) => join::serve(&shared, connection, seat).await,
        Some(tls::ALPN_NODE) => node(&shared, connection, seat).await,
        other => match shared.config.guests.iter().find(|guest| other == Some(&guest.alpn[..])) {
            Some(guest) => guest::take(&shared, guest, connection, seat),
            None => link::close(&connection, Close::Greeting, "no protocol of ours"),
        },
    }
}

async fn node(shared: &Arc<Shared>, connection: Connection, seat: Seat) {
    let from = connection.remote_address();
    let trust = shared.trust.now();
    let proof = match Proof::of(link::chain_of(&connection), &trust, None) {
        Ok(proof) if proof.peer.name == trust.name() => {
            let reason = format!("both ends have the name {:?}; each node needs its own", proof.peer.name);
            tracing::warn!(%from, reason, "link refused");
            return link::close(&connection, Close::Disbelieved, &reason);
        }
        Ok(proof) => shared.called(proof),
        Err(disbelief) => {
            tracing::info!(%from, %disbelief, "link refused");
            return link::close(&connection, Close::Disbelieved, &disbelief.to_string());
        }
    };
    let peer = proof.peer.name.clone();
    let own = greet::own_hello(shared.config.speaks, &shared.table, &peer, Use::Control);
    let settled = async {
        let greeted = greet::acceptor(connection.clone(), proof, own, seat).await?;
        shared.settle(greeted).await
    };
    match tokio::time::timeout(shared.config.dial_timeout, settled).await {
        Ok(Ok(()) | Err(greet::NoLink::NotNeeded)) => {}
        Ok(Err(error)) => {
            let text = with_causes(&error);
            tracing::debug!(%from, peer, error = text, "no link");
            let versions = matches!(error, greet::NoLink::Greeting(GreetingError::Versions(_)));
            if versions || connection.close_reason().is_none() {
                shared.table.failed(&peer, format!("{from}: {text}"));
            }
            link::close(&connection, Close::Greeting, &text);
        }
        Err(_) => link::close(&connection, Close::Greeting, "the greeting took too long"),
    }
}
