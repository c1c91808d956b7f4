//! Members, secrets, roots and verdicts: what an operator would notice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::sync::Arc;

use catalog::{
    Candidate, Catalog, CheckRegistration, ClusterCommand, ClusterRefusal, Command, Deregister, Envelope,
    Founding, InitialStatus, InstanceDef, InstanceRegistration, Issuer, KeyHash, LIVENESS_CHECK, Lease, Mode,
    NodeDef, NodeRegistration, Outcome, Refusal, Register, Role, RootState, Status, checkpoint,
    liveness_check,
};
use portolan_catalog as catalog;

struct Host {
    catalog: Catalog,
    index: u64,
    time_ms: u64,
    sequence: u64,
}

fn key(number: u8) -> KeyHash {
    KeyHash([number; 32])
}

fn issuer(node: &str, number: u8, root: u8) -> Issuer {
    Issuer { node: node.into(), key: key(number), root: key(root), certificate: vec![number].into() }
}

fn candidate(name: &str, role: Role, number: u8) -> Candidate {
    let addresses = vec![Arc::from("10.0.0.1:8300"), "[fd00::1]:8300".into()];
    Candidate { name: name.into(), role, disk: 7, addresses, key: key(number), features: 1 }
}

impl Host {
    fn new() -> Host {
        Host { catalog: Catalog::default(), index: 0, time_ms: 1_000, sequence: 0 }
    }

    fn founded() -> Host {
        let mut host = Host::new();
        let founding = Founding {
            cluster: "c1".into(),
            founder: candidate("a", Role::Server, 1),
            root: (key(100), vec![1].into()),
            issuer: issuer("a", 101, 100),
            operator: key(200),
        };
        assert!(host.cluster(ClusterCommand::Found(Box::new(founding))).is_change());
        host
    }

    fn as_node(&mut self, node: &str, epoch: u64, command: Command) -> Outcome {
        self.index += 1;
        self.sequence += 1;
        let (sequence, time_ms) = (self.sequence, self.time_ms);
        let envelope = Envelope { node: node.into(), epoch, sequence, time_ms, command };
        let bytes = envelope.encode().unwrap();
        self.catalog.apply(self.index, &Envelope::decode(&bytes).unwrap()).outcome
    }

    fn cluster(&mut self, command: ClusterCommand) -> Outcome {
        self.as_node("a", 1, Command::Cluster(command))
    }

    fn secret(&mut self, number: u8, uses: u32, expires_ms: u64, role: Role) {
        let hash = key(number);
        let outcome = self.cluster(ClusterCommand::CreateJoinSecret { hash, uses, expires_ms, role });
        assert!(outcome.is_change());
    }

    fn admit(&mut self, secret: u8, candidate: Candidate) -> Outcome {
        let issuer = (candidate.role == Role::Server).then(|| issuer(&candidate.name, 110, 100));
        self.cluster(ClusterCommand::Admit { secret: key(secret), candidate, issuer })
    }

    fn snapshot(&self) -> catalog::Snapshot {
        self.catalog.snapshot()
    }

    fn register(&mut self, proposer: &str, node: &str, id: Option<&str>, lease: Option<Lease>) {
        let def = NodeDef::new(node.into(), "10.0.0.1".into());
        let instance = id.map(|id| InstanceRegistration {
            def: InstanceDef { lease, ..InstanceDef::new(id.into(), "web".into(), 80) },
            replace_checks: false,
        });
        let status = InitialStatus::Set(Status::Passing);
        let checks = vec![CheckRegistration { def: liveness_check(), status, output: "".into() }];
        let node = Some(NodeRegistration { def, only_if_absent: false });
        let on = node.as_ref().unwrap().def.name.clone();
        let register = Register { node, on, instance, checks };
        let outcome = self.as_node(proposer, 1, Command::Register(Box::new(register)));
        assert!(outcome.is_done(), "{outcome:?}");
    }

    fn health(&self, node: &str, id: &str) -> Status {
        let snapshot = self.snapshot();
        snapshot.health(snapshot.instance(node, id).unwrap())
    }
}

fn refused(outcome: Outcome) -> ClusterRefusal {
    match outcome {
        Outcome::Refused(Refusal::Cluster(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cluster_begins_once_and_enforces() {
    let mut host = Host::new();
    let none = host.cluster(ClusterCommand::Deny { key: key(1), reason: "".into() });
    assert_eq!(refused(none), ClusterRefusal::NotFounded);
    assert_eq!(host.snapshot().mode(), Mode::Open);
    let mut host = Host::founded();
    let snapshot = host.snapshot();
    assert_eq!((snapshot.mode(), &**snapshot.cluster().id()), (Mode::Enforce, "c1"));
    assert_eq!(snapshot.cluster().member("a").unwrap().server_id, 1);
    assert!(snapshot.cluster().operator(key(200)).is_some());
    let founding = Founding {
        cluster: "c2".into(),
        founder: candidate("a", Role::Server, 1),
        root: (key(100), vec![1].into()),
        issuer: issuer("a", 101, 100),
        operator: key(200),
    };
    let again = host.cluster(ClusterCommand::Found(Box::new(founding)));
    assert_eq!(refused(again), ClusterRefusal::AlreadyFounded("c1".into()));
}

#[test]
fn of_two_that_race_with_one_token_one_wins() {
    let mut host = Host::founded();
    host.secret(9, 1, 60_000, Role::Server);
    assert!(host.admit(9, candidate("b", Role::Server, 2)).is_change());
    assert_eq!(refused(host.admit(9, candidate("c", Role::Server, 3))), ClusterRefusal::SpentSecret);
    // The winner never heard the answer and asks again: nothing is used up, its number stays.
    assert!(host.admit(9, candidate("b", Role::Server, 2)).is_done());
    let snapshot = host.snapshot();
    let numbers: Vec<_> = snapshot.cluster().members().map(|member| member.server_id).collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn tokens_have_limits_that_are_told_apart() {
    let mut host = Host::founded();
    host.secret(9, 2, 60_000, Role::Agent);
    let unknown = host.admit(8, candidate("b", Role::Agent, 2));
    assert_eq!(refused(unknown), ClusterRefusal::UnknownSecret);
    assert_eq!(refused(host.admit(9, candidate("b", Role::Server, 2))), ClusterRefusal::AgentsOnly);
    assert!(host.admit(9, candidate("b", Role::Agent, 2)).is_change());
    let taken = refused(host.admit(9, candidate("b", Role::Agent, 3)));
    assert_eq!(taken, ClusterRefusal::NameTaken("b".into()));
    assert!(taken.to_string().contains("portolan remove b"));
    assert_eq!(refused(host.admit(9, candidate("c", Role::Agent, 2))), ClusterRefusal::KeyTaken("b".into()));
    host.time_ms = 60_001;
    assert_eq!(refused(host.admit(9, candidate("c", Role::Agent, 3))), ClusterRefusal::ExpiredSecret);
}

#[test]
fn who_was_removed_stays_out() {
    let mut host = Host::founded();
    let last = host.cluster(ClusterCommand::RemoveMember { name: "a".into() });
    assert_eq!(refused(last), ClusterRefusal::LastServer("a".into()));
    host.secret(9, 5, 60_000, Role::Server);
    assert!(host.admit(9, candidate("b", Role::Server, 2)).is_change());
    host.register("b", "b", Some("web-1"), None);
    assert!(host.cluster(ClusterCommand::RemoveMember { name: "b".into() }).is_change());
    let snapshot = host.snapshot();
    assert!(snapshot.node("b").is_none() && snapshot.service("web").is_none());
    assert!(snapshot.cluster().is_denied(key(2)) && snapshot.cluster().is_denied(key(110)));
    assert_eq!(refused(host.admit(9, candidate("b", Role::Agent, 2))), ClusterRefusal::DeniedKey(key(2)));
    assert!(host.admit(9, candidate("b", Role::Agent, 4)).is_change());
}

#[test]
fn a_root_is_followed_by_another() {
    let mut host = Host::founded();
    let (certificate, cross) = (vec![2].into(), Some(vec![3].into()));
    assert!(host.cluster(ClusterCommand::AddRoot { key: key(102), certificate, cross }).is_change());
    let state = |host: &Host, number| host.snapshot().cluster().root(key(number)).map(|root| root.state);
    assert_eq!((state(&host, 100), state(&host, 102)), (Some(RootState::Active), Some(RootState::Next)));
    assert_eq!(
        refused(host.cluster(ClusterCommand::DropRoot { key: key(100) })),
        ClusterRefusal::RootInUse(key(100))
    );
    assert!(host.cluster(ClusterCommand::PromoteRoot { key: key(102) }).is_change());
    assert_eq!((state(&host, 100), state(&host, 102)), (Some(RootState::Retiring), Some(RootState::Active)));
    assert!(host.cluster(ClusterCommand::SetIssuer(issuer("a", 103, 102))).is_change());
    assert!(host.cluster(ClusterCommand::DropRoot { key: key(100) }).is_change());
    assert_eq!(state(&host, 100), None);
}

#[test]
fn a_dead_node_takes_its_instances_along_and_brings_them_back() {
    let mut host = Host::founded();
    host.register("b", "b", Some("web-1"), None);
    let down = |epoch| ClusterCommand::NodeDown { node: "b".into(), epoch };
    let late = refused(host.cluster(down(4)));
    assert_eq!(late, ClusterRefusal::OtherEpoch { node: "b".into(), was: 4, now: 1 });
    assert!(host.cluster(down(1)).is_change());
    assert_eq!(host.health("b", "web-1"), Status::Critical);
    assert!(!host.cluster(down(1)).is_change());
    // Nobody talks the verdict away: not by registering, not by a status, not by deregistering the check.
    host.register("b", "b", None, None);
    let (node, check): (Arc<str>, Arc<str>) = ("b".into(), LIVENESS_CHECK.into());
    let output = "".into();
    let status =
        Command::SetStatus { node: node.clone(), check: check.clone(), status: Status::Passing, output };
    assert_eq!(refused(host.as_node("b", 1, status)), ClusterRefusal::Down("b".into()));
    let gone = Command::Deregister(Deregister::Check { node, id: check });
    assert_eq!(refused(host.as_node("b", 1, gone)), ClusterRefusal::Down("b".into()));
    assert_eq!(host.health("b", "web-1"), Status::Critical);
    assert!(host.cluster(ClusterCommand::NodeUp { node: "b".into(), epoch: 1 }).is_change());
    assert_eq!(host.health("b", "web-1"), Status::Passing);
    // A restart says the same by itself.
    assert!(host.cluster(down(1)).is_change());
    host.as_node("b", 2, Command::Batch(vec![]));
    assert_eq!(host.health("b", "web-1"), Status::Passing);
    assert_eq!(host.snapshot().down("b"), None);
}

#[test]
fn whoever_is_asked_to_renew_takes_over_from_the_dead() {
    let mut host = Host::founded();
    host.register("b", "b", Some("web-1"), Some(Lease { ttl_ms: 10_000 }));
    host.register("c", "c", None, None);
    let claim = || Command::Cluster(ClusterCommand::Claim { node: "b".into(), id: "web-1".into() });
    assert_eq!(refused(host.as_node("c", 1, claim())), ClusterRefusal::OwnerLives("b".into()));
    host.cluster(ClusterCommand::NodeDown { node: "b".into(), epoch: 1 });
    let decided = host.snapshot().instance("b", "web-1").unwrap().registered_index;
    assert!(host.as_node("c", 1, claim()).is_change());
    assert_eq!(host.health("b", "web-1"), Status::Passing);
    // What the former keeper decided about the registration that it knew comes too late.
    let (node, id, registered_index) = ("b".into(), "web-1".into(), Some(decided));
    let expired = Command::Deregister(Deregister::Instance { node, id, registered_index });
    assert!(matches!(host.as_node("b", 1, expired), Outcome::Refused(Refusal::RegisteredAgain { .. })));
    host.cluster(ClusterCommand::NodeDown { node: "c".into(), epoch: 1 });
    assert_eq!(host.health("b", "web-1"), Status::Critical);
}

fn golden_state() -> Host {
    let mut host = Host::founded();
    host.secret(9, 2, 60_000, Role::Server);
    host.admit(9, candidate("b", Role::Server, 2));
    host.register("b", "b", Some("web-1"), Some(Lease { ttl_ms: 10_000 }));
    host.register("c", "c", None, None);
    let cross = Some(vec![3].into());
    host.cluster(ClusterCommand::AddRoot { key: key(102), certificate: vec![2].into(), cross });
    host.cluster(ClusterCommand::Deny { key: key(50), reason: "lost".into() });
    host.cluster(ClusterCommand::NodeDown { node: "b".into(), epoch: 1 });
    host.as_node("c", 1, Command::Cluster(ClusterCommand::Claim { node: "b".into(), id: "web-1".into() }));
    host
}

#[test]
fn old_bytes_are_read() {
    let snapshot = checkpoint::read(&include_bytes!("golden/checkpoint-v2-cluster.bin")[..]).unwrap();
    assert_eq!(snapshot, golden_state().snapshot());
}

/// See `write_golden` beside the behaviours.
#[test]
#[ignore = "writes the golden files"]
fn write_golden_cluster() {
    let mut bytes = Vec::new();
    checkpoint::write(&golden_state().snapshot(), &mut bytes).unwrap();
    std::fs::write("tests/golden/checkpoint-v2-cluster.bin", bytes).unwrap();
}
