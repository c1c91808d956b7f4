//! Random commands on tokens, policies and roles.

use proptest::collection::vec;
use proptest::prelude::*;

use super::name;
use crate::acl::{
    AclCommand, AclPolicy, AclRole, AclToken, DefaultPolicy, Links, NodeIdentity, ServiceIdentity,
};
use crate::trust::KeyHash;

/// Any one command on tokens, policies and roles.
pub fn acl_command() -> impl Strategy<Value = AclCommand> {
    let is_new = || prop::bool::weighted(0.6);
    let reset = proptest::option::of(0..20u64);
    prop_oneof![
        1 => (token(), reset)
            .prop_map(|(token, reset)| AclCommand::Bootstrap { token: Box::new(token), reset }),
        4 => (token(), is_new())
            .prop_map(|(token, is_new)| AclCommand::PutToken { token: Box::new(token), is_new }),
        1 => name("a", 3).prop_map(|accessor| AclCommand::DeleteToken { accessor }),
        4 => (policy(), is_new())
            .prop_map(|(policy, is_new)| AclCommand::PutPolicy { policy: Box::new(policy), is_new }),
        1 => name("p", 3).prop_map(|id| AclCommand::DeletePolicy { id }),
        3 => (role(), is_new())
            .prop_map(|(role, is_new)| AclCommand::PutRole { role: Box::new(role), is_new }),
        1 => name("r", 3).prop_map(|id| AclCommand::DeleteRole { id }),
        1 => prop_oneof![Just(DefaultPolicy::Allow), Just(DefaultPolicy::Read), Just(DefaultPolicy::Deny)]
            .prop_map(AclCommand::SetDefault),
    ]
}

fn links() -> impl Strategy<Value = Links> {
    let service =
        name("s", 2).prop_map(|service| ServiceIdentity { service, datacenters: vec!["dc1".into()] });
    let node = name("n", 2).prop_map(|node| NodeIdentity { node, datacenter: "dc1".into() });
    (vec(name("p", 3), 0..2), vec(name("r", 3), 0..2), vec(service, 0..2), vec(node, 0..2))
        .prop_map(|(policies, roles, services, nodes)| Links { policies, roles, services, nodes })
}

fn token() -> impl Strategy<Value = AclToken> {
    let lives = proptest::option::of(0..2_000_000u64);
    (name("a", 3), 1..4u8, links(), lives).prop_map(|(accessor, secret, links, expires_ms)| AclToken {
        accessor,
        secret: KeyHash([secret; 32]),
        description: "".into(),
        links,
        local: false,
        expires_ms,
        created_ms: 0,
        create_index: 0,
        modify_index: 0,
    })
}

fn policy() -> impl Strategy<Value = AclPolicy> {
    (name("p", 3), name("name", 3)).prop_map(|(id, name)| AclPolicy {
        id,
        name,
        description: "".into(),
        rules: "key_prefix \"\" { policy = \"read\" }".into(),
        datacenters: Vec::new(),
        create_index: 0,
        modify_index: 0,
    })
}

fn role() -> impl Strategy<Value = AclRole> {
    (name("r", 3), name("name", 3), links()).prop_map(|(id, name, links)| AclRole {
        id,
        name,
        description: "".into(),
        links,
        create_index: 0,
        modify_index: 0,
    })
}
