//! `connect/intentions*`, read.

use std::collections::BTreeMap;

use acl::{Resource, Right};
use consul::connect::Intention;

use super::shape::{self, EVERY};
use super::{name_in, needed};
use crate::access::Lens;
use crate::filter::Filter;
use crate::http::{Answer, Failure, Parts};
use crate::read::{Scope, View};

/// `GET connect/intentions`.
pub(crate) fn list(parts: &Parts) -> Result<View, Failure> {
    let filter = Filter::<Intention>::from_query(&parts.query)?;
    Ok(View::new(Scope::Rules, move |_, lens, pretty| {
        let mut shown: Vec<_> = lens
            .rules()
            .filter_map(|rule| shape::shown(rule))
            .filter(|intention| filter.lets(intention))
            .collect();
        // As Consul lists them: the most exact first. Within that, as they are asked.
        shown.sort_by_key(|intention| std::cmp::Reverse(intention.precedence));
        Answer::json_as(&shown, pretty)
    }))
}

/// `GET connect/intentions/:id`.
pub(crate) fn by_id(parts: &Parts) -> Result<View, Failure> {
    let id = uuid(&parts.rest)?.to_owned();
    Ok(View::new(Scope::Rules, move |_, lens, pretty| {
        let found = lens.rules().find(|rule| shape::id(rule).is_some_and(|known| **known == *id));
        one(found.and_then(|rule| shape::shown(rule)), pretty)
    }))
}

/// `GET connect/intentions/exact?source=&destination=`.
pub(crate) fn exact(parts: &Parts) -> Result<View, Failure> {
    let source = name_in(needed(&parts.query, "source")?)?.to_owned();
    let destination = name_in(needed(&parts.query, "destination")?)?.to_owned();
    if parts.may_read_intentions_of(&source).is_err() {
        parts.may_read_intentions_of(&destination)?;
    }
    Ok(View::new(Scope::Rules, move |_, lens, pretty| {
        one(
            lens.rules()
                .find_map(|rule| shape::shown(rule).filter(|_| shape::is_of(rule, &source, &destination))),
            pretty,
        )
    }))
}

fn one(found: Option<Intention>, pretty: bool) -> Result<Answer, Failure> {
    Answer::json_as(&found.ok_or_else(unknown)?, pretty)
}

pub(super) fn unknown() -> Failure {
    Failure::not_found("Intention not found")
}

/// Which end of an intention is asked about.
#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

/// `GET connect/intentions/match?by=&name=`: what is asked about a name, in that order.
pub(crate) fn matching(parts: &Parts) -> Result<View, Failure> {
    let end = match needed(&parts.query, "by")? {
        "source" => End::Source,
        "destination" => End::Destination,
        _ => return Err(Failure::bad_request("'by' parameter must be one of 'source' or 'destination'")),
    };
    let asked: Vec<String> = parts.query.all("name").map(str::to_owned).collect();
    if asked.is_empty() {
        return Err(Failure::bad_request("required query parameter 'name' not set"));
    }
    for text in &asked {
        parts.may_read_intentions_of(name_in(text)?)?;
    }
    Ok(View::new(Scope::Rules, move |_, lens, pretty| {
        let matches: Result<BTreeMap<_, _>, Failure> =
            asked.iter().map(|text| Ok((text, about(lens, end, name_in(text)?)))).collect();
        Answer::json_as(&matches?, pretty)
    }))
}

fn about(lens: &Lens<'_>, end: End, name: &str) -> Vec<Intention> {
    let is_about = |intention: &Intention| {
        let named = match end {
            End::Source => &intention.source_name,
            End::Destination => &intention.destination_name,
        };
        &**named == EVERY || named.eq_ignore_ascii_case(name)
    };
    lens.rules().filter_map(|rule| shape::shown(rule)).filter(is_about).collect()
}

impl Parts {
    /// Every service is read by whoever may read any.
    fn may_read_intentions_of(&self, name: &str) -> Result<(), Failure> {
        match name {
            EVERY if self.caller.may_some(Resource::Intention, Right::Read) => Ok(()),
            name => self.may(Resource::Intention, Right::Read, name),
        }
    }
}

/// Consul finds intentions by UUIDs alone.
pub(super) fn uuid(text: &str) -> Result<&str, Failure> {
    match text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        true => Ok(text),
        false => Err(Failure::bad_request(format!(
            "Failed intention lookup: index error: UUID must be 36 characters, and {text:?} is none"
        ))),
    }
}
