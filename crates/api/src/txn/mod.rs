//! `txn`: several operations on keys, nodes, services and checks, all or nothing.

mod judge;
mod operation;

use std::sync::Arc;

use catalog::{Catalog, Command, Envelope, Found, KvOperation, Operation, Outcome, Refusal, Verb};
use consul::kv::Value;
use consul::txn::{TxnAnswer, TxnError, TxnOp, TxnResult};
use http::StatusCode;
use serde_json::json;
use store::View;

use crate::access::Caller;
use crate::http::{Answer, Failure, Request, decode};
use crate::read::{check_datacenter, check_tenancy};
use crate::{Api, kv, plan};

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
    let pretty = parts.query.has("pretty");
    let operations = match understood(sent)? {
        Ok(operations) => operations,
        Err(errors) => {
            let answer = TxnAnswer { results: None, errors: Some(errors) };
            return Ok(Answer::json_as(&answer, pretty)?.with_status(StatusCode::CONFLICT));
        }
    };
    let denied = judge::operations(&parts.caller, &api.store.now(), &operations);
    if !denied.is_empty() {
        let answer = TxnAnswer { results: None, errors: Some(denied) };
        return Ok(Answer::json_as(&answer, pretty)?.with_status(StatusCode::CONFLICT));
    }
    let only_reads = operations.iter().all(is_read);
    let command = Command::Transact(operations);
    let outcome = match only_reads {
        true => tried(&api, command).await?,
        false => api.store.propose(command).await?.outcome,
    };
    answered(&api, &parts.caller, outcome, only_reads, pretty)
}

/// The operations; or those that cannot be meant, which Consul answers as it answers a transaction that was
/// rolled back. An operation that is nothing at all is left out, as there.
fn understood(sent: Vec<TxnOp>) -> Result<Result<Vec<Operation>, Vec<TxnError>>, Failure> {
    let (mut operations, mut errors) = (Vec::new(), Vec::new());
    // These are told when it is tried, beside what else fails then; and also when it never comes to that.
    let mut untried = Vec::new();
    for (op_index, sent) in sent.into_iter().enumerate().filter(|(_, sent)| *sent != TxnOp::default()) {
        if operation::lacks_session(&sent) {
            untried.push(TxnError { op_index, what: operation::MISSING_SESSION.into() });
        }
        match operation::operation(sent) {
            Ok(operation) => operations.push(operation),
            Err(failure) if failure.status == StatusCode::BAD_REQUEST => {
                errors.push(TxnError { op_index, what: failure.message });
            }
            Err(failure) => return Err(failure),
        }
    }
    if errors.is_empty() {
        return Ok(Ok(operations));
    }
    errors.append(&mut untried);
    errors.sort_by_key(|error| error.op_index);
    Ok(Err(errors))
}

fn is_read(operation: &Operation) -> bool {
    match operation {
        Operation::Kv(operation) => matches!(
            operation,
            KvOperation::Get { .. }
                | KvOperation::GetTree { .. }
                | KvOperation::Check { .. }
                | KvOperation::CheckSession { .. }
        ),
        Operation::Node { verb, .. } | Operation::Instance { verb, .. } | Operation::Check { verb, .. } => {
            *verb == Verb::Get
        }
    }
}

/// What would become of a command, on a state that contains everything decided so far. Nothing is kept.
async fn tried(api: &Api, command: Command) -> Result<Outcome, Failure> {
    let view = api.store.barrier().await?;
    let mut scratch = Catalog::from_snapshot(view.0.clone());
    let envelope = Envelope { node: "".into(), epoch: 1, sequence: 1, time_ms: view.time_ms(), command };
    Ok(scratch.apply(view.index(), &envelope).outcome)
}

fn answered(
    api: &Api,
    caller: &Caller,
    outcome: Outcome,
    only_reads: bool,
    pretty: bool,
) -> Result<Answer, Failure> {
    let (answer, status) = match outcome {
        Outcome::Transacted(found) => {
            let now = api.store.now();
            let shown = found.into_iter().filter(|found| judge::may_see(caller, &now, found));
            let results = shown.map(|found| result(api, &now, found)).collect();
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

/// A key that was set is shown without its value, which the client knows.
fn result(api: &Api, now: &View, found: Found) -> TxnResult {
    match found {
        Found::Key(found) => {
            let mut pair = kv::pair(&found.key, &found.entry);
            if !found.is_read {
                pair.value = Value::default();
            }
            TxnResult::Kv(pair)
        }
        Found::Node(entry) => TxnResult::Node(plan::node(&api.context, &entry)),
        Found::Instance(instance) => TxnResult::Service(plan::node_service(None, &instance)),
        Found::Check(check) => {
            let instance = now.instance(&check.node, &check.def.service_id);
            TxnResult::Check(plan::health_check(&check, instance.map(|instance| &**instance)))
        }
    }
}
