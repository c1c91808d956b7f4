//! `event/*`: short messages to nodes that match. They travel in the agreed order; each node shows those that
//! are meant for it.

use std::sync::Arc;

use catalog::{Command, Event, NodeEntry, Topic, TopicCommand};
use consul::event::UserEvent;
use consul::kv::Value;
use http::StatusCode;
use regex_lite::Regex;
use store::Watched;
use tokio::time::{Instant, timeout_at};

use crate::Api;
use crate::catalog_paths::named;
use crate::http::{Answer, Failure, Parts, Request};
use crate::ids::new_id;
use crate::read::{ReadOptions, Scope, check_datacenter, settle, with_fields};

/// `PUT event/fire/:name`.
pub(crate) async fn fire(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let name = named(&request.parts, "name")?;
    check_datacenter(request.parts.query.get("dc"), &api.node.datacenter)?;
    let (parts, body) = request.body(catalog::topic::MAX_EVENT).await?;
    let event = Event {
        id: new_id()?,
        name,
        payload: bytes::Bytes::copy_from_slice(&body),
        node_filter: filter(&parts, "node")?,
        service_filter: filter(&parts, "service")?,
        tag_filter: filter(&parts, "tag")?,
        number: 0,
        index: 0,
    };
    if !event.tag_filter.is_empty() && event.service_filter.is_empty() {
        let message = "Cannot provide tag filter without service filter";
        return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message));
    }
    let answer = Answer::json_as(&shown(&event), parts.query.has("pretty"))?;
    api.store.submit(Command::Topic(TopicCommand::Fire(Box::new(event)))).await?;
    Ok(answer)
}

fn filter(parts: &Parts, name: &str) -> Result<Arc<str>, Failure> {
    let text = parts.query.get(name).unwrap_or_default();
    Regex::new(text).map_err(|why| {
        let message = format!("Invalid {name} filter: {why}");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })?;
    Ok(text.into())
}

/// `GET event/list`: the last events that were meant for this node, oldest first. Its index is made of the last one's
/// id, as in Consul, because clients find by it what they have not seen. It blocks until the last one is another.
pub(crate) async fn list(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let parts = &request.parts;
    let options = ReadOptions::parse(&parts.query, &api.node.datacenter)?;
    let deadline = Instant::now() + options.jittered_wait();
    let at_once = ReadOptions { index: 0, ..options.clone() };
    settle(&api, &Scope::Events, &at_once).await?;
    let mut watch = api.store.watch([Watched::Topic(Topic::Events)]);
    let mut pass = None;
    loop {
        let (events, index) = meant(&api, parts)?;
        let is_new = options.index == 0 || options.index != index;
        if is_new || api.drain.is_started() || Instant::now() >= deadline {
            let answer = Answer::list(events.into_iter(), options.pretty)?;
            return Ok(with_fields(&api, answer, index, &options));
        }
        if pass.is_none() {
            pass = Some(api.gate.enter()?);
        }
        let _ = timeout_at(deadline, watch.changed()).await;
    }
}

/// The events that were meant for this node and that whoever asks may see, with their index.
fn meant(api: &Api, parts: &Parts) -> Result<(Vec<UserEvent>, u64), Failure> {
    let snapshot = api.store.now();
    let caller = api.desk.again(&snapshot, &parts.caller)?.unwrap_or_else(|| parts.caller.clone());
    let lens = caller.lens(&snapshot);
    let (name, own) = (parts.query.given("name"), snapshot.node(&api.node.name));
    let wanted = |event: &&Arc<Event>| {
        name.is_none_or(|name| *event.name == *name) && is_for(event, &api.node.name, own)
    };
    let events: Vec<UserEvent> = lens.events().filter(wanted).map(|event| shown(event)).collect();
    // Without any it is 1, never 0: a client that asks with 0 does not wait.
    let index = events.last().map_or(1, |last| index_of(&last.id));
    Ok((events, index))
}

/// Both halves of a UUID, one upon the other: what Consul's clients make of an event's id.
fn index_of(id: &str) -> u64 {
    let digits: String = id.chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).unwrap_or_default();
    (((number >> 64) as u64) ^ (number as u64)).max(1)
}

/// Whether an event is meant for a node: by its name, and by a service on it with a tag.
fn is_for(event: &Event, name: &str, entry: Option<&Arc<NodeEntry>>) -> bool {
    let matches = |pattern: &str, text: &str| {
        pattern.is_empty() || Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
    };
    if !matches(&event.node_filter, name) {
        return false;
    }
    if event.service_filter.is_empty() {
        return true;
    }
    entry.into_iter().flat_map(|entry| entry.instances.values()).any(|instance| {
        let tags = || instance.def.tags.iter().any(|tag| matches(&event.tag_filter, tag));
        matches(&event.service_filter, &instance.def.service) && (event.tag_filter.is_empty() || tags())
    })
}

fn shown(event: &Event) -> UserEvent {
    UserEvent {
        id: event.id.clone(),
        name: event.name.clone(),
        payload: Value(event.payload.clone()),
        node_filter: event.node_filter.clone(),
        service_filter: event.service_filter.clone(),
        tag_filter: event.tag_filter.clone(),
        version: 1,
        l_time: event.number,
    }
}
