//! Random histories over few names, so that commands meet each other: the same node registered twice, a
//! check that moves, a service that dies and comes back.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::{
    Behavior, Catalog, CheckDef, CheckRegistration, Command, Deregister, Envelope, Event, ExposureCommand,
    ExposureDef, InitialStatus, InstanceDef, InstanceRegistration, KvCommand, KvOperation, Lease, Locality,
    NodeDef, NodeRegistration, Operation, Probe, Producer, QueryCommand, QueryDef, Register, Retention,
    SessionCommand, SessionDef, Status, TopicCommand, Verb,
};

use crate::query::Template;

mod acl;
mod cluster;
mod rules;

pub use acl::acl_command;
pub use cluster::cluster_command;
pub use rules::{caller_names, intention, intention_command, redirection_command};

/// A history of up to `most` commands, in envelopes of three nodes that restart now and then.
pub fn history(most: usize) -> impl Strategy<Value = Vec<Envelope>> {
    let proposer = prop_oneof![3 => Just(0), 1 => Just(1), 1 => Just(2)];
    vec((command(), 0..120_000u64, proposer, prop::bool::weighted(0.05)), 0..most).prop_map(|commands| {
        let mut time_ms = 1_000_000;
        let mut lives = [(1, 0); 3];
        let numbered = commands.into_iter().map(|(command, pause, proposer, restarts)| {
            time_ms += pause;
            let (epoch, sequence) = &mut lives[proposer];
            if restarts {
                (*epoch, *sequence) = (*epoch + 1, 0);
            }
            *sequence += 1;
            let node = format!("n{proposer}").into();
            Envelope { node, epoch: *epoch, sequence: *sequence, time_ms, command }
        });
        numbered.collect()
    })
}

/// A catalog that has applied a history, at dense indexes from 1.
pub fn applied(history: &[Envelope]) -> Catalog {
    let mut catalog = Catalog::default();
    for (envelope, index) in history.iter().zip(1..) {
        catalog.apply(index, envelope);
    }
    catalog
}

fn name(stem: &'static str, most: u32) -> impl Strategy<Value = Arc<str>> {
    (0..most).prop_map(move |number| format!("{stem}{number}").into())
}

/// Any one command.
pub fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        6 => register(),
        2 => deregister().prop_map(Command::Deregister),
        3 => (name("n", 3), name("c", 4), status(), name("out", 2)).prop_map(
            |(node, check, status, output)| Command::SetStatus { node, check, status, output }
        ),
        3 => kv().prop_map(Command::Kv),
        2 => acl_command().prop_map(Command::Acl),
        3 => cluster_command().prop_map(Command::Cluster),
        3 => session().prop_map(Command::Session),
        3 => topic().prop_map(Command::Topic),
        2 => intention_command().prop_map(Command::Intention),
        1 => redirection_command().prop_map(Command::Redirection),
        1 => exposure().prop_map(Command::Expose),
        2 => query().prop_map(Command::Query),
        1 => vec(operation(), 0..4).prop_map(Command::Transact),
        1 => vec(deregister().prop_map(Command::Deregister), 0..3).prop_map(Command::Batch),
        1 => (0..4u8).prop_map(|last| Command::AvoidVirtualIp { address: [127, 77, 0, last].into() }),
    ]
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![Just(Status::Passing), Just(Status::Warning), Just(Status::Critical)]
}

fn register() -> impl Strategy<Value = Command> {
    let node = proptest::option::weighted(0.7, (0..2u8, any::<bool>()));
    let instance = proptest::option::weighted(0.8, (instance(), any::<bool>()));
    (name("n", 3), node, instance, vec(check(), 0..3)).prop_map(|(on, node, instance, checks)| {
        let node = node.map(|(host, only_if_absent)| NodeRegistration {
            def: NodeDef::new(on.clone(), format!("10.0.0.{host}").into()),
            only_if_absent,
        });
        let instance = instance.map(|(def, replace_checks)| InstanceRegistration { def, replace_checks });
        Command::Register(Box::new(Register { node, on, instance, checks }))
    })
}

fn instance() -> impl Strategy<Value = InstanceDef> {
    (name("i", 3), name("s", 4), vec(name("t", 2), 0..2), 0..3u16, any::<bool>()).prop_map(
        |(id, service, tags, port, leased)| InstanceDef {
            tags,
            lease: leased.then_some(Lease { ttl_ms: 60_000 }),
            locality: (port == 2).then(|| Box::new(Locality { region: "r".into(), zone: "z".into() })),
            ..InstanceDef::new(id, service, port * 80)
        },
    )
}

fn check() -> impl Strategy<Value = CheckRegistration> {
    let of = prop_oneof![1 => Just(Arc::from("")), 2 => name("i", 3)];
    let id = prop_oneof![8 => name("c", 4), 1 => Just(Arc::from(crate::LIVENESS_CHECK))];
    (id, of, status(), any::<bool>()).prop_map(|(id, service_id, status, keep)| CheckRegistration {
        def: CheckDef {
            name: id.clone(),
            id,
            notes: "".into(),
            service_id,
            probe: Probe::External,
            deregister_after_ms: None,
            success_before_passing: 0,
            failures_before_warning: 0,
            failures_before_critical: 0,
            definition: keep.then(|| r#"{"TCP":"a:1"}"#.into()),
        },
        status: if keep { InitialStatus::Keep(status) } else { InitialStatus::Set(status) },
        output: "".into(),
    })
}

fn deregister() -> impl Strategy<Value = Deregister> {
    prop_oneof![
        1 => name("n", 3).prop_map(|node| Deregister::Node { node }),
        4 => (name("n", 3), name("i", 3), proptest::option::of(1..30u64))
            .prop_map(|(node, id, registered_index)| Deregister::Instance { node, id, registered_index }),
        2 => (name("n", 3), name("c", 4)).prop_map(|(node, id)| Deregister::Check { node, id }),
    ]
}

fn kv() -> impl Strategy<Value = KvCommand> {
    let key = || prop_oneof![name("k", 4), name("dir/k", 3)];
    let cas = || proptest::option::of(0..20u64);
    prop_oneof![
        4 => (key(), name("v", 3), 0..2u64, cas()).prop_map(|(key, value, flags, cas)| {
            KvCommand::Set { key, value: value.as_bytes().to_vec().into(), flags, cas }
        }),
        4 => (key(), name("v", 3), name("e", 3)).prop_map(|(key, value, session)| {
            KvCommand::Acquire { key, value: value.as_bytes().to_vec().into(), flags: 0, session }
        }),
        1 => (key(), name("v", 3), name("e", 3)).prop_map(|(key, value, session)| {
            KvCommand::Release { key, value: value.as_bytes().to_vec().into(), flags: 0, session }
        }),
        2 => (key(), cas()).prop_map(|(key, cas)| KvCommand::Delete { key, cas }),
        1 => prop_oneof![Just(Arc::from("dir/")), Just(Arc::from("k1"))]
            .prop_map(|prefix| KvCommand::DeleteTree { prefix }),
        2 => vec(kv_operation(), 0..4).prop_map(|operations| KvCommand::Transaction { operations }),
    ]
}

fn kv_operation() -> impl Strategy<Value = KvOperation> {
    let key = || prop_oneof![name("k", 4), name("dir/k", 3)];
    let cas = || proptest::option::of(0..20u64);
    let prefix = || prop_oneof![Just(Arc::from("dir/")), Just(Arc::from("k1"))];
    prop_oneof![
        4 => (key(), name("v", 3), cas()).prop_map(|(key, value, cas)| {
            KvOperation::Set { key, value: value.as_bytes().to_vec().into(), flags: 0, cas }
        }),
        2 => (key(), cas()).prop_map(|(key, cas)| KvOperation::Delete { key, cas }),
        1 => prefix().prop_map(|prefix| KvOperation::DeleteTree { prefix }),
        1 => key().prop_map(|key| KvOperation::Get { key }),
        1 => prefix().prop_map(|prefix| KvOperation::GetTree { prefix }),
        2 => (key(), name("v", 3), name("e", 3)).prop_map(|(key, value, session)| {
            KvOperation::Lock { key, value: value.as_bytes().to_vec().into(), flags: 0, session }
        }),
    ]
}

fn query() -> impl Strategy<Value = QueryCommand> {
    let def = (name("q", 4), name("Q", 3), name("e", 3), any::<[bool; 3]>());
    prop_oneof![
        4 => def.prop_map(|(id, name, session, [is_template, is_bound, replace])| {
            let template = is_template.then(Template::default);
            let session = if is_bound { session } else { "".into() };
            let def = QueryDef { id, name, template, session, service: "web".into(), ..QueryDef::default() };
            QueryCommand::Set { def: Box::new(def), replace }
        }),
        1 => name("q", 4).prop_map(|id| QueryCommand::Delete { id }),
    ]
}

fn session() -> impl Strategy<Value = SessionCommand> {
    let checks = || vec(name("c", 4), 0..2);
    let create = (name("e", 3), name("n", 3), checks(), any::<bool>(), 0..3u64);
    prop_oneof![
        4 => create.prop_map(|(id, node, node_checks, releases, delay)| {
            let behavior = if releases { Behavior::Release } else { Behavior::Delete };
            SessionCommand::Create(Box::new(SessionDef {
                id,
                name: "".into(),
                node,
                node_checks,
                service_checks: Vec::new(),
                behavior,
                ttl_ms: Some(10_000),
                lock_delay_ms: delay * 15_000,
            }))
        }),
        2 => (name("e", 3), proptest::option::of(1..30u64))
            .prop_map(|(id, claimed_index)| SessionCommand::End { id, claimed_index }),
        1 => name("e", 3).prop_map(|id| SessionCommand::Claim { id }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let verb = prop_oneof![
        Just(Verb::Get),
        proptest::option::of(0..20u64).prop_map(Verb::Set),
        proptest::option::of(0..20u64).prop_map(Verb::Delete),
    ];
    (name("n", 3), verb, instance(), check(), 0..2u8).prop_map(|(node, verb, def, check, kind)| match kind {
        0 => Operation::Instance { verb, node, def: Box::new(def) },
        _ => Operation::Check { verb, node, check: Box::new(check) },
    })
}

fn exposure() -> impl Strategy<Value = ExposureCommand> {
    let port = (0..2u16).prop_map(|number| format!("{number}:80/tcp").parse().ok());
    let ports = vec(port, 0..3).prop_map(|ports| ports.into_iter().flatten().collect());
    prop_oneof![
        2 => (name("s", 4), ports)
            .prop_map(|(service, ports)| ExposureCommand::Set(ExposureDef { service, ports, ..Default::default() })),
        1 => name("s", 4).prop_map(|service| ExposureCommand::Remove { service }),
    ]
}

fn topic() -> impl Strategy<Value = TopicCommand> {
    let message = || name("m", 3).prop_map(|text| text.as_bytes().to_vec().into());
    let producer = proptest::option::of((name("p", 2), 1..8u64))
        .prop_map(|producer| producer.map(|(id, sequence)| Producer { id, sequence }));
    prop_oneof![
        6 => (name("q", 2), vec(message(), 0..4), producer)
            .prop_map(|(topic, messages, producer)| TopicCommand::Publish { topic, messages, producer }),
        1 => (name("q", 2), 0..5u64, 0..9u64, 0..100_000u64).prop_map(|(topic, count, bytes, age)| {
            let retention = Retention { max_count: count, max_bytes: bytes, max_age_ms: age };
            TopicCommand::Retain { topic, retention }
        }),
        1 => name("q", 2).prop_map(|topic| TopicCommand::Remove { topic }),
        1 => (name("v", 9), name("e", 2)).prop_map(|(id, name)| {
            let (node_filter, service_filter, tag_filter) = ("".into(), "".into(), "".into());
            let payload = Default::default();
            let event = Event { id, name, payload, node_filter, service_filter, tag_filter, number: 0, index: 0 };
            TopicCommand::Fire(Box::new(event))
        }),
    ]
}
