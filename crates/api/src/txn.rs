//! `txn`: several operations on keys, all or nothing.

use std::sync::Arc;

use catalog::{Catalog, Command, Envelope, KvCommand, KvFound, KvOperation, Outcome, Refusal};
use consul::kv::{KvOp, KvPair, TxnAnswer, TxnError, TxnOp, TxnResult, Value};
use http::StatusCode;
use serde_json::json;

use crate::Api;
use crate::http::{Answer, Failure, Request, decode};
use crate::read::{check_datacenter, check_tenancy};

/// Most operations in one transaction.
const MAX_OPERATIONS: usize = 128;

/// `PUT txn`. What only reads does not go through the log.
pub(crate) async fn put(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, body) = request.body(api.config.max_body()).await?;
    check_tenancy(&parts.query)?;
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    let sent: Vec<TxnOp> = decode(&body)?;
    if sent.len() > MAX_OPERATIONS {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Transaction contains too many operations ({} > {MAX_OPERATIONS})", sent.len()),
        ));
    }
    let operations: Vec<_> = sent.into_iter().map(operation).collect::<Result<_, _>>()?;
    let only_reads = operations.iter().all(is_read);
    let command = Command::Kv(KvCommand::Transaction { operations });
    let outcome = match only_reads {
        true => tried(&api, command).await?,
        false => api.store.propose(command).await?.outcome,
    };
    answered(outcome, only_reads, parts.query.has("pretty"))
}

fn operation(sent: TxnOp) -> Result<KvOperation, Failure> {
    match sent {
        TxnOp { kv: Some(kv), node: None, service: None, check: None } => kv_operation(kv),
        TxnOp { kv: None, node: None, service: None, check: None } => {
            Err(Failure::bad_request("an operation of a transaction is empty"))
        }
        _ => Err(Failure::absent("transactions on nodes, services and checks are")),
    }
}

fn kv_operation(sent: KvOp) -> Result<KvOperation, Failure> {
    let KvOp { verb, key, value: Value(value), flags, index, session: _ } = sent;
    Ok(match &*verb {
        "set" => KvOperation::Set { key, value, flags, cas: None },
        "cas" => KvOperation::Set { key, value, flags, cas: Some(index) },
        "get" => KvOperation::Get { key },
        "get-tree" => KvOperation::GetTree { prefix: key },
        "delete" => KvOperation::Delete { key, cas: None },
        "delete-cas" => KvOperation::Delete { key, cas: Some(index) },
        "delete-tree" => KvOperation::DeleteTree { prefix: key },
        "check-index" => KvOperation::Check { key, index },
        "check-not-exists" => KvOperation::Check { key, index: 0 },
        "lock" | "unlock" | "check-session" => {
            return Err(Failure::absent("locks (lock, unlock, check-session) need sessions, which are"));
        }
        other => return Err(Failure::bad_request(format!("unknown KV verb {other:?}"))),
    })
}

fn is_read(operation: &KvOperation) -> bool {
    matches!(operation, KvOperation::Get { .. } | KvOperation::GetTree { .. } | KvOperation::Check { .. })
}

/// What would become of a command, on a state that contains everything decided so far. Nothing is kept.
async fn tried(api: &Api, command: Command) -> Result<Outcome, Failure> {
    let view = api.store.barrier().await?;
    let mut scratch = Catalog::from_snapshot(view.0.clone());
    let envelope = Envelope { node: "".into(), epoch: 1, sequence: 1, time_ms: view.time_ms(), command };
    Ok(scratch.apply(view.index(), &envelope).outcome)
}

fn answered(outcome: Outcome, only_reads: bool, pretty: bool) -> Result<Answer, Failure> {
    let (answer, status) = match outcome {
        Outcome::Transacted(found) => {
            let results = found.into_iter().map(result).collect();
            (TxnAnswer { results: Some(results), errors: None }, StatusCode::OK)
        }
        Outcome::Refused(Refusal::RolledBack(failures)) => {
            let errors = failures.into_iter().map(|(op_index, what)| TxnError { op_index, what }).collect();
            (TxnAnswer { results: None, errors: Some(errors) }, StatusCode::CONFLICT)
        }
        Outcome::Refused(refusal) => return Err(refusal.into()),
        _ => (TxnAnswer { results: Some(Vec::new()), errors: None }, StatusCode::OK),
    };
    let answer = match only_reads {
        false => Answer::json_as(&answer, pretty)?,
        // Consul adds what a read says of its freshness.
        true => Answer::json_as(
            &json!({
                "Results": answer.results, "Errors": answer.errors,
                "Index": 0, "LastContact": 0, "KnownLeader": true, "ConsistencyLevel": "",
            }),
            pretty,
        )?,
    };
    Ok(answer.with_status(status))
}

/// What was set is shown without its value, which the client knows.
fn result(found: KvFound) -> TxnResult {
    let value = if found.is_read { found.entry.value.clone() } else { bytes::Bytes::new() };
    TxnResult {
        kv: KvPair {
            lock_index: found.entry.lock_index,
            key: found.key,
            flags: found.entry.flags,
            value: Value(value),
            session: "".into(),
            create_index: found.entry.create_index,
            modify_index: found.entry.modify_index,
        },
    }
}
