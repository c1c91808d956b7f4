//! `config/service-intentions`: every intention of one destination as one entry. The other kinds of Consul's
//! configuration entries are not here.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{Intention as Rule, IntentionCommand, Place, Refusal};
use consul::connect::{Intention, IntentionSource, ServiceIntentions};
use serde_json::json;

use super::MAX_BODY;
use super::shape;
use super::writes::{ATTEMPTS, may_write, propose, unsteady};
use crate::Api;
use crate::access::Lens;
use crate::http::{Answer, Failure, Parts, Query, Request, decode};
use crate::read::{Scope, View, check_datacenter, check_tenancy};

/// The one kind.
const KIND: &str = "service-intentions";

/// `GET config/service-intentions`.
pub(crate) fn list(_: &Parts) -> Result<View, Failure> {
    Ok(View::new(Scope::Rules, |_, lens, pretty| Answer::list(entries(lens).into_values(), pretty)))
}

/// `GET config/service-intentions/:name`.
pub(crate) fn show(parts: &Parts) -> Result<View, Failure> {
    let name = parts.rest.to_ascii_lowercase();
    Ok(View::new(Scope::Rules, move |_, lens, pretty| {
        let unknown = || Failure::not_found(format!("Config entry not found for {KIND:?} / {name:?}"));
        Answer::json_as(&entries(lens).remove(&name).ok_or_else(unknown)?, pretty)
    }))
}

/// By destination in lower case.
fn entries(lens: &Lens<'_>) -> BTreeMap<String, ServiceIntentions> {
    let mut entries = BTreeMap::<String, ServiceIntentions>::new();
    for intention in lens.rules().filter_map(|rule| shape::shown(rule)) {
        let entry = entries.entry(intention.destination_name.to_ascii_lowercase()).or_default();
        entry.kind = KIND.into();
        entry.name = intention.destination_name.clone();
        entry.create_index = match entry.create_index {
            0 => intention.create_index,
            first => first.min(intention.create_index),
        };
        entry.modify_index = entry.modify_index.max(intention.modify_index);
        entry.sources.push(IntentionSource {
            name: intention.source_name,
            action: intention.action,
            precedence: intention.precedence,
            legacy_id: intention.id,
            kind: intention.source_type,
            description: intention.description,
            ..IntentionSource::default()
        });
    }
    entries
}

/// `PUT config`: this entry in the place of what was said about the destination before; with `?cas`, only if it is
/// the one that the client knows.
pub(crate) async fn put(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let query = &request.parts.query;
    check_datacenter(query.get("dc"), &api.node.datacenter)?;
    check_tenancy(query)?;
    let cas = cas(query)?;
    let (parts, bytes) = request.body(MAX_BODY).await?;
    let sent: ServiceIntentions = decode(&bytes)?;
    if &*sent.kind != KIND {
        parts.caller.has_asked();
        return Err(Failure::absent(&format!("configuration entries of the kind {:?} are", sent.kind)));
    }
    if sent.jwt.is_some() || !sent.meta.is_empty() {
        return Err(Failure::absent("JWT and Meta in service-intentions are"));
    }
    let wished =
        sent.sources.iter().map(|source| wished(&sent.name, source)).collect::<Result<Vec<_>, _>>()?;
    may_write(&parts, &sent.name)?;
    let is_put = rewrite(&api, &sent.name, &wished, cas).await?;
    Ok(Answer::truth(is_put))
}

/// `DELETE config/service-intentions/:name`: also when there is none.
pub(crate) async fn delete(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let query = &request.parts.query;
    let (name, cas) = (&request.parts.rest, cas(query)?);
    may_write(&request.parts, name)?;
    let is_gone = rewrite(&api, name, &[], cas).await?;
    match cas {
        Some(_) => Ok(Answer::truth(is_gone)),
        None => Answer::json(&json!({})),
    }
}

fn cas(query: &Query) -> Result<Option<u64>, Failure> {
    let wrong = |_| Failure::bad_request("cas is a whole number: the index that you know");
    query.get("cas").map(|text| text.parse().map_err(wrong)).transpose()
}

fn wished(destination: &Arc<str>, source: &IntentionSource) -> Result<Rule, Failure> {
    let intention = Intention {
        source_name: source.name.clone(),
        destination_name: destination.clone(),
        source_type: source.kind.clone(),
        action: source.action.clone(),
        permissions: source.permissions.clone(),
        description: source.description.clone(),
        source_peer: source.peer.clone(),
        source_sameness_group: source.sameness_group.clone(),
        ..Intention::default()
    };
    shape::rule(&intention, &source.legacy_id)
}

/// Puts these intentions in the place of all those of a destination, in one step. False: the entry is another than
/// the client knows.
async fn rewrite(api: &Api, name: &str, wished: &[Rule], cas: Option<u64>) -> Result<bool, Failure> {
    for _ in 0..ATTEMPTS {
        let now = api.store.now();
        let rules = now.rules();
        let of_it =
            |rule: &Rule| shape::ends(rule).is_some_and(|(_, other)| other.eq_ignore_ascii_case(name));
        let known = rules.intentions().filter(|rule| of_it(rule)).map(|rule| rule.modify_index).max();
        if cas.is_some_and(|cas| cas != known.unwrap_or(0)) {
            return Ok(false);
        }
        let intentions = rewritten(rules.intentions(), of_it, wished);
        match propose(api, IntentionCommand::Replace { intentions, cas: Some(rules.index()) }).await? {
            Some(Refusal::RuleChanged { .. }) => {}
            Some(refusal) => return Err(refusal.into()),
            None => return Ok(true),
        }
    }
    Err(unsteady())
}

fn rewritten<'a>(
    rules: impl Iterator<Item = &'a Arc<Rule>>,
    of_it: impl Fn(&Rule) -> bool,
    wished: &[Rule],
) -> Vec<Rule> {
    let is_same = |one: &Rule, other: &Rule| one.source == other.source && of_it(one) && of_it(other);
    let mut list: Vec<Arc<Rule>> =
        rules.filter(|rule| !of_it(rule) || wished.iter().any(|new| is_same(rule, new))).cloned().collect();
    for new in wished {
        match list.iter_mut().find(|rule| is_same(rule, new)) {
            Some(rule) => *rule = Arc::new(Rule { id: rule.id.clone(), ..new.clone() }),
            None => {
                let at = match shape::place(list.iter(), new) {
                    Place::Before(id) => list.iter().position(|rule| rule.id == id),
                    _ => None,
                };
                list.insert(at.unwrap_or(list.len()), Arc::new(new.clone()));
            }
        }
    }
    list.into_iter().map(Arc::unwrap_or_clone).collect()
}
