//! `connect/intentions*`, written.

use std::sync::Arc;

use acl::{Resource, Right};
use catalog::{Command, Intention as Rule, IntentionCommand, Outcome, Place, Refusal};
use consul::connect::{Intention, IntentionId};
use http::StatusCode;

use super::reads::{unknown, uuid};
use super::shape::{self, EVERY};
use super::{MAX_BODY, name_in, needed};
use crate::Api;
use crate::http::{Answer, Failure, Parts, Query, Request, decode};
use crate::ids::new_id;
use crate::read::{check_datacenter, check_tenancy};
use crate::rules::in_force;

/// How often something is tried that somebody else's change came in the way of.
pub(super) const ATTEMPTS: usize = 8;

/// `POST connect/intentions`: a new one, under an id of its own.
pub(crate) async fn create(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = body(&api, request).await?;
    if !sent.id.is_empty() {
        return Err(Failure::bad_request("ID must be empty when creating a new intention"));
    }
    let id = new_id()?;
    let rule = shape::rule(&sent, &id)?;
    may_write(&parts, &sent.destination_name)?;
    if known(&api, &sent.source_name, &sent.destination_name).is_some() {
        return Err(duplicate());
    }
    put(&api, rule, Some(0)).await?;
    Answer::json_as(&IntentionId { id }, parts.query.has("pretty"))
}

/// `PUT connect/intentions/:id`: another source or action under the same id and for the same destination.
pub(crate) async fn update(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = body(&api, request).await?;
    let id = uuid(&parts.rest)?;
    let before = known_by(&api, id);
    parts.caller.has_asked();
    may_write(&parts, before.as_ref().map_or(&*sent.destination_name, |rule| destination(rule)))?;
    let before =
        before.ok_or_else(|| Failure::not_found(format!("Cannot modify non-existent intention: '{id}'")))?;
    let rule = shape::rule(&sent, id)?;
    if !destination(&rule).eq_ignore_ascii_case(destination(&before)) {
        let why = "Cannot modify Destination partition/namespace/name for an intention once it exists.";
        return Err(Failure::bad_request(why));
    }
    match rule.source == before.source {
        true => put(&api, Rule { id: before.id.clone(), ..rule }, Some(before.modify_index)).await?,
        false => {
            if known(&api, &sent.source_name, &sent.destination_name).is_some() {
                return Err(duplicate());
            }
            put(&api, rule, Some(0)).await?;
            remove(&api, &before).await?;
        }
    }
    Answer::json_as(&IntentionId { id: id.into() }, parts.query.has("pretty"))
}

/// `DELETE connect/intentions/:id`.
pub(crate) async fn delete(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let parts = &request.parts;
    let id = uuid(&parts.rest)?;
    parts.caller.has_asked();
    let rule = known_by(&api, id).ok_or_else(unknown);
    // Whoever may write none learns of none.
    may_write(parts, rule.as_ref().map_or(EVERY, |rule| destination(rule)))?;
    let rule = rule?;
    remove(&api, &rule).await?;
    Ok(Answer::truth(true))
}

/// `PUT connect/intentions/exact?source=&destination=`: whatever was said about the two before.
pub(crate) async fn put_exact(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = body(&api, request).await?;
    let (source, destination) = both(&parts.query)?;
    let sent = Intention { source_name: source.into(), destination_name: destination.into(), ..sent };
    let mut rule = shape::rule(&sent, "")?;
    may_write(&parts, destination)?;
    if let Some(before) = known(&api, source, destination) {
        rule.id = before.id.clone();
    }
    put(&api, rule, None).await?;
    Ok(Answer::truth(true))
}

/// `DELETE connect/intentions/exact?source=&destination=`: also when there is none.
pub(crate) async fn delete_exact(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let parts = &request.parts;
    let (source, destination) = both(&parts.query)?;
    may_write(parts, destination)?;
    if let Some(rule) = known(&api, source, destination) {
        remove(&api, &rule).await?;
    }
    Ok(Answer::truth(true))
}

fn both(query: &Query) -> Result<(&str, &str), Failure> {
    Ok((name_in(needed(query, "source")?)?, name_in(needed(query, "destination")?)?))
}

async fn body(api: &Api, request: Request) -> Result<(Parts, Intention), Failure> {
    check_datacenter(request.parts.query.get("dc"), &api.node.datacenter)?;
    check_tenancy(&request.parts.query)?;
    let (parts, bytes) = request.body(MAX_BODY).await?;
    Ok((parts, decode(&bytes)?))
}

/// An intention belongs to whoever may write those of its destination; one for every service to whoever may write
/// all of them.
pub(super) fn may_write(parts: &Parts, destination: &str) -> Result<(), Failure> {
    match destination {
        EVERY => parts.caller.may_under(Resource::Intention, Right::Write, ""),
        name => parts.may(Resource::Intention, Right::Write, name),
    }
}

fn destination(rule: &Rule) -> &str {
    shape::ends(rule).map_or(EVERY, |(_, destination)| destination)
}

fn known(api: &Api, source: &str, destination: &str) -> Option<Arc<Rule>> {
    let now = api.store.now();
    now.rules().intentions().find(|rule| shape::is_of(rule, source, destination)).cloned()
}

fn known_by(api: &Api, id: &str) -> Option<Arc<Rule>> {
    let now = api.store.now();
    now.rules().intentions().find(|rule| shape::id(rule).is_some_and(|known| &**known == id)).cloned()
}

fn duplicate() -> Failure {
    Failure::new(
        StatusCode::CONFLICT,
        "duplicate intention found: there is one for this source and destination",
    )
}

async fn put(api: &Api, rule: Rule, cas: Option<u64>) -> Result<(), Failure> {
    for _ in 0..ATTEMPTS {
        let now = api.store.now();
        let place = match now.rules().intention(&rule.id) {
            Some(_) => Place::Keep,
            None => shape::place(now.rules().intentions(), &rule),
        };
        let wish = IntentionCommand::Put { intention: Box::new(rule.clone()), place, cas };
        match propose(api, wish).await? {
            // The one that it goes before went meanwhile.
            Some(Refusal::UnknownRule(_)) => {}
            Some(refusal) => return Err(refusal.into()),
            None => return Ok(()),
        }
    }
    Err(unsteady())
}

async fn remove(api: &Api, rule: &Rule) -> Result<(), Failure> {
    let wish = IntentionCommand::Remove { id: rule.id.clone(), cas: Some(rule.modify_index) };
    propose(api, wish).await?.map_or(Ok(()), |refusal| Err(refusal.into()))
}

/// Submits, and waits until this node goes by it. Why nothing came of it, if so.
pub(super) async fn propose(api: &Api, wish: IntentionCommand) -> Result<Option<Refusal>, Failure> {
    match api.store.propose(Command::Intention(wish)).await?.outcome {
        Outcome::Refused(refusal) => Ok(Some(refusal)),
        _ => {
            in_force(api).await;
            Ok(None)
        }
    }
}

pub(super) fn unsteady() -> Failure {
    Failure::new(StatusCode::CONFLICT, "others change the rules all the time: try again")
}
