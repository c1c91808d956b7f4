//! From what a client sends to operations of the catalog.

use catalog::{CheckRegistration, KvOperation, NodeDef, Operation, Verb};
use consul::kv::Value;
use consul::listing::{HealthCheck, Node, NodeService};
use consul::register::{CatalogCheck, CatalogService, Connect};
use consul::txn::{CheckOp, KvOp, NodeOp, ServiceOp, TxnOp};

use crate::catalog_paths::{external_check, external_instance};
use crate::http::Failure;

/// Consul's words, which the catalog says too.
pub(super) const MISSING_SESSION: &str = "missing session";

/// True for what locks or asks about a lock, and does not say in whose name.
pub(super) fn lacks_session(sent: &TxnOp) -> bool {
    sent.kv
        .as_ref()
        .is_some_and(|kv| matches!(&*kv.verb, "lock" | "unlock" | "check-session") && kv.session.is_empty())
}

/// # Errors
/// Why the operation cannot be meant, in Consul's words where it has some.
pub(super) fn operation(sent: TxnOp) -> Result<Operation, Failure> {
    match sent {
        TxnOp { kv: Some(sent), node: None, service: None, check: None } => {
            kv_operation(sent).map(Operation::Kv)
        }
        TxnOp { kv: None, node: Some(sent), service: None, check: None } => node_operation(sent),
        TxnOp { kv: None, node: None, service: Some(sent), check: None } => service_operation(sent),
        TxnOp { kv: None, node: None, service: None, check: Some(sent) } => check_operation(sent),
        _ => Err(Failure::bad_request(
            "an operation of a transaction is exactly one of KV, Node, Service and Check",
        )),
    }
}

fn kv_operation(sent: KvOp) -> Result<KvOperation, Failure> {
    let KvOp { verb, key, value: Value(value), flags, index, session } = sent;
    Ok(match &*verb {
        "set" => KvOperation::Set { key, value, flags, cas: None },
        "cas" => KvOperation::Set { key, value, flags, cas: Some(index) },
        "lock" => KvOperation::Lock { key, value, flags, session },
        "unlock" => KvOperation::Unlock { key, value, flags, session },
        "get" => KvOperation::Get { key },
        "get-tree" => KvOperation::GetTree { prefix: key },
        "delete" => KvOperation::Delete { key, cas: None },
        "delete-cas" => KvOperation::Delete { key, cas: Some(index) },
        "delete-tree" => KvOperation::DeleteTree { prefix: key },
        "check-index" => KvOperation::Check { key, index },
        "check-not-exists" => KvOperation::Check { key, index: 0 },
        "check-session" => KvOperation::CheckSession { key, session },
        other => return Err(unknown("KV", other)),
    })
}

fn unknown(kind: &str, verb: &str) -> Failure {
    Failure::bad_request(format!("unknown {kind} verb {verb:?}"))
}

fn verb(kind: &str, word: &str, index: u64) -> Result<Verb, Failure> {
    Ok(match word {
        "get" => Verb::Get,
        "set" => Verb::Set(None),
        "cas" => Verb::Set(Some(index)),
        "delete" => Verb::Delete(None),
        "delete-cas" => Verb::Delete(Some(index)),
        other => return Err(unknown(kind, other)),
    })
}

fn node_operation(sent: NodeOp) -> Result<Operation, Failure> {
    let verb = verb("Node", &sent.verb, sent.node.modify_index)?;
    let Node { id, node: name, address, tagged_addresses, meta, .. } = sent.node;
    let def = NodeDef {
        name,
        id,
        address,
        tagged_addresses: tagged_addresses.unwrap_or_default().into_iter().collect(),
        meta: meta.unwrap_or_default().into_iter().collect(),
    };
    Ok(Operation::Node { verb, def: Box::new(def) })
}

fn service_operation(sent: ServiceOp) -> Result<Operation, Failure> {
    let verb = verb("Service", &sent.verb, sent.service.modify_index)?;
    let NodeService {
        id,
        service,
        tags,
        address,
        tagged_addresses,
        meta,
        port,
        weights,
        enable_tag_override,
        connect,
        locality,
        ..
    } = sent.service;
    // Only what is set needs a name.
    let service = if service.is_empty() && !matches!(verb, Verb::Set(_)) { id.clone() } else { service };
    let described = CatalogService {
        id,
        service,
        kind: "".into(),
        tags,
        address,
        tagged_addresses,
        meta: meta.unwrap_or_default(),
        port,
        weights: Some(weights),
        enable_tag_override,
        connect: Some(Connect { native: connect.native, sidecar_service: None }),
        locality,
    };
    let def = external_instance(described)?.def;
    Ok(Operation::Instance { verb, node: sent.node, def: Box::new(def) })
}

fn check_operation(sent: CheckOp) -> Result<Operation, Failure> {
    let verb = verb("Check", &sent.verb, sent.check.modify_index)?;
    let HealthCheck { node, check_id, name, status, notes, output, service_id, definition, .. } = sent.check;
    let described =
        CatalogCheck { node: node.clone(), check_id, name, notes, status, output, service_id, definition };
    let check: CheckRegistration = external_check(&described, &node)?;
    Ok(Operation::Check { verb, node, check: Box::new(check) })
}
