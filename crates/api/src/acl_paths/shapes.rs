//! From the catalog to Consul's shapes.

use std::sync::Arc;

use catalog::acl::{ANONYMOUS, Links, MANAGEMENT, MANAGEMENT_NAME};
use catalog::{Acl, AclPolicy, AclRole, AclToken, Operator};
use consul::Text;
use consul::acl::{HIDDEN, Link, NodeIdentity, Policy, PolicyStub, Role, ServiceIdentity, Token};
use consul::instant;

/// A token without its secret.
pub(crate) fn token(acl: &Acl, token: &AclToken) -> Token {
    let (policies, roles) = links(acl, &token.links);
    Token {
        accessor_id: token.accessor.clone(),
        secret_id: if &*token.accessor == ANONYMOUS { "anonymous" } else { HIDDEN }.into(),
        description: token.description.clone(),
        policies,
        roles,
        service_identities: services(&token.links),
        node_identities: nodes(&token.links),
        local: token.local,
        expiration_time: token.expires_ms.map(|ms| instant::write(ms).into()).unwrap_or_default(),
        create_time: instant::write(token.created_ms).into(),
        hash: hash(&(&*token.description, &token.links, token.local)),
        create_index: token.create_index,
        modify_index: token.modify_index,
        ..Token::default()
    }
}

/// An operator's token, which `init` made, as the token that it is.
pub(crate) fn operator(operator: &Operator) -> Token {
    Token {
        accessor_id: operator_accessor(operator),
        secret_id: HIDDEN.into(),
        description: format!("Operator {}", operator.name).into(),
        policies: vec![Link { id: MANAGEMENT.into(), name: MANAGEMENT_NAME.into() }],
        create_time: instant::write(operator.created_ms).into(),
        hash: hash(&(&*operator.name, operator.created_ms)),
        create_index: 1,
        modify_index: 1,
        ..Token::default()
    }
}

/// A name for an operator's token, made of the hash of its hash: of no use to whoever wants to show the token.
pub(crate) fn operator_accessor(operator: &Operator) -> Text {
    let hex = acl::content_hash(&operator.hash.0).to_string();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-").into()
}

pub(crate) fn policy(policy: &AclPolicy) -> Policy {
    Policy {
        id: policy.id.clone(),
        name: policy.name.clone(),
        description: policy.description.clone(),
        rules: policy.rules.clone(),
        datacenters: policy.datacenters.clone(),
        hash: policy_hash(policy),
        create_index: policy.create_index,
        modify_index: policy.modify_index,
        ..Policy::default()
    }
}

pub(crate) fn policy_stub(policy: &AclPolicy) -> PolicyStub {
    PolicyStub {
        id: policy.id.clone(),
        name: policy.name.clone(),
        description: policy.description.clone(),
        datacenters: (!policy.datacenters.is_empty()).then(|| policy.datacenters.clone()),
        hash: policy_hash(policy),
        create_index: policy.create_index,
        modify_index: policy.modify_index,
    }
}

fn policy_hash(policy: &AclPolicy) -> Text {
    hash(&(&*policy.name, &*policy.description, &*policy.rules, &policy.datacenters))
}

pub(crate) fn role(acl: &Acl, role: &AclRole) -> Role {
    Role {
        id: role.id.clone(),
        name: role.name.clone(),
        description: role.description.clone(),
        policies: links(acl, &role.links).0,
        service_identities: services(&role.links),
        node_identities: nodes(&role.links),
        hash: hash(&(&*role.name, &*role.description, &role.links)),
        create_index: role.create_index,
        modify_index: role.modify_index,
        ..Role::default()
    }
}

fn links(acl: &Acl, links: &Links) -> (Vec<Link>, Vec<Link>) {
    let link = |id: &Arc<str>, name: &Arc<str>| Link { id: id.clone(), name: name.clone() };
    let policies = links.policies.iter().filter_map(|id| acl.policy(id)).map(|p| link(&p.id, &p.name));
    let roles = links.roles.iter().filter_map(|id| acl.role(id)).map(|r| link(&r.id, &r.name));
    (policies.collect(), roles.collect())
}

fn services(links: &Links) -> Vec<ServiceIdentity> {
    let shown = |identity: &catalog::acl::ServiceIdentity| ServiceIdentity {
        service_name: identity.service.clone(),
        datacenters: identity.datacenters.clone(),
    };
    links.services.iter().map(shown).collect()
}

fn nodes(links: &Links) -> Vec<NodeIdentity> {
    let shown = |identity: &catalog::acl::NodeIdentity| NodeIdentity {
        node_name: identity.node.clone(),
        datacenter: identity.datacenter.clone(),
    };
    links.nodes.iter().map(shown).collect()
}

/// Equal contents, equal hashes; Go's clients read them as bytes in base64.
fn hash(contents: &impl serde::Serialize) -> Text {
    let bytes = serde_json::to_vec(contents).unwrap_or_default();
    consul::acl::hash_text(&acl::content_hash(&bytes).0)
}
