//! The state replaced by an earlier one: what comes back, what stays, and who is woken.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use catalog::restore::MAX_PART;
use catalog::testing::{applied, history};
use catalog::{
    Applied, Catalog, Command, Envelope, KvCommand, Outcome, Refusal, RestoreCommand, Snapshot, Topic,
    checkpoint,
};
use portolan_catalog as catalog;
use proptest::prelude::*;

struct World {
    catalog: Catalog,
    index: u64,
}

impl World {
    /// A state in which other things happened, and more of them.
    fn later() -> World {
        let mut world = World { catalog: Catalog::default(), index: 1000 };
        world.set("later", "x");
        world
    }

    fn apply(&mut self, command: Command) -> Applied {
        self.index += 1;
        let envelope = Envelope { node: "m".into(), epoch: 1, sequence: self.index, time_ms: 5, command };
        self.catalog.apply(self.index, &Envelope::decode(&envelope.encode().unwrap()).unwrap())
    }

    fn set(&mut self, key: &str, value: &str) {
        let value = value.as_bytes().to_vec().into();
        self.apply(Command::Kv(KvCommand::Set { key: key.into(), value, flags: 0, cas: None }));
    }

    fn bring(&mut self, state: &[u8], size: usize) -> Applied {
        let parts = state.chunks(size).enumerate();
        let parts = parts.map(|(number, bytes)| RestoreCommand::Part {
            id: "a".into(),
            number: number as u64,
            bytes: bytes.to_vec().into(),
        });
        for part in parts.collect::<Vec<_>>() {
            let before = self.catalog.snapshot();
            let applied = self.apply(Command::Restore(part));
            assert!(applied.touched.is_empty(), "a part changes nothing that anybody sees");
            assert_eq!(before.tables(), self.catalog.snapshot().tables());
        }
        // On its way in it survives a checkpoint.
        let mut bytes = Vec::new();
        checkpoint::write(&self.catalog.snapshot(), &mut bytes).unwrap();
        self.catalog = Catalog::from_snapshot(checkpoint::read(&bytes[..]).unwrap());
        let parts = state.len().div_ceil(size) as u64;
        self.apply(Command::Restore(RestoreCommand::Commit { id: "a".into(), parts }))
    }
}

fn archived(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    checkpoint::write(&snapshot.to_archive(), &mut bytes).unwrap();
    bytes
}

/// What a user sees, without indexes.
fn content(snapshot: &Snapshot) -> Vec<String> {
    let services = snapshot.services().flat_map(|service| service.iter()).map(|instance| {
        let checks: Vec<_> = instance.checks.iter().map(|c| (&c.def, c.status, &c.output)).collect();
        format!("{:?} {checks:?}", instance.def)
    });
    let nodes = snapshot.nodes().map(|node| format!("{:?} {}", node.def, node.checks.len()));
    let keys = snapshot.keys_under("").map(|(key, e)| format!("{key} {:?} {:?}", e.value, e.session));
    let sessions = snapshot.sessions().map(|session| format!("{:?}", session.def));
    let queries = snapshot.queries().map(|query| format!("{:?}", query.def));
    let topics = snapshot.topics().map(|topic| format!("{} {:?}", topic.name, topic.messages));
    services.chain(nodes).chain(keys).chain(sessions).chain(queries).chain(topics).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn everything_comes_back_and_every_index_is_new(history in history(40), size in 1..5000usize) {
        let then = applied(&history).snapshot();
        let mut world = World::later();
        let applied = world.bring(&archived(&then), size);
        prop_assert_eq!(applied.outcome, Outcome::Done { changed: true });
        prop_assert_eq!(applied.touched, vec![Topic::Everything]);
        let now = world.catalog.snapshot();
        prop_assert_eq!(content(&now), content(&then));
        let index = world.index;
        prop_assert_eq!(now.index(), index);
        for (key, entry) in now.keys_under("") {
            prop_assert_eq!((now.key_index(key), entry.create_index <= index), (index, true));
        }
        // Also for those who watch what is not there any more.
        prop_assert_eq!((now.key_index("later"), now.service_index("gone")), (index, index));
        prop_assert!(now.services_touched_since(index - 1).is_none(), "projected anew");
        for node in now.nodes() {
            prop_assert_eq!(node.touched_index, index);
            prop_assert!(node.instances.values().all(|instance| instance.modify_index == index));
        }
        // What is restored can be saved, and goes on.
        let mut bytes = Vec::new();
        checkpoint::write(&now, &mut bytes).unwrap();
        prop_assert_eq!(checkpoint::read(&bytes[..]).unwrap(), now);
        world.set("after", "y");
        prop_assert_eq!(world.catalog.snapshot().key_index("after"), index + 1);
    }
}

#[test]
fn what_is_no_archive_changes_nothing() {
    let mut world = World::later();
    let whole = archived(&world.catalog.snapshot());
    let refused = |applied: Applied| match applied.outcome {
        Outcome::Refused(Refusal::Archive(why)) => why,
        other => panic!("{other:?}"),
    };
    for bad in [&b"nonsense"[..], &whole[..whole.len() - 3]] {
        let before = content(&world.catalog.snapshot());
        refused(world.bring(bad, 100));
        assert_eq!(content(&world.catalog.snapshot()), before);
    }
    let part = |id: &str, number, size: usize| {
        Command::Restore(RestoreCommand::Part { id: id.into(), number, bytes: vec![0; size].into() })
    };
    assert!(refused(world.apply(part("a", 1, 1))).contains("begin again"));
    assert!(refused(world.apply(part("a", 0, MAX_PART + 1))).contains("longer"));
    world.apply(part("a", 0, 1));
    // Another archive drops the first.
    world.apply(part("b", 0, 1));
    assert!(refused(world.apply(part("a", 1, 1))).contains("begin again"));
    let commit = |parts| Command::Restore(RestoreCommand::Commit { id: "b".into(), parts });
    assert!(refused(world.apply(commit(1))).contains("another archive"));
    world.apply(part("b", 0, 1));
    assert!(refused(world.apply(commit(2))).contains("1 of 2"));
}
