//! Random rules and redirections, over few names, so that they meet each other and whoever asks.

use std::sync::Arc;

use proptest::prelude::*;

use super::name;
use crate::intention::{Action, Direction, Intention, IntentionCommand, Network, Place, Source};
use crate::redirection::{Destination, Redirection, RedirectionCommand};

const NETWORKS: &[&str] =
    &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "0.0.0.0/0", "::/0", "fd00::/8"];

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        3 => Just(Source::Any),
        3 => name("w", 3).prop_map(Source::Identity),
        3 => (0..3u32).prop_map(Source::Uid),
        4 => prop::sample::select(NETWORKS)
            .prop_map(|text| Network::parse(text).map_or(Source::Any, Source::Network)),
        2 => name("n", 3).prop_map(Source::Node),
        2 => (name("h", 2), proptest::option::of(80..82u16)).prop_map(|(name, port)| Source::Host { name, port }),
    ]
}

fn service() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![3 => name("s", 4), 1 => Just(Arc::from("*")), 1 => Just(Arc::from("S1"))]
}

/// One rule.
pub fn intention() -> impl Strategy<Value = Intention> {
    let action = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    let scheme = proptest::option::weighted(0.3, prop_oneof![Just(Arc::from("tls")), Just(Arc::from("tcp"))]);
    let direction = proptest::option::weighted(0.2, prop_oneof![Just(Direction::In), Just(Direction::Out)]);
    (action, source(), scheme, direction, service()).prop_map(
        |(action, source, scheme, direction, service)| {
            let mut intention = Intention::new(action, source, &service);
            (intention.scheme, intention.direction) = (scheme, direction);
            intention.id = intention.default_id();
            intention
        },
    )
}

/// Any one wish about rules.
pub fn intention_command() -> impl Strategy<Value = IntentionCommand> {
    let id = || prop_oneof![Just(Arc::from("any,*")), Just(Arc::from("w0,s0"))];
    let place = prop_oneof![
        3 => Just(Place::Keep),
        1 => Just(Place::First),
        1 => Just(Place::Last),
        1 => id().prop_map(Place::Before),
        1 => id().prop_map(Place::After),
    ];
    let cas = || proptest::option::weighted(0.2, 0..20u64);
    prop_oneof![
        8 => (intention(), place, cas()).prop_map(|(intention, place, cas)| {
            IntentionCommand::Put { intention: Box::new(intention), place, cas }
        }),
        2 => (id(), cas()).prop_map(|(id, cas)| IntentionCommand::Remove { id, cas }),
        1 => (proptest::collection::vec(intention(), 0..4), cas())
            .prop_map(|(intentions, cas)| IntentionCommand::Replace { intentions, cas }),
    ]
}

/// Any one wish about redirections.
pub fn redirection_command() -> impl Strategy<Value = RedirectionCommand> {
    let to = prop_oneof![6 => name("s", 4), 1 => Just(Arc::from("tcp://192.0.2.1:80"))];
    let to = (to, 0..3u16).prop_map(|(to, weight)| Destination { to, weight });
    prop_oneof![
        3 => (name("s", 4), proptest::collection::vec(to, 0..3)).prop_map(|(name, to)| {
            RedirectionCommand::Put(Box::new(Redirection { to, ..Redirection::new(&name, "") }))
        }),
        1 => name("s", 4).prop_map(|name| RedirectionCommand::Remove { name }),
    ]
}

/// Names that those rules are about: services, identities, nodes.
pub fn caller_names(stem: &'static str) -> impl Strategy<Value = Arc<str>> {
    name(stem, 4)
}
