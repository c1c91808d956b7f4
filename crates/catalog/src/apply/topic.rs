//! Messages are appended, events fired; what is old goes.

use std::sync::Arc;

use bytes::Bytes;

use crate::apply::{Topic, Turn};
use crate::command::{Outcome, Refusal};
use crate::topic::{
    self, Event, MAX_BATCH, MAX_EVENTS, MAX_MESSAGE, MAX_TOPICS, Message, Producer, Retention, Seen,
    TopicCommand, TopicEntry,
};
use crate::validate::Invalid;

impl Turn<'_> {
    pub(super) fn topic(&mut self, command: &TopicCommand) -> Outcome {
        let result = match command {
            TopicCommand::Publish { topic, messages, producer } => {
                self.publish(topic, messages, producer.as_ref())
            }
            TopicCommand::Retain { topic, retention } => self.retain(topic, *retention),
            TopicCommand::Remove { topic } => Ok(self.remove_topic(topic)),
            TopicCommand::Fire(event) => self.fire(event),
        };
        result.unwrap_or_else(Outcome::Refused)
    }

    fn publish(
        &mut self,
        name: &Arc<str>,
        messages: &[Bytes],
        producer: Option<&Producer>,
    ) -> Result<Outcome, Refusal> {
        checked(name, messages, producer)?;
        let mut entry = self.entry(name)?;
        let seen = producer.and_then(|producer| entry.producers.get(&producer.id));
        let known = match (producer, seen) {
            (Some(producer), Some(seen)) => (seen.sequence + 1).saturating_sub(producer.sequence),
            _ => 0,
        };
        let fresh = messages.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
        for payload in fresh {
            entry.append(Message {
                index: entry.next,
                time_ms: self.state.time_ms,
                node: self.envelope.node.clone(),
                payload: payload.clone(),
            });
        }
        let last = match (fresh.is_empty(), seen) {
            (true, Some(seen)) => seen.message,
            _ => entry.next - 1,
        };
        if let (Some(producer), false) = (producer, fresh.is_empty()) {
            let sequence = producer.sequence.saturating_add(messages.len() as u64 - 1);
            entry.producers.put(&producer.id, Seen { sequence, message: last, at: self.index });
        }
        if !fresh.is_empty() {
            entry.trim(self.state.time_ms);
            self.put_topic(entry);
        }
        Ok(Outcome::Published { last, count: fresh.len() as u64 })
    }

    /// The topic, or a new one that begins after every number that was ever used under its name.
    fn entry(&self, name: &Arc<str>) -> Result<TopicEntry, Refusal> {
        if let Some(entry) = self.state.topic(name) {
            return Ok((**entry).clone());
        }
        if self.state.topics.by_name.len() >= MAX_TOPICS {
            let rule = format!("there are {MAX_TOPICS} topics already; remove one");
            return Err(Invalid::new("topic", name, rule).into());
        }
        Ok(TopicEntry {
            name: name.clone(),
            retention: Retention::default(),
            messages: imbl::Vector::new(),
            next: self.state.topics.floor + 1,
            bytes: 0,
            create_index: self.index,
            modify_index: self.index,
            producers: Default::default(),
        })
    }

    fn put_topic(&mut self, mut entry: TopicEntry) {
        entry.modify_index = self.index;
        let name = entry.name.clone();
        self.state.topics.by_name.insert(name.clone(), Arc::new(entry));
        self.touch_topic(name);
    }

    fn touch_topic(&mut self, name: Arc<str>) {
        self.state.tables.topics = self.index;
        self.touched.insert(Topic::Messages(name));
        self.touched.insert(Topic::Topics);
    }

    fn retain(&mut self, name: &Arc<str>, retention: Retention) -> Result<Outcome, Refusal> {
        topic::validate_name(name)?;
        let mut entry = self.entry(name)?;
        let is_new = self.state.topic(name).is_none();
        if entry.retention == retention && !is_new {
            return Ok(Outcome::Done { changed: false });
        }
        entry.retention = retention;
        entry.trim(self.state.time_ms);
        self.put_topic(entry);
        Ok(Outcome::Done { changed: true })
    }

    fn remove_topic(&mut self, name: &Arc<str>) -> Outcome {
        let Some(entry) = self.state.topics.by_name.remove(name) else {
            return Outcome::Done { changed: false };
        };
        self.state.topics.floor = self.state.topics.floor.max(entry.next - 1);
        self.touch_topic(entry.name.clone());
        Outcome::Done { changed: true }
    }

    fn fire(&mut self, event: &Event) -> Result<Outcome, Refusal> {
        event.validate()?;
        if self.state.events().any(|known| known.id == event.id) {
            return Ok(Outcome::Done { changed: false });
        }
        let number = self.state.events().next_back().map_or(0, |last| last.number) + 1;
        let events = &mut self.state.topics.events;
        events.push_back(Arc::new(Event { number, index: self.index, ..event.clone() }));
        if events.len() > MAX_EVENTS {
            events.pop_front();
        }
        self.state.tables.events = self.index;
        self.touched.insert(Topic::Events);
        Ok(Outcome::Done { changed: true })
    }
}

fn checked(name: &str, messages: &[Bytes], producer: Option<&Producer>) -> Result<(), Refusal> {
    topic::validate_name(name)?;
    if let Some(producer) = producer {
        crate::validate::id("producer", &producer.id)?;
        if producer.sequence == 0 {
            return Err(Invalid::new("producer", &producer.id, "its messages are numbered from 1").into());
        }
    }
    let count = messages.len();
    if count == 0 || count > MAX_BATCH {
        let rule = format!("1 to {MAX_BATCH} are published at once");
        return Err(Invalid::new("messages", &count.to_string(), rule).into());
    }
    match messages.iter().find(|message| message.len() > MAX_MESSAGE) {
        Some(large) => {
            let rule = format!("it is larger than {MAX_MESSAGE} bytes");
            Err(Invalid::new("message of size", &large.len().to_string(), rule).into())
        }
        None => Ok(()),
    }
}
