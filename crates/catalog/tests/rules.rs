//! Rules and redirections: their order, their places, and the bytes that they are kept in.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::sync::Arc;

use catalog::{
    Action, Catalog, Command, Destination, Envelope, Intention, IntentionCommand, Network, Origin, Outcome,
    Place, Redirection, RedirectionCommand, Refusal, Source, checkpoint,
};
use portolan_catalog as catalog;

#[derive(Default)]
struct Host(Catalog, u64);

impl Host {
    fn apply(&mut self, command: Command) -> Outcome {
        self.1 += 1;
        let (node, sequence) = ("n".into(), self.1);
        self.0.apply(self.1, &Envelope { node, epoch: 1, sequence, time_ms: 1_000 * self.1, command }).outcome
    }

    fn put(&mut self, action: Action, source: &str, service: &str, place: Place) -> Outcome {
        let intention = Intention::new(action, Source::parse(source).unwrap(), service).into();
        self.apply(Command::Intention(IntentionCommand::Put { intention, place, cas: None }))
    }

    fn redirect(&mut self, name: &str, to: &[(&str, u16)]) -> Outcome {
        let to = to.iter().map(|(to, weight)| Destination { to: (*to).into(), weight: *weight }).collect();
        let redirection = Redirection { to, ..Redirection::new(name, "") };
        self.apply(Command::Redirection(RedirectionCommand::Put(redirection.into())))
    }

    fn order(&self) -> Vec<String> {
        self.0.snapshot().rules().intentions().map(|intention| intention.to_string()).collect()
    }
}

#[test]
fn rules_keep_their_order_and_go_where_they_are_told() {
    let mut host = Host::default();
    host.put(Action::Allow, "web", "db", Place::Keep);
    host.put(Action::Deny, "any", "*", Place::Last);
    host.put(Action::Allow, "uid:1000", "db", Place::Before("any,*".into()));
    host.put(Action::Deny, "10.0.0.0/8", "db", Place::First);
    let expected = ["deny 10.0.0.0/8 to db", "allow web to db", "allow uid:1000 to db", "deny any to any"];
    assert_eq!(host.order(), expected);
    // The same connections, another word: the rule changes where it stands.
    assert!(host.put(Action::Deny, "web", "db", Place::Keep).is_change());
    assert_eq!(host.order()[1], "deny web to db");
    assert!(!host.put(Action::Deny, "web", "db", Place::Keep).is_change(), "it says that already");
    host.put(Action::Deny, "web", "db", Place::After("uid:1000,db".into()));
    assert_eq!(host.order()[1..3], ["allow uid:1000 to db", "deny web to db"]);
    let refused = host.put(Action::Deny, "web", "db", Place::After("nobody,db".into()));
    assert_eq!(refused, Outcome::Refused(Refusal::UnknownRule("nobody,db".into())));
    host.apply(Command::Intention(IntentionCommand::Remove { id: "any,*".into(), cas: None }));
    assert_eq!(host.order().len(), 3);
}

#[test]
fn a_change_upon_an_older_list_is_refused() {
    let mut host = Host::default();
    host.put(Action::Allow, "web", "db", Place::Keep);
    let seen = host.0.snapshot().rules().index();
    host.put(Action::Allow, "shop", "db", Place::Keep);
    let replace = |cas| Command::Intention(IntentionCommand::Replace { intentions: vec![], cas: Some(cas) });
    assert!(matches!(host.apply(replace(seen)), Outcome::Refused(Refusal::RuleChanged { .. })));
    let seen = host.0.snapshot().rules().index();
    assert!(host.apply(replace(seen)).is_change());
    assert!(host.order().is_empty());
}

#[test]
fn circles_are_refused_with_their_chain() {
    let mut host = Host::default();
    assert!(host.redirect("a", &[("b", 1)]).is_change());
    assert!(host.redirect("b", &[("c", 9), ("tcp://192.0.2.1:80", 1)]).is_change());
    let Outcome::Refused(refusal) = host.redirect("c", &[("d", 1), ("A", 1)]) else { panic!("a circle") };
    assert!(refusal.to_string().ends_with("c → A → b → c"), "{refusal}");
    assert!(host.redirect("c", &[("c", 9), ("d", 1)]).is_change(), "a share that stays is no circle");
    for (name, to, why) in [
        ("x", &[("x", 1)][..], "leads to itself"),
        ("x", &[], "leads nowhere"),
        ("x", &[("y", 0)], "weight"),
        ("x", &[("tcp:// ", 1)], "no URI"),
        ("x/y", &[("y", 1)], "not allowed"),
    ] {
        let Outcome::Refused(refusal) = host.redirect(name, to) else { panic!("{name} to {to:?}") };
        assert!(refusal.to_string().contains(why), "{refusal}");
    }
}

#[test]
fn sources_are_read_as_they_are_shown() {
    for text in [
        "any",
        "uid:0",
        "10.0.0.0/8",
        "fd00::/8",
        "node:n1",
        "web",
        "spiffe://c/service/web",
        "host:example.com",
        "host:example.com:9000",
        "host:[::1]:80",
    ] {
        assert_eq!(Source::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(Source::parse("10.1.2.3/8").unwrap(), Source::Network(Network::parse("10.0.0.0/8").unwrap()));
    assert_eq!(Source::parse("*").unwrap(), Source::Any);
    for broken in ["", "uid:root", "what:ever", "node:", "a b", "a,b", "host:"] {
        assert!(Source::parse(broken).is_err(), "{broken:?}");
    }
}

#[test]
fn networks_hold_what_shares_their_bits() {
    let network = |text| Network::parse(text).unwrap();
    assert!(network("10.0.0.0/8").contains("10.255.0.1".parse().unwrap()));
    assert!(network("10.0.0.0/8").contains("::ffff:10.255.0.1".parse().unwrap()), "mapped");
    assert!(!network("10.0.0.0/8").contains("11.0.0.1".parse().unwrap()));
    assert!(!network("0.0.0.0/0").contains("::1".parse().unwrap()));
    assert!(network("::/0").contains("::1".parse().unwrap()));
    assert!(Network::parse("10.0.0.0/33").is_none() && Network::parse("::/129").is_none());
}

fn golden_commands() -> Vec<Command> {
    let mut intention = Intention::new(Action::Deny, Source::parse("host:example.com:9000").unwrap(), "db");
    (intention.scheme, intention.note) = (Some("tls".into()), "why".into());
    intention.origin = Some(Origin { file: "rules.toml".into(), line: 14 });
    let put = IntentionCommand::Put { intention: intention.into(), place: Place::First, cas: None };
    let network = Intention::new(Action::Allow, Source::parse("10.0.0.0/8").unwrap(), "*");
    let replace = IntentionCommand::Replace { intentions: vec![network], cas: Some(3) };
    let to = vec![
        Destination { to: "web".into(), weight: 9 },
        Destination { to: "tcp://192.0.2.1:80".into(), weight: 1 },
    ];
    let redirection = Redirection { to, ..Redirection::new("web", "") };
    vec![
        Command::Intention(put),
        Command::Intention(replace),
        Command::Redirection(RedirectionCommand::Put(redirection.into())),
    ]
}

fn golden_envelope() -> Envelope {
    let command = Command::Batch(golden_commands());
    Envelope { node: "n".into(), epoch: 1, sequence: 2, time_ms: 1_000, command }
}

fn golden_state() -> Host {
    let mut host = Host::default();
    golden_commands().into_iter().for_each(|command| drop(host.apply(command)));
    host
}

/// Bytes that were written when rules were new, kept here so that every later version reads them.
#[test]
fn old_bytes_are_read() {
    assert_eq!(Envelope::decode(include_bytes!("golden/envelope-v1-rules.bin")).unwrap(), golden_envelope());
    let snapshot = checkpoint::read(&include_bytes!("golden/checkpoint-v3-rules.bin")[..]).unwrap();
    assert_eq!(snapshot, golden_state().0.snapshot());
    assert_eq!(snapshot.rules().intentions().count(), 1);
    let redirection: &Arc<Redirection> = snapshot.rules().redirection("web").unwrap();
    assert_eq!(redirection.to_string(), "web to web (9 of 10), tcp://192.0.2.1:80 (1 of 10)");
}

#[test]
#[ignore = "writes the golden files"]
fn write_golden() {
    std::fs::write("tests/golden/envelope-v1-rules.bin", golden_envelope().encode().unwrap()).unwrap();
    let mut bytes = Vec::new();
    checkpoint::write(&golden_state().0.snapshot(), &mut bytes).unwrap();
    std::fs::write("tests/golden/checkpoint-v3-rules.bin", bytes).unwrap();
}
