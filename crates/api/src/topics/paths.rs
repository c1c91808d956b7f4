//! `portolan/topic/:name` and `portolan/topics`.

use std::sync::Arc;

use acl::{Resource, Right};
use bytes::Bytes;
use catalog::{Command, Outcome, Producer, TopicCommand, TopicEntry};
use consul::GoDuration;
use consul::kv::Value;
use consul::own::{Message, Messages, Published, Retention, Topic};

use crate::Api;
use crate::catalog_paths::named;
use crate::http::{Answer, Failure, Parts, Query, Request};
use crate::read::{ReadOptions, Scope, View, settle, with_fields};

/// Most messages in one answer, unless fewer are asked for.
const MAX_MESSAGES: usize = 1000;
/// An answer ends with the message that makes it larger than this.
const ENOUGH_BYTES: usize = 1 << 20;

/// `PUT portolan/topic/:name`: the body is one message, or one per line with `lines`. Answered when it is
/// decided. With `producer` and `sequence` a retry is appended once.
pub(crate) async fn publish(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let topic = named(&request.parts, "topic")?;
    let producer = producer(&request.parts.query)?;
    let (parts, body) = request.body(api.config.max_body()).await?;
    let messages = match parts.query.has("lines") {
        true => lines(&body),
        false => vec![Bytes::copy_from_slice(&body)],
    };
    if messages.is_empty() {
        return Err(Failure::bad_request("there is no line to publish"));
    }
    let command = TopicCommand::Publish { topic, messages, producer };
    match api.store.submit(Command::Topic(command)).await?.outcome {
        Outcome::Published { last, count } => {
            Answer::json_as(&Published { last, count }, parts.query.has("pretty"))
        }
        outcome => Err(Failure::bad_request(format!("nothing was published: {outcome:?}"))),
    }
}

/// Lines without their ends; what follows the last end is a line unless it is empty.
fn lines(body: &[u8]) -> Vec<Bytes> {
    let mut lines: Vec<_> = body.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect();
    if lines.last().is_some_and(Bytes::is_empty) {
        lines.pop();
    }
    lines
}

fn producer(query: &Query) -> Result<Option<Producer>, Failure> {
    match (query.given("producer"), number(query, "sequence")?) {
        (Some(id), Some(sequence)) => Ok(Some(Producer { id: id.into(), sequence })),
        (None, None) => Ok(None),
        _ => Err(Failure::bad_request("producer and sequence belong together")),
    }
}

fn number(query: &Query, name: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = query.given(name) else { return Ok(None) };
    let refuse = |_| Failure::bad_request(format!("Invalid value for {name}: {text:?} is no whole number"));
    text.parse().map(Some).map_err(refuse)
}

/// `GET portolan/topic/:name?from=N`: messages from that number on. It blocks like any read; `raw` answers the
/// messages alone, each with a line end.
pub(crate) async fn read(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let topic = named(&request.parts, "topic")?;
    let query = &request.parts.query;
    let from = number(query, "from")?.unwrap_or(1).max(1);
    let limit = number(query, "limit")?.map_or(MAX_MESSAGES, |limit| limit as usize).clamp(1, MAX_MESSAGES);
    let options = ReadOptions::parse(query, &api.node.datacenter)?;
    let (snapshot, index) = settle(&api, &Scope::Messages(topic.clone()), &options).await?;
    if let Some(caller) = api.desk.again(&snapshot, &request.parts.caller)? {
        caller.may(Resource::Topic, Right::Read, &topic)?;
    }
    let found = page(snapshot.topic(&topic).map(|entry| &**entry), from, limit);
    let answer = match query.has("raw") {
        true => raw(&found),
        false => Answer::json_as(&found, options.pretty)?,
    };
    Ok(with_fields(&api, answer, index, &options).with_field("x-portolan-next", found.next.to_string()))
}

fn page(entry: Option<&TopicEntry>, from: u64, limit: usize) -> Messages {
    let Some(entry) = entry else { return Messages { first: 1, next: from, messages: Vec::new() } };
    let mut bytes = 0;
    let enough = |message: &&Arc<catalog::Message>| {
        let is_enough = bytes > ENOUGH_BYTES;
        bytes += message.payload.len();
        !is_enough
    };
    let messages: Vec<_> = entry.from(from).take(limit).take_while(enough).map(|m| shown(m)).collect();
    let next = messages.last().map_or(from.max(entry.first()), |message| message.index + 1);
    Messages { first: entry.first(), next, messages }
}

fn shown(message: &catalog::Message) -> Message {
    Message {
        index: message.index,
        time: message.time_ms,
        node: message.node.clone(),
        payload: Value(message.payload.clone()),
    }
}

fn raw(found: &Messages) -> Answer {
    let mut body = Vec::new();
    for message in &found.messages {
        body.extend_from_slice(&message.payload.0);
        body.push(b'\n');
    }
    Answer::raw(body.into())
}

/// `GET portolan/topics`.
pub(crate) fn list(_: &Parts) -> Result<View, Failure> {
    Ok(View::new(Scope::Topics, |_, lens, pretty| {
        let topics = lens.topics().map(|entry| Topic {
            topic: entry.name.clone(),
            first: entry.first(),
            next: entry.next,
            count: entry.messages.len(),
            bytes: entry.bytes,
            retention: Retention {
                max_count: entry.retention.max_count,
                max_bytes: entry.retention.max_bytes,
                max_age: GoDuration::from_ms(entry.retention.max_age_ms),
            },
            modify_index: entry.modify_index,
        });
        Answer::list(topics, pretty)
    }))
}

/// `PUT portolan/topics/:name`: how much of it is kept.
pub(crate) async fn retain(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = request.json::<Retention>(api.config.max_body()).await?;
    let topic = named(&parts, "topic")?;
    let retention = catalog::Retention {
        max_count: sent.max_count,
        max_bytes: sent.max_bytes,
        max_age_ms: sent.max_age.as_ms(),
    };
    api.store.submit(Command::Topic(TopicCommand::Retain { topic, retention })).await?;
    Ok(Answer::truth(true))
}

/// `DELETE portolan/topics/:name`.
pub(crate) async fn remove(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let topic = named(&request.parts, "topic")?;
    api.store.submit(Command::Topic(TopicCommand::Remove { topic })).await?;
    Ok(Answer::truth(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_at_line_ends() {
        assert_eq!(lines(b"a\n\nb"), ["a", "", "b"]);
        assert_eq!(lines(b"a\n"), ["a"]);
        assert_eq!(lines(b"\n"), [""]);
        assert!(lines(b"").is_empty());
    }
}
