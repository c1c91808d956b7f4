//! `kv/*`: keys and locks on them, with Consul's semantics.

use std::sync::Arc;

use catalog::{Command, KvCommand, KvEntry, Outcome, Refusal};
use consul::kv::{KvPair, Value};
use http::StatusCode;

use crate::Api;
use crate::access::Lens;
use crate::http::{Answer, Failure, Parts, Query, Request};
use crate::read::{Scope, View, check_datacenter, check_tenancy};

/// `GET kv/:key`: one key, `raw`, `recurse`, or the names alone with `keys`.
pub(crate) fn read(parts: &Parts) -> Result<View, Failure> {
    let key: Arc<str> = parts.rest.as_str().into();
    let query = &parts.query;
    if query.has("keys") {
        // The second spelling is a slip of Consul's early days that clients still send.
        let separator = query.given("separator").or_else(|| query.given("seperator")).map(str::to_owned);
        return Ok(names(key, separator));
    }
    if query.has("recurse") {
        return Ok(View::new(Scope::Prefix(key.clone()), move |_, lens, pretty| {
            let pairs: Vec<_> = lens.keys_under(&key).map(|(key, entry)| pair(key, entry)).collect();
            if pairs.is_empty() { Ok(Answer::nothing()) } else { Answer::json_as(&pairs, pretty) }
        }));
    }
    if key.is_empty() {
        return Err(Failure::bad_request("Missing key name"));
    }
    let raw = query.has("raw");
    Ok(View::new(Scope::Key(key.clone()), move |_, lens, pretty| match lens.key(&key) {
        None => Ok(Answer::nothing()),
        Some(entry) if raw => Ok(Answer::raw(entry.value.clone())),
        Some(entry) => Answer::json_as(&[pair(&key, entry)], pretty),
    }))
}

/// Names under a prefix, cut behind the first separator that follows it. The root always has a list.
fn names(prefix: Arc<str>, separator: Option<String>) -> View {
    View::new(Scope::Prefix(prefix.clone()), move |_, lens, pretty| {
        let names = cut_names(lens, &prefix, separator.as_deref());
        match names.is_empty() && !prefix.is_empty() {
            true => Ok(Answer::nothing()),
            false => Answer::json_as(&names, pretty),
        }
    })
}

fn cut_names<'a>(lens: &Lens<'a>, prefix: &'a str, separator: Option<&str>) -> Vec<&'a str> {
    let cut = |key: &'a str| match separator.and_then(|mark| Some((key[prefix.len()..].find(mark)?, mark))) {
        Some((at, mark)) => &key[..prefix.len() + at + mark.len()],
        None => key,
    };
    let mut names: Vec<&str> = lens.keys_under(prefix).map(|(key, _)| cut(key)).collect();
    names.dedup();
    names
}

/// A key as clients see it.
pub(crate) fn pair(key: &Arc<str>, entry: &KvEntry) -> KvPair {
    KvPair {
        lock_index: entry.lock_index,
        key: key.clone(),
        flags: entry.flags,
        value: Value(entry.value.clone()),
        session: entry.session.clone().unwrap_or_default(),
        create_index: entry.create_index,
        modify_index: entry.modify_index,
    }
}

/// `PUT kv/:key`: sets a key; with `cas` only if its index is that, with `acquire` and `release` by whoever holds
/// it.
pub(crate) async fn put(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    check_write(&api, &request.parts)?;
    let limit = api.config.max_body().min(catalog::validate::MAX_VALUE);
    let (parts, value) = request.body(limit).await?;
    let query = &parts.query;
    if let [first, second, ..] = given(query, &["acquire", "cas", "release"])[..] {
        let flags = [first, second].map(|name| format!("{name}={}", query.get(name).unwrap_or_default()));
        return Err(Failure::bad_request(format!("Conflicting flags: {}", flags.join("&"))));
    }
    let (flags, cas) = (number(query, "flags")?.unwrap_or(0), number(query, "cas")?);
    let key: Arc<str> = parts.rest.as_str().into();
    // The buffer that the body came in may be much larger than the value that is kept for good.
    let value = bytes::Bytes::copy_from_slice(&value);
    let command = match (session(query, "acquire")?, session(query, "release")?) {
        (Some(session), _) => KvCommand::Acquire { key, value, flags, session },
        (_, Some(session)) => KvCommand::Release { key, value, flags, session },
        _ => KvCommand::Set { key, value, flags, cas },
    };
    change(&api, command).await
}

fn session(query: &Query, name: &str) -> Result<Option<Arc<str>>, Failure> {
    match query.get(name) {
        Some("") => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "missing session")),
        session => Ok(session.map(Arc::from)),
    }
}

/// `DELETE kv/:key`: one key, with `cas` only if its index is that; with `recurse` every key under it.
pub(crate) async fn delete(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let parts = &request.parts;
    let query = &parts.query;
    if query.has("recurse") {
        check_tenancy(query)?;
        check_datacenter(query.get("dc"), &api.node.datacenter)?;
        if query.has("cas") {
            return Err(Failure::bad_request("Conflicting flags: cas and recurse"));
        }
        return change(&api, KvCommand::DeleteTree { prefix: parts.rest.as_str().into() }).await;
    }
    check_write(&api, parts)?;
    let cas = number(query, "cas")?;
    // Zero means "only if absent", and there is nothing to delete then.
    if cas == Some(0) {
        return Ok(Answer::truth(false));
    }
    change(&api, KvCommand::Delete { key: parts.rest.as_str().into(), cas }).await
}

fn check_write(api: &Api, parts: &Parts) -> Result<(), Failure> {
    check_tenancy(&parts.query)?;
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)?;
    if parts.rest.is_empty() {
        return Err(Failure::bad_request("Missing key name"));
    }
    catalog::validate::key(&parts.rest).map_err(|invalid| Failure::bad_request(invalid.to_string()))
}

fn given<'a>(query: &Query, names: &[&'a str]) -> Vec<&'a str> {
    names.iter().copied().filter(|name| query.has(name)).collect()
}

fn number(query: &Query, name: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let refuse = |_| Failure::bad_request(format!("Invalid value for {name}: {text:?} is no whole number"));
    text.parse().map(Some).map_err(refuse)
}

/// Submits; a compare-and-set that failed or a lock that another has is an answer and no error.
async fn change(api: &Api, command: KvCommand) -> Result<Answer, Failure> {
    match api.store.propose(Command::Kv(command)).await?.outcome {
        Outcome::Refused(
            Refusal::CasFailed { .. } | Refusal::Locked { .. } | Refusal::LockDelay | Refusal::NotHeld,
        ) => Ok(Answer::truth(false)),
        Outcome::Refused(refusal) => Err(refusal.into()),
        _ => Ok(Answer::truth(true)),
    }
}
