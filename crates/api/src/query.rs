//! `query*`: prepared queries, defined, run and explained.

use std::sync::Arc;

use acl::{Resource, Right};
use catalog::query::{QueryCommand, QueryDef, Template, TemplateError};
use catalog::{Command, Outcome, PreparedQuery, Snapshot};
use consul::GoDuration;
use consul::query::{
    QueryCreated, QueryDefinition, QueryDns, QueryExplained, QueryFailover, QueryResult, QueryService,
    QueryTemplate,
};
use http::StatusCode;

use crate::Api;
use crate::access::Caller;
use crate::http::{Answer, Failure, Parts, Peer, Request};
use crate::ids::new_id;
use crate::plan;
use crate::read::{ReadOptions, Scope, View, check_datacenter, check_tenancy, settle, with_fields};

/// The one kind of template.
const PREFIX_MATCH: &str = "name_prefix_match";
/// Longest id: Consul finds queries by UUIDs alone.
const UUID_LENGTH: usize = 36;

/// `GET query`: every definition.
pub(crate) fn list(_: &Parts) -> Result<View, Failure> {
    Ok(View::new(Scope::Queries, |_, lens, pretty| {
        let told = lens.may_be_told_secrets();
        Answer::list(lens.queries().map(|query| shown(query, told)), pretty)
    }))
}

/// `POST query`: a new one, under an id of its own.
pub(crate) async fn create(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    check(&api, &request.parts)?;
    let (parts, sent) = request.json::<QueryDefinition>(api.config.max_body()).await?;
    if !sent.id.is_empty() {
        return Err(internal("ID must be empty when creating a new prepared query"));
    }
    let def = definition(sent, new_id()?)?;
    may_write(&parts.caller, &def)?;
    let id = def.id.clone();
    submit(&api, QueryCommand::Set { def: Box::new(def), replace: false }).await?;
    Answer::json_as(&QueryCreated { id }, parts.query.has("pretty"))
}

/// `PUT query/:id`: another definition under an id.
pub(crate) async fn update(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    check(&api, &request.parts)?;
    let id = uuid(&request.parts.rest, "Prepared Query lookup failed: ")?;
    let (parts, sent) = request.json::<QueryDefinition>(api.config.max_body()).await?;
    let def = definition(sent, id)?;
    may_write(&parts.caller, &def)?;
    may_write_known(&api, &parts, &def.id)?;
    submit(&api, QueryCommand::Set { def: Box::new(def), replace: true }).await
}

/// `DELETE query/:id`.
pub(crate) async fn delete(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    check(&api, &request.parts)?;
    let id = uuid(&request.parts.rest, "Prepared Query lookup failed: ")?;
    may_write_known(&api, &request.parts, &id)?;
    submit(&api, QueryCommand::Delete { id }).await
}

/// Judges by the name; one without is known by its id alone, and whoever knows that may have it, as in Consul.
fn may(caller: &Caller, right: Right, def: &QueryDef) -> Result<(), Failure> {
    caller.has_asked();
    match def.name.is_empty() && def.template.is_none() {
        true => Ok(()),
        false => caller.may(Resource::Query, right, &def.name),
    }
}

fn may_write(caller: &Caller, def: &QueryDef) -> Result<(), Failure> {
    may(caller, Right::Write, def)
}

fn may_write_known(api: &Api, parts: &Parts, id: &str) -> Result<(), Failure> {
    parts.caller.has_asked();
    api.store.now().query(id).map_or(Ok(()), |known| may_write(&parts.caller, &known.def))
}

/// `GET query/:id`, `query/:id-or-name/execute`, `query/:id-or-name/explain`.
pub(crate) async fn read(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let parts = &request.parts;
    match parts.rest.rsplit_once('/') {
        Some((name, "execute")) => execute(&api, parts, name).await,
        Some((name, "explain")) => explain(&api, parts, name).await,
        _ => show(&api, parts).await,
    }
}

async fn show(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let options = ReadOptions::parse(&parts.query, &api.node.datacenter)?;
    let id = uuid(&parts.rest, "")?;
    let (snapshot, index) = settle(api, &Scope::Queries, &options).await?;
    let query = snapshot.query(&id).ok_or_else(unknown)?;
    let again = api.desk.again(&snapshot, &parts.caller)?;
    let caller = again.as_ref().unwrap_or(&parts.caller);
    may(caller, Right::Read, &query.def)?;
    parts.caller.has_asked();
    let told = caller.lens(&snapshot).may_be_told_secrets();
    Ok(with_fields(api, Answer::json_as(&[shown(query, told)], options.pretty)?, index, &options))
}

async fn execute(api: &Api, parts: &Parts, name: &str) -> Result<Answer, Failure> {
    let options = once(api, parts)?;
    let limit = match parts.query.given("limit") {
        None => usize::MAX,
        Some(text) => match text.parse::<usize>() {
            Ok(0) => usize::MAX,
            Ok(limit) => limit,
            Err(why) => return Err(internal(format!("Bad limit: {text:?}: {why}"))),
        },
    };
    let (snapshot, _) = settle(api, &Scope::Queries, &options).await?;
    let mut query = found(&snapshot, name)?;
    if let Some(near) = parts.query.given("near") {
        query.near = near.into();
    }
    let near = match &*query.near {
        "_agent" => api.node.name.clone(),
        "_ip" => node_at(&snapshot, parts.peer).unwrap_or_default(),
        name => name.into(),
    };
    parts.caller.has_asked();
    // A query that has a token runs with it, whoever asks.
    let own = match query.token.is_empty() {
        true => None,
        false => Some(api.desk.holder_of(&snapshot, &query.token)?),
    };
    let lens = own.as_ref().unwrap_or(&parts.caller).lens(&snapshot);
    let sees =
        |node: &str, service: &str| lens.sees(Resource::Node, node) && lens.sees(Resource::Service, service);
    let selected = snapshot.select(&query);
    let mut selected: Vec<_> = selected.filter(|(n, s, _)| sees(&n.def.name, &s.name)).collect();
    fastrand::shuffle(&mut selected);
    if !near.is_empty() {
        // Nothing measures distances: a node is near to itself, and all others are equally far.
        selected.sort_by_key(|(node, ..)| node.def.name != near);
    }
    let nodes = selected.into_iter().take(limit);
    let contact = api.contact.now();
    let result = QueryResult {
        service: query.service.clone(),
        nodes: nodes.map(|(n, s, i)| plan::service_entry(&api.context, &lens, (n, s, i))).collect(),
        dns: QueryDns { ttl: query.ttl.clone() },
        datacenter: api.node.datacenter.clone(),
        failovers: 0,
        index: 0,
        last_contact: contact.last_contact_ms(),
        known_leader: contact.known_leader() == "true",
        consistency_level: options.consistency.as_str().into(),
    };
    Ok(with_fields(api, Answer::json_as(&result, options.pretty)?, 1, &options))
}

async fn explain(api: &Api, parts: &Parts, name: &str) -> Result<Answer, Failure> {
    let options = once(api, parts)?;
    let (snapshot, _) = settle(api, &Scope::Queries, &options).await?;
    let prepared = snapshot.query_called(name).ok_or_else(unknown)?;
    may(&parts.caller, Right::Read, &prepared.def)?;
    let told = parts.caller.lens(&snapshot).may_be_told_secrets();
    let rendered = PreparedQuery { def: Arc::new(found(&snapshot, name)?), ..(**prepared).clone() };
    let contact = api.contact.now();
    let explained = QueryExplained {
        query: shown(&rendered, told),
        index: 0,
        last_contact: contact.last_contact_ms(),
        known_leader: contact.known_leader() == "true",
        consistency_level: options.consistency.as_str().into(),
    };
    Ok(with_fields(api, Answer::json_as(&explained, options.pretty)?, 1, &options))
}

/// Options of a query that never blocks: `index` is not looked at, as in Consul.
fn once(api: &Api, parts: &Parts) -> Result<ReadOptions, Failure> {
    Ok(ReadOptions { index: 0, ..ReadOptions::parse(&parts.query, &api.node.datacenter)? })
}

/// The query that a name leads to, with the name's parts put in.
fn found(snapshot: &Snapshot, name: &str) -> Result<QueryDef, Failure> {
    let query = snapshot.query_called(name).ok_or_else(unknown)?;
    query.def.rendered(name).map_err(|why| internal(why.to_string()))
}

/// The node whose address is the one that a request came from.
fn node_at(snapshot: &Snapshot, peer: Peer) -> Option<Arc<str>> {
    let ip = peer.ip().to_canonical();
    let node = snapshot.nodes().find(|node| node.def.address.parse() == Ok(ip))?;
    Some(node.def.name.clone())
}

fn unknown() -> Failure {
    Failure::not_found("Query not found")
}

/// Consul answers 500 to whatever is wrong with a query.
fn internal(message: impl Into<String>) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

fn uuid(id: &str, what_for: &str) -> Result<Arc<str>, Failure> {
    match id.len() == UUID_LENGTH {
        true => Ok(id.into()),
        false => {
            let why = "failed prepared query lookup: index error: UUID must be 36 characters";
            Err(internal(format!("{what_for}{why}")))
        }
    }
}

fn check(api: &Api, parts: &Parts) -> Result<(), Failure> {
    check_tenancy(&parts.query)?;
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)
}

async fn submit(api: &Api, command: QueryCommand) -> Result<Answer, Failure> {
    match api.store.propose(Command::Query(command)).await?.outcome {
        Outcome::Refused(catalog::Refusal::UnknownSession(_)) => Err(internal("invalid session")),
        Outcome::Refused(refusal) => Err(refusal.into()),
        _ => Ok(Answer::empty()),
    }
}

fn definition(sent: QueryDefinition, id: Arc<str>) -> Result<QueryDef, Failure> {
    let invalid = |why: &str| internal(format!("Invalid prepared query: {why}"));
    let template = match &*sent.template.kind {
        "" => None,
        PREFIX_MATCH => {
            let QueryTemplate { regexp, remove_empty_tags, .. } = sent.template.clone();
            Some(Template { pattern: regexp, remove_empty_tags })
        }
        other => return Err(compiling(format!("Bad Template.Type '{other}'"))),
    };
    if sent.name.is_empty() && sent.session.is_empty() && template.is_none() {
        return Err(invalid("Must be bound to a session"));
    }
    if sent.token.as_ref() == "<hidden>" {
        return Err(invalid(
            "Bad Token '<hidden>', it looks like a query definition with a redacted token was submitted",
        ));
    }
    if sent.service.service.is_empty() {
        return Err(invalid("Must provide a Service name to query"));
    }
    let nearest = u32::try_from(sent.service.failover.nearest_n)
        .map_err(|_| invalid(&format!("Bad NearestN '{}', must be >= 0", sent.service.failover.nearest_n)))?;
    if !sent.dns.ttl.is_empty() {
        GoDuration::parse(&sent.dns.ttl)
            .map_err(|why| invalid(&format!("Bad DNS TTL '{}': {why}", sent.dns.ttl)))?;
    }
    let service = sent.service;
    let def = QueryDef {
        id,
        name: sent.name,
        template,
        session: sent.session,
        token: sent.token,
        service: service.service,
        nearest,
        datacenters: service.failover.datacenters.unwrap_or_default(),
        only_passing: service.only_passing,
        ignored_checks: service.ignore_check_ids.unwrap_or_default(),
        near: service.near,
        tags: service.tags.unwrap_or_default(),
        node_meta: service.node_meta.unwrap_or_default().into_iter().collect(),
        service_meta: service.service_meta.unwrap_or_default().into_iter().collect(),
        connect: service.connect,
        ttl: sent.dns.ttl,
    };
    // With any name it must come out as some query.
    def.rendered(&def.name).map_err(|why: TemplateError| compiling(why.to_string()))?;
    Ok(def)
}

fn compiling(why: String) -> Failure {
    internal(format!("failed compiling template: {why}"))
}

/// A definition; its token only to whoever may write all of them.
fn shown(query: &PreparedQuery, told_secrets: bool) -> QueryDefinition {
    let def = &query.def;
    let some = |list: &[Arc<str>]| (!list.is_empty()).then(|| list.to_vec());
    let labels = |of: &catalog::Labels| {
        (!of.is_empty()).then(|| of.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    let template = def.template.as_ref().map(|template| QueryTemplate {
        kind: PREFIX_MATCH.into(),
        regexp: template.pattern.clone(),
        remove_empty_tags: template.remove_empty_tags,
    });
    QueryDefinition {
        id: def.id.clone(),
        name: def.name.clone(),
        session: def.session.clone(),
        token: match def.token.is_empty() || told_secrets {
            true => def.token.clone(),
            false => consul::acl::HIDDEN.into(),
        },
        template: template.unwrap_or_default(),
        service: QueryService {
            service: def.service.clone(),
            failover: QueryFailover {
                nearest_n: i32::try_from(def.nearest).unwrap_or(i32::MAX),
                datacenters: some(&def.datacenters),
            },
            only_passing: def.only_passing,
            ignore_check_ids: some(&def.ignored_checks),
            near: def.near.clone(),
            tags: some(&def.tags),
            node_meta: labels(&def.node_meta),
            service_meta: labels(&def.service_meta),
            connect: def.connect,
        },
        dns: QueryDns { ttl: def.ttl.clone() },
        create_index: query.create_index,
        modify_index: query.modify_index,
    }
}
