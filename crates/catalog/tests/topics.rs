//! Topics, as programs that publish and subscribe would notice them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use catalog::{
    Catalog, Command, Envelope, Event, Outcome, Producer, Retention, TopicCommand, TopicEntry, checkpoint,
};
use portolan_catalog as catalog;

#[derive(Default)]
struct World {
    catalog: Catalog,
    index: u64,
    time_ms: u64,
}

impl World {
    fn apply(&mut self, command: TopicCommand) -> Outcome {
        self.index += 1;
        let command = Command::Topic(command);
        let envelope =
            Envelope { node: "n".into(), epoch: 1, sequence: self.index, time_ms: self.time_ms, command };
        let bytes = envelope.encode().unwrap();
        self.catalog.apply(self.index, &Envelope::decode(&bytes).unwrap()).outcome
    }

    fn publish(&mut self, messages: &[&str], producer: Option<(&str, u64)>) -> (u64, u64) {
        let producer = producer.map(|(id, sequence)| Producer { id: id.into(), sequence });
        let messages = messages.iter().map(|text| text.as_bytes().to_vec().into()).collect();
        match self.apply(TopicCommand::Publish { topic: "t".into(), messages, producer }) {
            Outcome::Published { last, count } => (last, count),
            other => panic!("{other:?}"),
        }
    }

    fn topic(&self) -> TopicEntry {
        (**self.catalog.snapshot().topic("t").unwrap()).clone()
    }

    fn kept(&self) -> String {
        let topic = self.topic();
        let texts = topic.messages.iter().map(|message| String::from_utf8_lossy(&message.payload));
        texts.collect::<Vec<_>>().join(" ")
    }

    fn retain(&mut self, max_count: u64, max_bytes: u64, max_age_ms: u64) {
        let retention = Retention { max_count, max_bytes, max_age_ms };
        self.apply(TopicCommand::Retain { topic: "t".into(), retention });
    }
}

#[test]
fn a_retry_is_appended_once_also_when_only_a_part_of_it_was() {
    let mut world = World::default();
    assert_eq!(world.publish(&["a", "b"], Some(("p", 1))), (2, 2));
    assert_eq!(world.publish(&["a", "b"], Some(("p", 1))), (2, 0));
    assert_eq!(world.publish(&["x"], Some(("q", 1))), (3, 1));
    assert_eq!(world.publish(&["b", "c"], Some(("p", 2))), (4, 1));
    assert_eq!(world.publish(&["b"], Some(("p", 2))), (4, 0), "the producer's last, not the topic's");
    assert_eq!(world.kept(), "a b x c");
    let mut saved = Vec::new();
    checkpoint::write(&world.catalog.snapshot(), &mut saved).unwrap();
    world.catalog = Catalog::from_snapshot(checkpoint::read(&saved[..]).unwrap());
    assert_eq!(world.publish(&["c"], Some(("p", 3))), (4, 0), "also after a restart");
}

#[test]
fn what_is_too_much_or_too_old_goes_and_numbers_stay() {
    let mut world = World::default();
    world.publish(&["1", "2", "3", "4"], None);
    world.retain(3, 0, 0);
    assert_eq!((world.kept(), world.topic().first()), ("2 3 4".into(), 2));
    world.retain(0, 4, 0);
    world.publish(&["55"], None);
    assert_eq!(world.kept(), "3 4 55");
    world.publish(&["666666"], None);
    assert_eq!(world.kept(), "666666", "the newest stays whatever its size");
    world.retain(0, 0, 1000);
    world.time_ms += 1001;
    world.publish(&["7"], None);
    assert_eq!((world.kept(), world.topic().first()), ("7".into(), 7));
    assert_eq!(world.topic().from(3).map(|message| message.index).collect::<Vec<_>>(), [7]);
    assert_eq!(world.topic().from(8).count(), 0);
}

#[test]
fn a_topic_that_was_removed_goes_on_with_higher_numbers() {
    let mut world = World::default();
    world.publish(&["1", "2"], None);
    world.apply(TopicCommand::Remove { topic: "t".into() });
    assert!(world.catalog.snapshot().topic("t").is_none());
    assert_eq!(world.publish(&["3"], None), (3, 1));
}

#[test]
fn only_the_last_events_are_kept() {
    let mut world = World::default();
    for number in 0..300 {
        let event = Event {
            id: format!("{number}").into(),
            name: "deploy".into(),
            payload: "x".into(),
            node_filter: "".into(),
            service_filter: "".into(),
            tag_filter: "".into(),
            number: 0,
            index: 0,
        };
        world.apply(TopicCommand::Fire(Box::new(event.clone())));
        assert_eq!(world.apply(TopicCommand::Fire(Box::new(event))), Outcome::Done { changed: false });
    }
    let snapshot = world.catalog.snapshot();
    let numbers: Vec<_> = snapshot.events().map(|event| event.number).collect();
    assert_eq!((numbers.len(), numbers[0], numbers[255]), (256, 45, 300));
}

#[test]
fn what_cannot_be_a_topic_is_refused() {
    let mut world = World::default();
    for topic in ["", "a b", "x\n"] {
        let outcome = world.apply(TopicCommand::Publish {
            topic: topic.into(),
            messages: vec!["x".into()],
            producer: None,
        });
        assert!(matches!(outcome, Outcome::Refused(_)), "{topic:?}: {outcome:?}");
    }
    let nothing = TopicCommand::Publish { topic: "t".into(), messages: vec![], producer: None };
    assert!(matches!(world.apply(nothing), Outcome::Refused(_)));
}
