//! One node does what one has to do for all: judge who is dead, renew what is everybody's. etcd's order needs no
//! leader, so this is no more than a key under a lease. For a moment two may hold themselves for it, or nobody: what a
//! leader does must be harmless when it is done twice.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Keys;
use super::client::{CallError, Client};
use super::shared::Shared;
use super::wire::{Blob, Compare, Op, RangeRequest, TxnRequest};

/// How long nobody leads after one who did has gone without a word.
const TERM: Duration = Duration::from_secs(4);
/// Between two looks, and two signs of life.
const LOOK: Duration = Duration::from_millis(700);
/// How long the one who leads is believed to after etcd was heard of last.
const BELIEF: u32 = 3;

#[derive(Serialize)]
struct Grant {
    #[serde(rename = "TTL")]
    ttl: String,
}

#[derive(Serialize, Deserialize, Clone)]
struct Lease {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Deserialize)]
struct KeptAlive {
    result: Kept,
}

#[derive(Deserialize)]
struct Kept {
    /// Left out when the lease is gone.
    #[serde(rename = "TTL", default)]
    ttl: String,
}

/// Who leads, as the key says it.
#[derive(Serialize, Deserialize)]
struct Leader {
    server: u64,
}

/// Sees who leads, and leads where nobody does and this node may. Runs until it is dropped.
pub(super) async fn watch(shared: &Shared, mut client: Client, keys: &Keys, candidate: Option<u64>) {
    let mut silent = 0;
    loop {
        match turn(shared, &mut client, keys, candidate).await {
            Ok(leader) => {
                silent = 0;
                shared.progress().leader = leader;
            }
            Err(error) => {
                tracing::debug!("look who leads: {error}");
                silent += 1;
                if silent >= BELIEF {
                    shared.progress().leader = None;
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn turn(
    shared: &Shared,
    client: &mut Client,
    keys: &Keys,
    candidate: Option<u64>,
) -> Result<Option<u64>, CallError> {
    if let Some(server) = candidate {
        let lease = lease(shared, client).await?;
        let value = serde_json::to_vec(&Leader { server }).unwrap_or_default();
        let (key, value) = (Blob::text(&keys.leader), Blob(value.into()));
        let put = Op::Lend { key, value, lease: lease.id };
        let compare = vec![Compare::absent(&keys.leader)];
        client.txn(&TxnRequest { compare, success: vec![put] }).await?;
    }
    let seen = client.range(&RangeRequest::one(&keys.leader)).await?;
    let leader = seen.kvs.first().and_then(|kv| serde_json::from_slice::<Leader>(&kv.value.0).ok());
    Ok(leader.map(|leader| leader.server))
}

/// The lease of this life, kept alive; another one where it ran out.
async fn lease(shared: &Shared, client: &mut Client) -> Result<Lease, CallError> {
    let known = shared.progress().lease.clone();
    if let Some(id) = known {
        let lease = Lease { id };
        let kept: KeptAlive = client.call("/v3/lease/keepalive", &lease).await?;
        if !matches!(kept.result.ttl.as_str(), "" | "0") {
            return Ok(lease);
        }
    }
    let granted: Lease = client.call("/v3/lease/grant", &Grant { ttl: TERM.as_secs().to_string() }).await?;
    shared.progress().lease = Some(granted.id.clone());
    Ok(granted)
}

/// Leaves the place to another at once.
pub(super) async fn resign(shared: &Shared, mut client: Client) {
    let lease = shared.progress().lease.take();
    if let Some(id) = lease {
        let lease = Lease { id };
        let revoked = client.call::<_, serde_json::Value>("/v3/lease/revoke", &lease);
        // Where it cannot be said, the lease runs out.
        let _ = tokio::time::timeout(LOOK, revoked).await;
    }
}
