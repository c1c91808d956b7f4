//! What an operator or a client would notice, one behaviour at a time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use catalog::{
    Applied, Catalog, CheckDef, CheckRegistration, Command, Deregister, Envelope, Found, InitialStatus,
    InstanceDef, InstanceRegistration, KvCommand, KvOperation, NodeDef, NodeRegistration, Outcome, Probe,
    Refusal, Register, Status, Topic,
};
use portolan_catalog as catalog;

/// A catalog with a proposer that numbers its commands and a clock that only moves when told.
struct Host {
    catalog: Catalog,
    index: u64,
    time_ms: u64,
}

impl Host {
    fn new() -> Host {
        let mut host = Host { catalog: Catalog::default(), index: 0, time_ms: 1_000 };
        host.apply(node("n", "10.0.0.1"));
        host
    }

    fn apply(&mut self, command: Command) -> Applied {
        self.index += 1;
        let (sequence, time_ms) = (self.index, self.time_ms);
        let envelope = Envelope { node: "n".into(), epoch: 1, sequence, time_ms, command };
        let bytes = envelope.encode().unwrap();
        self.catalog.apply(self.index, &Envelope::decode(&bytes).unwrap())
    }

    fn snapshot(&self) -> catalog::Snapshot {
        self.catalog.snapshot()
    }

    fn address(&self, service: &str) -> std::net::Ipv4Addr {
        self.snapshot().service(service).unwrap().virtual_ip.unwrap().0
    }
}

fn node(name: &str, address: &str) -> Command {
    let def = NodeDef::new(name.into(), address.into());
    let node = Some(NodeRegistration { def, only_if_absent: false });
    Command::Register(Box::new(Register { node, on: name.into(), ..Default::default() }))
}

fn instance(service: &str, id: &str) -> InstanceDef {
    InstanceDef::new(id.into(), service.into(), 80)
}

fn register(def: InstanceDef, checks: Vec<CheckRegistration>) -> Command {
    let instance = Some(InstanceRegistration { def, replace_checks: false });
    Command::Register(Box::new(Register { node: None, on: "n".into(), instance, checks }))
}

fn check(id: &str, of: &str, status: InitialStatus) -> CheckRegistration {
    let def = CheckDef {
        id: id.into(),
        name: id.into(),
        notes: "".into(),
        service_id: of.into(),
        probe: Probe::Ttl { ttl_ms: 1000 },
        deregister_after_ms: None,
        success_before_passing: 0,
        failures_before_warning: 0,
        failures_before_critical: 0,
        definition: None,
    };
    CheckRegistration { def, status, output: "".into() }
}

fn gone(id: &str, registered_index: Option<u64>) -> Command {
    Command::Deregister(Deregister::Instance { node: "n".into(), id: id.into(), registered_index })
}

#[test]
fn registering_the_same_again_leaves_no_index() {
    let mut host = Host::new();
    host.apply(register(instance("web", "web-1"), vec![]));
    let before = host.snapshot().service_index("web");
    let again = host.apply(register(instance("web", "web-1"), vec![]));
    assert_eq!(again.outcome, Outcome::Done { changed: false });
    assert!(again.touched.is_empty());
    assert_eq!(host.snapshot().service_index("web"), before);
}

#[test]
fn a_lease_that_ran_out_does_not_take_away_a_newer_registration() {
    let mut host = Host::new();
    host.apply(register(instance("web", "web-1"), vec![]));
    let decided_upon = host.snapshot().instance("n", "web-1").unwrap().registered_index;
    host.apply(register(instance("web", "web-1"), vec![]));
    let applied = host.apply(gone("web-1", Some(decided_upon)));
    assert!(matches!(applied.outcome, Outcome::Refused(Refusal::RegisteredAgain { .. })));
    assert!(host.snapshot().service("web").is_some());
}

#[test]
fn an_unknown_service_has_an_index_and_one_that_left_has_a_later_one() {
    let mut host = Host::new();
    assert_eq!(host.snapshot().service_index("web"), 1);
    host.apply(register(instance("web", "web-1"), vec![]));
    let there = host.snapshot().service_index("web");
    host.apply(gone("web-1", None));
    assert!(host.snapshot().service_index("web") > there);
    assert_eq!(host.snapshot().service_index("other"), 1);
}

#[test]
fn a_registration_again_keeps_the_verdict_of_its_checks() {
    let mut host = Host::new();
    let start = InitialStatus::Keep(Status::Critical);
    host.apply(register(instance("web", "web-1"), vec![check("c", "web-1", start)]));
    host.apply(Command::SetStatus {
        node: "n".into(),
        check: "c".into(),
        status: Status::Passing,
        output: "ok".into(),
    });
    host.apply(register(instance("web", "web-1"), vec![check("c", "web-1", start)]));
    let snapshot = host.snapshot();
    assert_eq!(snapshot.check("n", "c").unwrap().status, Status::Passing);
    assert_eq!(snapshot.health(snapshot.instance("n", "web-1").unwrap()), Status::Passing);
}

#[test]
fn a_node_check_judges_every_service_on_the_node() {
    let mut host = Host::new();
    host.apply(register(instance("web", "web-1"), vec![]));
    let before = host.snapshot().service_index("web");
    let checks = vec![check("disk", "", InitialStatus::Set(Status::Critical))];
    host.apply(Command::Register(Box::new(Register { on: "n".into(), checks, ..Default::default() })));
    let snapshot = host.snapshot();
    assert_eq!(snapshot.health(snapshot.instance("n", "web-1").unwrap()), Status::Critical);
    assert!(snapshot.service_index("web") > before);
}

#[test]
fn a_node_that_moves_changes_its_services() {
    let mut host = Host::new();
    host.apply(register(instance("web", "web-1"), vec![]));
    let before = host.snapshot().service_index("web");
    host.apply(node("n", "10.0.0.2"));
    let snapshot = host.snapshot();
    assert!(snapshot.service_index("web") > before);
    assert_eq!(&*snapshot.address_of(snapshot.instance("n", "web-1").unwrap()), "10.0.0.2");
}

#[test]
fn a_virtual_address_outlives_a_restart_of_its_service() {
    let mut host = Host::new();
    host.apply(register(instance("web", "web-1"), vec![]));
    let address = host.address("web");
    host.apply(gone("web-1", None));
    host.apply(register(instance("web", "web-2"), vec![]));
    assert_eq!(host.address("web"), address);
}

#[test]
fn a_released_virtual_address_rests_before_another_service_has_it() {
    let mut host = Host::new();
    let range = catalog::virtual_ip::Range { base: [127, 77, 0, 0].into(), prefix: 30 };
    host.apply(Command::Configure(catalog::Settings {
        virtual_ips: range,
        quarantine_ms: 60_000,
        ..Default::default()
    }));
    for name in ["a", "b"] {
        host.apply(register(instance(name, name), vec![]));
    }
    let freed = host.address("a");
    host.apply(gone("a", None));
    host.apply(register(instance("c", "c"), vec![]));
    assert_eq!(host.snapshot().service("c").unwrap().virtual_ip, None, "both addresses are spoken for");
    host.apply(gone("c", None));
    host.time_ms += 60_000;
    host.apply(register(instance("c", "c"), vec![]));
    assert_eq!(host.address("c"), freed);
}

#[test]
fn an_avoided_virtual_address_moves_its_service_and_stays_unused() {
    let mut host = Host::new();
    host.apply(register(instance("web", "web-1"), vec![]));
    let address = host.address("web");
    host.apply(Command::AvoidVirtualIp { address });
    assert_ne!(host.address("web"), address);
    assert!(host.snapshot().service_of_virtual_ip(address).is_none());
}

#[test]
fn compare_and_set_takes_zero_for_absent() {
    let mut host = Host::new();
    let set = |cas| {
        let (key, value) = ("a/b".into(), "v".into());
        Command::Kv(KvCommand::Set { key, value, flags: 0, cas })
    };
    assert!(host.apply(set(Some(0))).outcome.is_done());
    let refused = host.apply(set(Some(0))).outcome;
    assert!(matches!(refused, Outcome::Refused(Refusal::CasFailed { expected: 0, .. })), "{refused:?}");
    let index = host.snapshot().key("a/b").unwrap().modify_index;
    assert!(host.apply(set(Some(index))).outcome.is_done());
}

#[test]
fn a_transaction_holds_whole_or_not_at_all() {
    let mut host = Host::new();
    let set = |key: &str, cas| KvOperation::Set { key: key.into(), value: "v".into(), flags: 0, cas };
    let get = |key: &str| KvOperation::Get { key: key.into() };
    let run = |operations| Command::Kv(KvCommand::Transaction { operations });
    let applied =
        host.apply(run(vec![set("a/1", None), get("a/1"), KvOperation::GetTree { prefix: "a/".into() }]));
    let Outcome::Transacted(found) = &applied.outcome else { panic!("{applied:?}") };
    let reads = found.iter().map(|found| matches!(found, Found::Key(found) if found.is_read));
    assert_eq!(reads.collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(applied.touched, [Topic::Key("a/1".into())]);

    let before = host.snapshot();
    let delete = KvOperation::DeleteTree { prefix: "".into() };
    let check = KvOperation::Check { key: "a/1".into(), index: 1 };
    let applied = host.apply(run(vec![delete, set("b", None), check, set("b", Some(7)), get("none")]));
    let Outcome::Refused(Refusal::RolledBack(failures)) = &applied.outcome else { panic!("{applied:?}") };
    assert_eq!(
        failures.iter().map(|(number, why)| format!("{number}: {why}")).collect::<Vec<_>>(),
        [
            "2: key \"a/1\" doesn't exist",
            "3: failed to set key \"b\", index is stale",
            "4: key \"none\" doesn't exist",
        ]
    );
    assert!(applied.touched.is_empty());
    let after = host.snapshot();
    assert_eq!(after.key("a/1"), before.key("a/1"));
    assert_eq!(
        (after.key_index("b"), after.prefix_index("")),
        (before.key_index("b"), before.prefix_index(""))
    );
}

#[test]
fn deleting_a_tree_moves_the_index_of_its_prefix_only() {
    let mut host = Host::new();
    for key in ["a/1", "a/2", "b/1"] {
        let (key, value) = (key.into(), "v".into());
        host.apply(Command::Kv(KvCommand::Set { key, value, flags: 0, cas: None }));
    }
    let (a, b) = (host.snapshot().prefix_index("a/"), host.snapshot().prefix_index("b/"));
    host.apply(Command::Kv(KvCommand::DeleteTree { prefix: "a/".into() }));
    assert!(host.snapshot().prefix_index("a/") > a);
    assert_eq!(host.snapshot().prefix_index("b/"), b);
    assert_eq!(host.snapshot().keys_under("a/").count(), 0);
}

#[test]
fn names_follow_label_rules_and_the_error_says_which() {
    let mut host = Host::new();
    for (name, reason) in [
        ("", "empty"),
        ("-web", "start and end"),
        ("we b", "' ' is not allowed"),
        ("web.api", "'.' is not allowed"),
        (&*"x".repeat(64), "at most 63"),
        ("käse", "is not allowed"),
    ] {
        let outcome = host.apply(register(instance(name, "id"), vec![])).outcome;
        let Outcome::Refused(refusal) = outcome else { panic!("{name:?} was accepted") };
        assert!(refusal.to_string().contains(reason), "{refusal}");
    }
}

#[test]
fn a_command_of_a_newer_version_is_refused_by_name() {
    let error = Envelope::decode(&[99, 0]).unwrap_err().to_string();
    assert!(error.contains("version 99 is newer"), "{error}");
}

/// Bytes that version 1 wrote, kept here so that every later version reads them.
#[test]
fn version_1_decodes() {
    let bytes = include_bytes!("golden/envelope-v1.bin");
    let envelope = Envelope::decode(bytes).unwrap();
    let checks = vec![check("c", "web-1", InitialStatus::Keep(Status::Critical))];
    assert_eq!(envelope.command, register(instance("web", "web-1"), checks));
    let snapshot = catalog::checkpoint::read(&include_bytes!("golden/checkpoint-v1.bin")[..]).unwrap();
    assert_eq!(snapshot, golden_state().snapshot());
}

fn golden_state() -> Host {
    let mut host = Host::new();
    let checks = vec![check("c", "web-1", InitialStatus::Keep(Status::Critical))];
    host.apply(register(instance("web", "web-1"), checks));
    host.apply(register(instance("gone", "gone-1"), vec![]));
    host.apply(gone("gone-1", None));
    let (key, value) = ("a/b".into(), "v".into());
    host.apply(Command::Kv(KvCommand::Set { key, value, flags: 7, cas: None }));
    host
}

/// Writes the golden files of the current version: run by hand when a new version is added, never to make
/// an old one pass.
#[test]
#[ignore = "writes the golden files"]
fn write_golden() {
    let checks = vec![check("c", "web-1", InitialStatus::Keep(Status::Critical))];
    let command = register(instance("web", "web-1"), checks);
    let envelope = Envelope { node: "n".into(), epoch: 1, sequence: 2, time_ms: 1_000, command };
    std::fs::create_dir_all("tests/golden").unwrap();
    std::fs::write("tests/golden/envelope-v1.bin", envelope.encode().unwrap()).unwrap();
    let mut bytes = Vec::new();
    catalog::checkpoint::write(&golden_state().snapshot(), &mut bytes).unwrap();
    std::fs::write("tests/golden/checkpoint-v1.bin", bytes).unwrap();
}
