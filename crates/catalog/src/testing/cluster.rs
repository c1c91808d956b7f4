//! Random wishes about the cluster itself, over few names, keys and secrets.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::name;
use crate::members::{Candidate, ClusterCommand, FEATURES, Founding, Role};
use crate::trust::{Issuer, KeyHash, Mode};

fn key() -> impl Strategy<Value = KeyHash> {
    (0..5u8).prop_map(|number| KeyHash([number; 32]))
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Agent)]
}

fn certificate() -> impl Strategy<Value = Bytes> {
    (0..3u8).prop_map(|byte| Bytes::from(vec![byte; 3]))
}

fn addresses() -> impl Strategy<Value = Vec<Arc<str>>> {
    (0..3u8).prop_map(|last| vec![format!("10.0.0.{last}:8300").into()])
}

fn candidate() -> impl Strategy<Value = Candidate> {
    (name("n", 4), role(), 0..2u64, addresses(), key()).prop_map(|(name, role, disk, addresses, key)| {
        Candidate { name, role, disk, addresses, key, features: FEATURES }
    })
}

fn issuer(node: Arc<str>) -> impl Strategy<Value = Issuer> {
    (key(), key(), certificate()).prop_map(move |(key, root, certificate)| Issuer {
        node: node.clone(),
        key,
        root,
        certificate,
    })
}

fn founding() -> impl Strategy<Value = ClusterCommand> {
    let name: Arc<str> = "n0".into();
    (candidate(), key(), certificate(), issuer(name.clone()), key()).prop_map(
        move |(founder, root, certificate, issuer, operator)| {
            let founder = Candidate { name: name.clone(), ..founder };
            let cluster = "c".into();
            let root = (root, certificate);
            ClusterCommand::Found(Box::new(Founding { cluster, founder, root, issuer, operator }))
        },
    )
}

fn admission() -> impl Strategy<Value = ClusterCommand> {
    (key(), candidate())
        .prop_flat_map(|(secret, candidate)| {
            let issuer = proptest::option::weighted(0.7, issuer(candidate.name.clone()));
            (Just(secret), Just(candidate), issuer)
        })
        .prop_map(|(secret, candidate, issuer)| ClusterCommand::Admit { secret, candidate, issuer })
}

/// Any one wish about members, trust or lives.
pub fn cluster_command() -> impl Strategy<Value = ClusterCommand> {
    prop_oneof![
        3 => founding(),
        6 => admission(),
        4 => lives(),
        3 => trust(),
        3 => (key(), 0..3u32, 0..5_000_000u64, role()).prop_map(|(hash, uses, expires_ms, role)| {
            ClusterCommand::CreateJoinSecret { hash, uses, expires_ms, role }
        }),
        1 => key().prop_map(|hash| ClusterCommand::RevokeJoinSecret { hash }),
        2 => name("n", 4).prop_map(|name| ClusterCommand::RemoveMember { name }),
        1 => (name("n", 4), addresses()).prop_map(|(name, addresses)| {
            ClusterCommand::UpdateMember { name, addresses, features: FEATURES }
        }),
    ]
}

fn lives() -> impl Strategy<Value = ClusterCommand> {
    prop_oneof![
        3 => (name("n", 3), 0..3u64).prop_map(|(node, epoch)| ClusterCommand::NodeDown { node, epoch }),
        1 => (name("n", 3), 0..3u64).prop_map(|(node, epoch)| ClusterCommand::NodeUp { node, epoch }),
        2 => (name("n", 3), name("i", 3)).prop_map(|(node, id)| ClusterCommand::Claim { node, id }),
    ]
}

fn trust() -> impl Strategy<Value = ClusterCommand> {
    prop_oneof![
        name("n", 3).prop_flat_map(issuer).prop_map(ClusterCommand::SetIssuer),
        (key(), certificate(), proptest::option::of(certificate()))
            .prop_map(|(key, certificate, cross)| ClusterCommand::AddRoot { key, certificate, cross }),
        key().prop_map(|key| ClusterCommand::PromoteRoot { key }),
        key().prop_map(|key| ClusterCommand::DropRoot { key }),
        (key(), name("why", 2)).prop_map(|(key, reason)| ClusterCommand::Deny { key, reason }),
        key().prop_map(|key| ClusterCommand::Allow { key }),
        prop_oneof![Just(Mode::Observe), Just(Mode::Enforce)].prop_map(ClusterCommand::SetMode),
        (key(), name("who", 2)).prop_map(|(hash, name)| ClusterCommand::AddOperator { hash, name }),
        key().prop_map(|hash| ClusterCommand::RemoveOperator { hash }),
    ]
}
