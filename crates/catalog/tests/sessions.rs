//! Sessions and locks, as two clients that compete would notice them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::sync::Arc;

use catalog::{
    Applied, Behavior, Catalog, CheckDef, CheckRegistration, ClusterCommand, Command, Deregister, Envelope,
    InitialStatus, KvCommand, KvEntry, NodeDef, NodeRegistration, Outcome, Probe, Refusal, Register,
    SessionCommand, SessionDef, Snapshot, Status, Topic, checkpoint,
};
use portolan_catalog as catalog;

struct World {
    catalog: Catalog,
    index: u64,
    time_ms: u64,
    proposer: &'static str,
}

impl World {
    fn new() -> World {
        let mut world = World { catalog: Catalog::default(), index: 0, time_ms: 1_000_000, proposer: "n" };
        world.check(Status::Passing);
        world
    }

    fn apply(&mut self, command: Command) -> Applied {
        self.index += 1;
        let (node, sequence, time_ms) = (self.proposer.into(), self.index, self.time_ms);
        let bytes = Envelope { node, epoch: 1, sequence, time_ms, command }.encode().unwrap();
        self.catalog.apply(self.index, &Envelope::decode(&bytes).unwrap())
    }

    fn check(&mut self, status: Status) {
        let def = NodeDef::new("n".into(), "10.0.0.1".into());
        let alive = CheckDef {
            id: "alive".into(),
            name: "alive".into(),
            notes: "".into(),
            service_id: "".into(),
            probe: Probe::External,
            deregister_after_ms: None,
            success_before_passing: 0,
            failures_before_warning: 0,
            failures_before_critical: 0,
            definition: None,
        };
        let checks =
            vec![CheckRegistration { def: alive, status: InitialStatus::Set(status), output: "".into() }];
        let node = Some(NodeRegistration { def, only_if_absent: false });
        self.apply(Command::Register(Box::new(Register { node, on: "n".into(), instance: None, checks })));
    }

    fn create(&mut self, id: &str, behavior: Behavior, lock_delay_ms: u64) -> Outcome {
        let def = SessionDef {
            id: id.into(),
            name: "".into(),
            node: "n".into(),
            node_checks: vec!["alive".into()],
            service_checks: vec![],
            behavior,
            ttl_ms: Some(10_000),
            lock_delay_ms,
        };
        self.apply(Command::Session(SessionCommand::Create(Box::new(def)))).outcome
    }

    fn acquire(&mut self, key: &str, session: &str) -> Result<bool, Refusal> {
        let (key, session): (Arc<str>, Arc<str>) = (key.into(), session.into());
        let value = session.as_bytes().to_vec().into();
        answer(self.apply(Command::Kv(KvCommand::Acquire { key, value, flags: 1, session })).outcome)
    }

    fn release(&mut self, key: &str, session: &str) -> Result<bool, Refusal> {
        let (key, value, session) = (key.into(), "free".into(), session.into());
        answer(self.apply(Command::Kv(KvCommand::Release { key, value, flags: 0, session })).outcome)
    }

    fn end(&mut self, id: &str, claimed_index: Option<u64>) -> Applied {
        self.apply(Command::Session(SessionCommand::End { id: id.into(), claimed_index }))
    }

    fn now(&self) -> Snapshot {
        self.catalog.snapshot()
    }

    fn key(&self, key: &str) -> KvEntry {
        (**self.now().key(key).unwrap()).clone()
    }
}

fn answer(outcome: Outcome) -> Result<bool, Refusal> {
    match outcome {
        Outcome::Done { changed } => Ok(changed),
        Outcome::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_of_two_has_the_lock_until_it_gives_it_back() {
    let mut world = World::new();
    world.create("a", Behavior::Release, 15_000);
    world.create("b", Behavior::Release, 15_000);
    assert_eq!(world.acquire("lock", "a"), Ok(true));
    assert_eq!(world.acquire("lock", "b"), Err(Refusal::Locked { by: "a".into() }));
    assert_eq!((world.key("lock").lock_index, world.key("lock").session), (1, Some("a".into())));
    assert_eq!(world.acquire("lock", "a"), Ok(true), "whoever has it may write again");
    assert_eq!(world.key("lock").lock_index, 1, "and that is no new lock");
    assert_eq!(world.release("lock", "b"), Err(Refusal::NotHeld));
    assert_eq!(world.release("lock", "a"), Ok(true));
    assert_eq!((&*world.key("lock").value, world.key("lock").session), (&b"free"[..], None));
    assert_eq!(world.acquire("lock", "b"), Ok(true), "giving back has no delay");
    assert_eq!(world.key("lock").lock_index, 2);
    assert_eq!(world.acquire("other", "nobody"), Err(Refusal::UnknownSession("nobody".into())));
}

#[test]
fn anybody_may_write_to_a_locked_key_and_the_lock_stays() {
    let mut world = World::new();
    world.create("a", Behavior::Release, 0);
    world.acquire("lock", "a").unwrap();
    let set = KvCommand::Set { key: "lock".into(), value: "x".into(), flags: 0, cas: None };
    world.apply(Command::Kv(set));
    assert_eq!(world.key("lock").session, Some("a".into()));
    world.apply(Command::Kv(KvCommand::Delete { key: "lock".into(), cas: None }));
    assert!(world.now().keys_held_by(&"a".into()).is_empty());
}

#[test]
fn after_its_holder_ended_a_key_waits_for_the_lock_delay() {
    let mut world = World::new();
    world.create("a", Behavior::Release, 15_000);
    world.create("b", Behavior::Release, 0);
    world.acquire("lock", "a").unwrap();
    let index = world.now().key_index("lock");
    let applied = world.end("a", None);
    assert!(
        applied.touched.contains(&Topic::Key("lock".into())) && applied.touched.contains(&Topic::Sessions)
    );
    assert!(world.now().key_index("lock") > index && world.key("lock").session.is_none());
    assert_eq!(world.acquire("lock", "b"), Err(Refusal::LockDelay));
    world.time_ms += 14_999;
    assert_eq!(world.acquire("lock", "b"), Err(Refusal::LockDelay));
    let mut saved = Vec::new();
    checkpoint::write(&world.now(), &mut saved).unwrap();
    world.catalog = Catalog::from_snapshot(checkpoint::read(&saved[..]).unwrap());
    assert_eq!(world.acquire("lock", "b"), Err(Refusal::LockDelay), "a restart does not end it");
    world.time_ms += 1;
    assert_eq!(world.acquire("lock", "b"), Ok(true));
}

#[test]
fn keys_of_a_session_that_deletes_go_with_it() {
    let mut world = World::new();
    world.create("a", Behavior::Delete, 0);
    world.acquire("lock", "a").unwrap();
    world.end("a", None);
    assert!(world.now().key("lock").is_none());
    world.create("b", Behavior::Delete, 0);
    assert_eq!(world.acquire("lock", "b"), Ok(true));
}

#[test]
fn a_check_that_turns_critical_or_goes_ends_its_sessions() {
    let ends: [fn(&mut World); 3] = [
        |world| world.check(Status::Critical),
        |world| {
            let check = Deregister::Check { node: "n".into(), id: "alive".into() };
            world.apply(Command::Deregister(check));
        },
        |world| {
            world.apply(Command::Deregister(Deregister::Node { node: "n".into() }));
        },
    ];
    for end in ends {
        let mut world = World::new();
        world.create("a", Behavior::Release, 0);
        world.acquire("lock", "a").unwrap();
        world.check(Status::Warning);
        assert!(world.now().session("a").is_some(), "a warning ends nothing");
        end(&mut world);
        assert!(world.now().session("a").is_none() && world.key("lock").session.is_none());
    }
}

#[test]
fn it_is_not_made_on_what_is_not_healthy() {
    let mut world = World::new();
    world.check(Status::Critical);
    let refused = world.create("a", Behavior::Release, 0);
    assert_eq!(refused, Outcome::Refused(Refusal::CriticalCheck { id: "alive".into() }));
    let gone = Deregister::Check { node: "n".into(), id: "alive".into() };
    world.apply(Command::Deregister(gone));
    let refused = world.create("a", Behavior::Release, 0);
    assert!(matches!(refused, Outcome::Refused(Refusal::UnknownCheck { .. })), "{refused:?}");
}

#[test]
fn whoever_finds_a_node_dead_keeps_the_sessions_that_it_kept() {
    let mut world = World::new();
    world.create("bound", Behavior::Release, 0);
    let def = SessionDef {
        id: "free".into(),
        name: "".into(),
        node: "n".into(),
        node_checks: vec![],
        service_checks: vec![],
        behavior: Behavior::Release,
        ttl_ms: Some(10_000),
        lock_delay_ms: 0,
    };
    world.apply(Command::Session(SessionCommand::Create(Box::new(def))));
    world.proposer = "m";
    let down = ClusterCommand::NodeDown { node: "n".into(), epoch: 1 };
    world.apply(Command::Cluster(down));
    let now = world.now();
    assert_eq!(&*now.session("free").unwrap().owner.node, "m");
    assert_eq!(now.session("free").unwrap().claimed_index, now.index());
}

#[test]
fn a_lease_that_ran_out_does_not_end_a_session_that_another_node_keeps_now() {
    let mut world = World::new();
    world.create("a", Behavior::Release, 0);
    let decided_upon = world.now().session("a").unwrap().claimed_index;
    world.proposer = "m";
    world.apply(Command::Session(SessionCommand::Claim { id: "a".into() }));
    assert_eq!(&*world.now().session("a").unwrap().owner.node, "m");
    world.proposer = "n";
    let refused = world.end("a", Some(decided_upon)).outcome;
    assert!(matches!(refused, Outcome::Refused(Refusal::ClaimedAgain { .. })), "{refused:?}");
    assert!(world.now().session("a").is_some());
}
