//! Messages of local programs in one agreed order, and events of Consul's clients.
//!
//! A topic is a list of messages numbered from 1 without a gap, the same on every node. Old messages go when
//! there are too many, when they are too large together, or when they are too old; that is judged with every
//! message that comes, by the time in the agreed order, so that every node forgets the same.

use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet, Vector};
use serde::{Deserialize, Serialize};

use crate::model::Index;
use crate::snapshot::Snapshot;
use crate::validate::{self, Invalid};

/// Largest message, in bytes.
pub const MAX_MESSAGE: usize = 512 * 1024;
/// Most messages in one command.
pub const MAX_BATCH: usize = 4096;
/// Most topics.
pub const MAX_TOPICS: usize = 1024;
/// Most producers of a topic that are remembered, to tell a retry from a new message.
pub const MAX_PRODUCERS: usize = 1024;
/// Most events that are kept.
pub const MAX_EVENTS: usize = 256;
/// Largest payload of an event, in bytes.
pub const MAX_EVENT: usize = 8 * 1024;

/// How much of a topic is kept. Zero is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Most messages.
    pub max_count: u64,
    /// Most bytes of messages together; the newest stays whatever its size.
    pub max_bytes: u64,
    /// Oldest message, in milliseconds before the newest.
    pub max_age_ms: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { max_count: 10_000, max_bytes: 16 << 20, max_age_ms: 7 * 24 * 60 * 60 * 1000 }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number in the topic.
    pub index: u64,
    /// When it was decided, in Unix milliseconds: the time in the agreed order.
    pub time_ms: u64,
    /// Node that proposed it.
    pub node: Arc<str>,
    /// What was published.
    pub payload: Bytes,
}

/// A topic with its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicEntry {
    /// Name.
    pub name: Arc<str>,
    /// What is kept.
    pub retention: Retention,
    /// Messages that are kept, oldest first, without a gap.
    pub messages: Vector<Arc<Message>>,
    /// Number of the next message.
    pub next: u64,
    /// Bytes of the messages that are kept.
    pub bytes: u64,
    /// Index of its creation.
    pub create_index: Index,
    /// Index of its last change.
    pub modify_index: Index,
    pub(crate) producers: Producers,
}

/// Who publishes, to tell a retry from a new message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producer {
    /// Chosen by the producer, unique among all.
    pub id: Arc<str>,
    /// Its own number of the first message in this command; they only grow.
    pub sequence: u64,
}

/// Commands on topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicCommand {
    /// Appends messages; the topic begins with its first.
    Publish {
        /// Topic.
        topic: Arc<str>,
        /// Messages in order; a producer's numbers go up by one from each to the next.
        messages: Vec<Bytes>,
        /// Whose they are: what was appended before is not appended again.
        #[serde(default)]
        producer: Option<Producer>,
    },
    /// Sets what is kept; the topic begins with it if there was none.
    Retain {
        /// Topic.
        topic: Arc<str>,
        /// What is kept.
        retention: Retention,
    },
    /// Forgets a topic. One of that name that begins later goes on with higher numbers.
    Remove {
        /// Topic.
        topic: Arc<str>,
    },
    /// Fires an event.
    Fire(Box<Event>),
}

/// An event of Consul's: for whom it matters is for every node to find out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// UUID text, chosen by the proposer; the same again is the same event.
    pub id: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// What it carries.
    #[serde(default)]
    pub payload: Bytes,
    /// Regular expression for names of nodes, or empty.
    #[serde(default)]
    pub node_filter: Arc<str>,
    /// Regular expression for names of services on the node, or empty.
    #[serde(default)]
    pub service_filter: Arc<str>,
    /// Regular expression for tags of those services, or empty.
    #[serde(default)]
    pub tag_filter: Arc<str>,
    /// Its number among all events, from 1; set when it is applied.
    #[serde(default)]
    pub number: u64,
    /// Index at which it was fired; set when it is applied.
    #[serde(default)]
    pub index: Index,
}

/// Last number and its use, by producer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: OrdMap<Arc<str>, Seen>,
    by_use: OrdSet<(Index, Arc<str>)>,
}

/// How far a producer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Its own number of its last message.
    pub(crate) sequence: u64,
    /// That message's number in the topic.
    pub(crate) message: u64,
    /// Index of the command.
    pub(crate) at: Index,
}

impl Producers {
    pub(crate) fn get(&self, id: &str) -> Option<Seen> {
        self.by_id.get(id).copied()
    }

    /// Remembers; whoever was silent for longest is forgotten when there are too many.
    pub(crate) fn put(&mut self, id: &Arc<str>, seen: Seen) {
        if let Some(before) = self.by_id.insert(id.clone(), seen) {
            self.by_use.remove(&(before.at, id.clone()));
        }
        self.by_use.insert((seen.at, id.clone()));
        while self.by_id.len() > MAX_PRODUCERS
            && let Some(oldest) = self.by_use.get_min().cloned()
        {
            self.by_use.remove(&oldest);
            self.by_id.remove(&oldest.1);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Seen)> {
        self.by_id.iter().map(|(id, seen)| (id, *seen))
    }
}

/// Every topic, and the last events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Topics {
    pub(crate) by_name: OrdMap<Arc<str>, Arc<TopicEntry>>,
    /// Highest number in any topic that was removed.
    pub(crate) floor: u64,
    pub(crate) events: Vector<Arc<Event>>,
}

impl Topics {
    /// As if all had come about at `index`.
    pub(crate) fn stamp(&mut self, index: Index) {
        let topics = self.by_name.iter().map(|(name, topic)| {
            let create_index = topic.create_index.min(index);
            let stamped = TopicEntry { create_index, modify_index: index, ..(**topic).clone() };
            (name.clone(), Arc::new(stamped))
        });
        self.by_name = topics.collect();
        let events = self.events.iter().map(|event| Arc::new(Event { index, ..(**event).clone() }));
        self.events = events.collect();
    }
}

impl Snapshot {
    /// A topic by its name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicEntry>> {
        self.topics.by_name.get(name)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicEntry>> {
        self.topics.by_name.values()
    }

    /// The last events, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        self.topics.events.iter()
    }
}

impl TopicEntry {
    /// Number of the oldest message that is kept, or of the next when none is.
    pub fn first(&self) -> u64 {
        self.messages.front().map_or(self.next, |message| message.index)
    }

    /// Messages from number `from` on, oldest first.
    pub fn from(&self, from: u64) -> impl Iterator<Item = &Arc<Message>> {
        let skipped = usize::try_from(from.saturating_sub(self.first())).unwrap_or(usize::MAX);
        self.messages.iter().skip(skipped)
    }

    pub(crate) fn append(&mut self, message: Message) {
        self.next = message.index + 1;
        self.bytes += message.payload.len() as u64;
        self.messages.push_back(Arc::new(message));
    }

    /// Forgets what need not be kept any more.
    pub(crate) fn trim(&mut self, now_ms: u64) {
        let Retention { max_count, max_bytes, max_age_ms } = self.retention;
        while let Some(oldest) = self.messages.front() {
            let is_many = max_count != 0 && self.messages.len() as u64 > max_count;
            let is_large = max_bytes != 0 && self.bytes > max_bytes && self.messages.len() > 1;
            let is_old = max_age_ms != 0 && oldest.time_ms.saturating_add(max_age_ms) < now_ms;
            if !is_many && !is_large && !is_old {
                break;
            }
            self.bytes -= oldest.payload.len() as u64;
            self.messages.pop_front();
        }
    }
}

impl Event {
    /// # Errors
    /// [`Invalid`] with the rule that is broken.
    pub fn validate(&self) -> Result<(), Invalid> {
        validate::id("event id", &self.id)?;
        validate::id("event name", &self.name)?;
        for filter in [&self.node_filter, &self.service_filter, &self.tag_filter] {
            validate::text("event filter", filter)?;
        }
        if self.payload.len() > MAX_EVENT {
            let rule = format!("an event carries at most {MAX_EVENT} bytes");
            return Err(Invalid::new("event", &self.name, rule));
        }
        Ok(())
    }
}

/// Checks a topic's name: 1 to 256 printable characters without spaces.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn validate_name(name: &str) -> Result<(), Invalid> {
    validate::id("topic", name)?;
    match name.chars().any(char::is_whitespace) {
        true => Err(Invalid::new("topic", name, "spaces are not allowed")),
        false => Ok(()),
    }
}
