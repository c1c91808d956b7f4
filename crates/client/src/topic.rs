//! Topics: messages in one agreed order.

use std::sync::Arc;
use std::time::Duration;

use ::http::Method;
use bytes::{BufMut, Bytes, BytesMut};
use consul::own::{Messages, Published};

use crate::http::{Call, Indexed, escape};
use crate::retry::Backoff;
use crate::{Client, Error};

/// Longest that one blocking query waits.
const WAIT: Duration = Duration::from_secs(60);

/// Longest pause before a daemon that did not answer is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One message of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number in the topic, from 1 without a gap; the same on every node.
    pub index: u64,
    /// When it was decided, in Unix milliseconds.
    pub time_ms: u64,
    /// Node that it came through.
    pub node: Arc<str>,
    /// What was published.
    pub payload: Bytes,
}

/// Publishes to one topic. A message that has to be sent again is appended once: the daemon knows the producer
/// by a random name, and each message by its number.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    topic: String,
    id: String,
    sequence: u64,
}

/// Reads a topic from some message on, each once and in order, also over restarts of the daemon.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    topic: String,
    next: u64,
    index: u64,
}

impl Client {
    /// Something that publishes to `topic`.
    pub fn producer(&self, topic: &str) -> Producer {
        let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        Producer { client: self.clone(), topic: topic.to_owned(), id, sequence: 1 }
    }

    /// Something that reads `topic` from message number `from` on.
    pub fn subscribe(&self, topic: &str, from: u64) -> Subscription {
        Subscription { client: self.clone(), topic: topic.to_owned(), next: from.max(1), index: 0 }
    }

    /// Number that the next message of a topic will have; 1 when there is no such topic.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn next_message(&self, topic: &str) -> Result<u64, Error> {
        let topics = self.get::<Vec<consul::own::Topic>>("/v1/portolan/topics").await?.value;
        Ok(topics.iter().find(|known| *known.topic == *topic).map_or(1, |known| known.next))
    }
}

impl Producer {
    /// Publishes messages and waits until they are decided; the number of the last of them. After an error
    /// the same messages must be published again before others: what was appended already is not again.
    ///
    /// # Errors
    /// [`Error`]; a message that contains a line end can only be published alone.
    pub async fn publish(&mut self, messages: &[Bytes]) -> Result<u64, Error> {
        let (flag, body) = match messages {
            [only] => ("", only.clone()),
            several => ("&lines", joined(several)),
        };
        let (topic, id, sequence) = (escape(&self.topic), &self.id, self.sequence);
        let path = format!("/v1/portolan/topic/{topic}?producer={id}&sequence={sequence}{flag}");
        let answer = self.client.transport.call(Call::new(Method::POST, &path).body(body)).await?;
        let published = answer.json::<Published>()?.value;
        self.sequence += messages.len() as u64;
        Ok(published.last)
    }
}

fn joined(messages: &[Bytes]) -> Bytes {
    let mut body = BytesMut::with_capacity(messages.iter().map(|message| message.len() + 1).sum());
    for message in messages {
        body.put_slice(message);
        body.put_u8(b'\n');
    }
    body.freeze()
}

impl Subscription {
    /// Number of the next message.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next messages, at least one; waits for them as long as it takes. A daemon that does not answer is
    /// asked again. When the first message's number is above [`Subscription::position`], those between are
    /// gone: more had come than the topic keeps.
    ///
    /// # Errors
    /// [`Error`] when asking again would not help.
    pub async fn next(&mut self) -> Result<Vec<Message>, Error> {
        let mut backoff = Backoff::up_to(LONGEST_PAUSE);
        loop {
            match self.ask().await {
                Ok(found) if found.value.messages.is_empty() => {
                    backoff.reset();
                    self.index = found.index;
                }
                Ok(found) => {
                    self.index = 0;
                    self.next = found.value.next;
                    return Ok(found.value.messages.into_iter().map(Message::from).collect());
                }
                Err(error) if error.is_temporary() => {
                    tracing::debug!(%error, topic = %self.topic, "the topic cannot be read; asking again");
                    self.index = 0;
                    tokio::time::sleep(backoff.wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn ask(&self) -> Result<Indexed<Messages>, Error> {
        let path = format!("/v1/portolan/topic/{}?from={}", escape(&self.topic), self.next);
        match self.index {
            0 => self.client.get(&path).await,
            index => self.client.get_after(&path, index, WAIT).await,
        }
    }
}

impl From<consul::own::Message> for Message {
    fn from(message: consul::own::Message) -> Message {
        Message {
            index: message.index,
            time_ms: message.time,
            node: message.node,
            payload: message.payload.0,
        }
    }
}
