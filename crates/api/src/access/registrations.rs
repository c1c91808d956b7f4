//! What must be allowed for a node, an instance or a check to come or go, whichever way it is said. The rules are
//! Consul's.

use acl::{Resource, Right};
use catalog::{Deregister, Register, Snapshot};

use crate::access::Caller;
use crate::http::Failure;

/// Judges a registration: the node where it would change, the service, and the one whose id it takes; a check
/// belongs to its service, or to the node.
///
/// # Errors
/// 403.
pub(crate) fn may_register(caller: &Caller, now: &Snapshot, wish: &Register) -> Result<(), Failure> {
    let known = now.node(&wish.on);
    if let Some(node) = &wish.node {
        let is_kept = known.is_some_and(|known| node.only_if_absent || same_node(&known.def, &node.def));
        if !is_kept {
            caller.may(Resource::Node, Right::Write, &wish.on)?;
        }
    }
    if let Some(instance) = &wish.instance {
        let def = &instance.def;
        caller.may(Resource::Service, Right::Write, &def.service)?;
        if let Some(before) = now.instance(&wish.on, &def.id) {
            caller.may(Resource::Service, Right::Write, &before.def.service)?;
        }
    }
    for check in &wish.checks {
        let of_instance = wish.instance.as_ref().filter(|i| i.def.id == check.def.service_id);
        let service = match of_instance {
            Some(instance) => Some(&instance.def.service),
            None => now.instance(&wish.on, &check.def.service_id).map(|instance| &instance.def.service),
        };
        may_write_check(caller, &wish.on, service.map(|name| &**name))?;
        // A check that is there may be another service's.
        if now.check(&wish.on, &check.def.id).is_some() {
            may_write_known_check(caller, now, &wish.on, &check.def.id)?;
        }
    }
    // Nothing at all: the node is named all the same.
    if wish.node.is_none() && wish.instance.is_none() && wish.checks.is_empty() {
        caller.may(Resource::Node, Right::Write, &wish.on)?;
    }
    caller.has_asked();
    Ok(())
}

/// Whether a registration leaves the node as it is. An id that is not given is kept.
fn same_node(known: &catalog::NodeDef, wished: &catalog::NodeDef) -> bool {
    (wished.id.is_empty() || wished.id == known.id)
        && wished.address == known.address
        && (wished.meta.is_empty() || wished.meta == known.meta)
        && (wished.tagged_addresses.is_empty() || wished.tagged_addresses == known.tagged_addresses)
}

/// Judges a check by the service that it belongs to, or else by its node.
///
/// # Errors
/// 403.
fn may_write_check(caller: &Caller, node: &str, service: Option<&str>) -> Result<(), Failure> {
    match service {
        Some(service) => caller.may(Resource::Service, Right::Write, service),
        None => caller.may(Resource::Node, Right::Write, node),
    }
}

fn may_write_known_check(caller: &Caller, now: &Snapshot, node: &str, id: &str) -> Result<(), Failure> {
    let check = now.check(node, id);
    let service = check.filter(|check| !check.def.service_id.is_empty()).map(|check| &*check.service);
    may_write_check(caller, node, service)
}

/// Judges that something goes: whoever may write the node may take everything from it.
///
/// # Errors
/// 403.
pub(crate) fn may_deregister(caller: &Caller, now: &Snapshot, wish: &Deregister) -> Result<(), Failure> {
    let (Deregister::Node { node } | Deregister::Instance { node, .. } | Deregister::Check { node, .. }) =
        wish;
    let of_node = || caller.may(Resource::Node, Right::Write, node);
    match wish {
        Deregister::Node { .. } => of_node(),
        Deregister::Instance { id, .. } => match now.instance(node, id) {
            Some(instance) => {
                caller.may(Resource::Service, Right::Write, &instance.def.service).or_else(|_| of_node())
            }
            None => of_node(),
        },
        Deregister::Check { id, .. } => may_write_known_check(caller, now, node, id).or_else(|_| of_node()),
    }
}
