//! Every operation of a transaction is judged as if it came alone, before any of them is carried out; what is
//! read and may not be seen is left out of the answer.

use acl::{Resource, Right};
use catalog::{
    CheckRegistration, Deregister, Found, InstanceRegistration, KvOperation, NodeRegistration, Operation,
    Register, Snapshot, Verb,
};
use consul::txn::TxnError;

use crate::access::{Caller, may_deregister, may_register};
use crate::http::Failure;

/// What is refused: the numbers of the operations, from 0, and why.
pub(super) fn operations(caller: &Caller, now: &Snapshot, all: &[Operation]) -> Vec<TxnError> {
    caller.has_asked();
    let refused = |(op_index, operation)| {
        let what = judged(caller, now, operation).err()?.message;
        Some(TxnError { op_index, what })
    };
    all.iter().enumerate().filter_map(refused).collect()
}

fn judged(caller: &Caller, now: &Snapshot, operation: &Operation) -> Result<(), Failure> {
    match operation {
        Operation::Kv(operation) => key(caller, operation),
        // What is only read is filtered.
        Operation::Node { verb: Verb::Get, .. }
        | Operation::Instance { verb: Verb::Get, .. }
        | Operation::Check { verb: Verb::Get, .. } => Ok(()),
        Operation::Node { def, .. } => caller.may(Resource::Node, Right::Write, &def.name),
        Operation::Instance { verb: Verb::Set(_), node, def } => {
            let instance = InstanceRegistration { def: (**def).clone(), replace_checks: false };
            may_register(caller, now, &registration(node, Some(instance), None))
        }
        Operation::Check { verb: Verb::Set(_), node, check } => {
            may_register(caller, now, &registration(node, None, Some((**check).clone())))
        }
        Operation::Instance { node, def, .. } => {
            let (node, id) = (node.clone(), def.id.clone());
            may_deregister(caller, now, &Deregister::Instance { node, id, registered_index: None })
        }
        Operation::Check { node, check, .. } => {
            let (node, id) = (node.clone(), check.def.id.clone());
            may_deregister(caller, now, &Deregister::Check { node, id })
        }
    }
}

fn registration(
    on: &std::sync::Arc<str>,
    instance: Option<InstanceRegistration>,
    check: Option<CheckRegistration>,
) -> Register {
    let node: Option<NodeRegistration> = None;
    Register { node, on: on.clone(), instance, checks: check.into_iter().collect() }
}

fn key(caller: &Caller, operation: &KvOperation) -> Result<(), Failure> {
    match operation {
        KvOperation::Get { key } | KvOperation::Check { key, .. } | KvOperation::CheckSession { key, .. } => {
            caller.may(Resource::Key, Right::Read, key)
        }
        // Filtered.
        KvOperation::GetTree { .. } => Ok(()),
        KvOperation::Set { key, .. }
        | KvOperation::Delete { key, .. }
        | KvOperation::Lock { key, .. }
        | KvOperation::Unlock { key, .. } => caller.may(Resource::Key, Right::Write, key),
        KvOperation::DeleteTree { prefix } => caller.may_under(Resource::Key, Right::Write, prefix),
    }
}

/// Whether a result is shown to whoever asked.
pub(super) fn may_see(caller: &Caller, now: &Snapshot, found: &Found) -> bool {
    match found {
        Found::Key(found) => !found.is_read || caller.sees(Resource::Key, &found.key),
        Found::Node(entry) => caller.sees(Resource::Node, &entry.def.name),
        Found::Instance(instance) => caller.sees(Resource::Service, &instance.def.service),
        Found::Check(check) => match now.instance(&check.node, &check.def.service_id) {
            Some(instance) => caller.sees(Resource::Service, &instance.def.service),
            None => caller.sees(Resource::Node, &check.node),
        },
    }
}
