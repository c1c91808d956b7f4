//! Whatever happens, and however many states are skipped: brought up to date equals made from nothing.

use catalog::{Command, InstanceRegistration, NodeRegistration, Register, testing};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::config::Config;
use crate::tests::world::World;

#[derive(Debug, Clone)]
enum Step {
    Apply(Box<Command>),
    Fact(String),
    /// Bring the zone up to date; whatever came since the last time is seen at once.
    Follow,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => testing::command().prop_map(|command| Step::Apply(Box::new(command))),
        3 => cased().prop_map(|command| Step::Apply(Box::new(command))),
        1 => (0..4u8, 1..3u8).prop_map(|(s, port)| Step::Fact(format!("socket s{s} 127.77.0.{s}:{port}"))),
        1 => (0..4u8).prop_map(|s| Step::Fact(format!("close s{s}"))),
        3 => Just(Step::Follow),
    ]
}

/// Registrations of nodes and services whose names differ in case from others.
fn cased() -> impl Strategy<Value = Command> {
    let names = (prop_oneof![Just("N1"), Just("n1")], prop_oneof![Just("S1"), Just("s1"), Just("S2")]);
    let place =
        (0..3u8, prop_oneof![Just(""), Just("10.9.0.1"), Just("fd00::1"), Just("db.example.org")], 0..3u16);
    (names, place).prop_map(|((node, service), (id, address, port))| {
        let node_def = catalog::NodeDef::new(node.into(), "10.0.0.7".into());
        let def = catalog::InstanceDef {
            address: address.into(),
            ..catalog::InstanceDef::new(format!("i{id}").into(), service.into(), port)
        };
        Command::Register(Box::new(Register {
            node: Some(NodeRegistration { def: node_def, only_if_absent: true }),
            on: node.into(),
            instance: Some(InstanceRegistration { def, replace_checks: false }),
            checks: Vec::new(),
        }))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn equals_the_whole_projection(steps in vec(step(), 0..60)) {
        let mut world = World::new(Config::default());
        for step in steps {
            match step {
                Step::Apply(command) => drop(world.try_apply(*command)),
                Step::Fact(line) => world.fact(&line),
                Step::Follow => {
                    world.follow();
                    prop_assert!(world.zone == world.projected());
                }
            }
        }
        world.follow();
        prop_assert!(world.zone == world.projected());
    }
}
