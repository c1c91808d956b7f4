//! What a token or a role is linked to, from what a client sends.

use std::sync::Arc;

use catalog::Acl;
use catalog::acl::{Links, NodeIdentity, ServiceIdentity};
use consul::acl::{Link, NodeIdentity as SentNode, ServiceIdentity as SentService};

use crate::acl_paths::wrong;
use crate::http::Failure;

/// What was sent, for a `token` or a `role`.
pub(crate) struct Sent<'a> {
    pub(crate) on: &'static str,
    pub(crate) policies: &'a [Link],
    pub(crate) roles: &'a [Link],
    pub(crate) services: &'a [SentService],
    pub(crate) nodes: &'a [SentNode],
}

/// # Errors
/// 500 in Consul's words for what is not there and for names that are none.
pub(crate) fn read(acl: &Acl, sent: &Sent<'_>) -> Result<Links, Failure> {
    let policies = sent.policies.iter().map(|link| policy(acl, link)).collect::<Result<Vec<_>, _>>()?;
    let roles = sent.roles.iter().map(|link| role(acl, link)).collect::<Result<Vec<_>, _>>()?;
    let services = sent.services.iter().map(|one| service(one, sent.on)).collect::<Result<Vec<_>, _>>()?;
    let nodes = sent.nodes.iter().map(|one| node(one, sent.on)).collect::<Result<Vec<_>, _>>()?;
    let mut links = Links { policies, roles, services, nodes };
    dedup(&mut links.policies);
    dedup(&mut links.roles);
    dedup(&mut links.services);
    dedup(&mut links.nodes);
    Ok(links)
}

/// Keeps the first of each, in the order sent.
fn dedup<T: Ord + Clone>(list: &mut Vec<T>) {
    let mut seen = std::collections::BTreeSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

fn policy(acl: &Acl, link: &Link) -> Result<Arc<str>, Failure> {
    let found = match link.id.is_empty() {
        true => acl.policy_named(&link.name),
        false => acl.policy(&link.id),
    };
    found.map(|policy| policy.id.clone()).ok_or_else(|| nowhere("policy", link))
}

fn role(acl: &Acl, link: &Link) -> Result<Arc<str>, Failure> {
    let found = match link.id.is_empty() {
        true => acl.role_named(&link.name),
        false => acl.role(&link.id),
    };
    found.map(|role| role.id.clone()).ok_or_else(|| nowhere("role", link))
}

fn nowhere(what: &str, link: &Link) -> Failure {
    match link.id.is_empty() {
        true => wrong(format!("No such ACL {what} with name {:?}", &*link.name)),
        false => wrong(format!("No such ACL {what} with ID {:?}", &*link.id)),
    }
}

fn service(sent: &SentService, on: &str) -> Result<ServiceIdentity, Failure> {
    let name = &sent.service_name;
    if name.is_empty() {
        return Err(wrong(format!("Service identity is missing the service name field on this {on}")));
    }
    if !is_identity(name) {
        return Err(wrong(format!(
            "Service identity {name:?} has an invalid name. Only alphanumeric characters, '-' and '_' are allowed"
        )));
    }
    Ok(ServiceIdentity { service: name.clone(), datacenters: sent.datacenters.clone() })
}

fn node(sent: &SentNode, on: &str) -> Result<NodeIdentity, Failure> {
    if sent.node_name.is_empty() {
        return Err(wrong(format!("Node identity is missing the node name field on this {on}")));
    }
    if sent.datacenter.is_empty() {
        return Err(wrong(format!("Node identity is missing the datacenter field on this {on}")));
    }
    if !is_identity(&sent.node_name) {
        return Err(wrong(format!(
            "Node identity {:?} has an invalid name. Only alphanumeric characters, '-' and '_' are allowed",
            &*sent.node_name
        )));
    }
    Ok(NodeIdentity { node: sent.node_name.clone(), datacenter: sent.datacenter.clone() })
}

/// Consul wants these in lower case.
fn is_identity(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    name.len() <= 256
        && name.chars().all(inner)
        && !name.starts_with(['-', '_'])
        && !name.ends_with(['-', '_'])
}

/// Names of policies and roles.
pub(crate) fn checked_name(what: &str, name: &str) -> Result<(), Failure> {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '/';
    if name.is_empty() {
        return Err(wrong(format!("Invalid {what}: no Name is set")));
    }
    match name.len() <= 128 && name.chars().all(inner) {
        true => Ok(()),
        false => Err(wrong(format!(
            "Invalid {what}: invalid Name. Only alphanumeric characters, '-' and '_' are allowed"
        ))),
    }
}
