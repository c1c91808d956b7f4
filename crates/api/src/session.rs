//! `session/*`: who may hold locks on keys, and for how long.

use std::sync::Arc;
use std::time::Instant;

use acl::{Resource, Right};
use catalog::{Behavior, Command, Outcome, Refusal, Session, SessionCommand, SessionDef};
use consul::GoDuration;
use consul::session::{SessionCheck, SessionCreated, SessionEntry, SessionRequest};
use http::StatusCode;
use lease::RenewError;

use crate::Api;
use crate::catalog_paths::named;
use crate::http::{Answer, Failure, Parts, Request, decode};
use crate::ids::new_id;
use crate::plan::NODE_ALIVE;
use crate::read::{Scope, View, check_datacenter, check_tenancy};

/// `PUT session/create`, with or without a body.
pub(crate) async fn create(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    check(&api, &request.parts)?;
    let (parts, body) = request.body(api.config.max_body()).await?;
    let sent = if body.is_empty() { SessionRequest::default() } else { decode(&body)? };
    let def = definition(sent, &api.node.name)?;
    parts.may(Resource::Session, Right::Write, &def.node)?;
    let id = def.id.clone();
    let command = Command::Session(SessionCommand::Create(Box::new(def)));
    match api.store.propose(command).await?.outcome {
        Outcome::Refused(refusal) => Err(refused(refusal)),
        _ => Answer::json_as(&SessionCreated { id }, parts.query.has("pretty")),
    }
}

fn definition(sent: SessionRequest, node: &Arc<str>) -> Result<SessionDef, Failure> {
    let lock_delay_ms = GoDuration(sent.lock_delay()).as_ms();
    let behavior = match &*sent.behavior {
        "" | "release" => Behavior::Release,
        "delete" => Behavior::Delete,
        other => return Err(internal(format!("Invalid Behavior setting '{other}'"))),
    };
    let alive = || vec![NODE_ALIVE.into()];
    let node_checks = match (sent.node_checks, sent.checks) {
        (None, None) => alive(),
        (some, older) => some.into_iter().chain(older).flatten().collect(),
    };
    let service_checks = sent.service_checks.unwrap_or_default();
    Ok(SessionDef {
        id: new_id()?,
        name: sent.name,
        node: if sent.node.is_empty() { node.clone() } else { sent.node },
        node_checks,
        service_checks: service_checks.into_iter().map(|check| check.id).collect(),
        behavior,
        ttl_ms: term(&sent.ttl)?,
        lock_delay_ms,
    })
}

/// Zero is no term at all, as in Consul.
fn term(text: &str) -> Result<Option<u64>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let term =
        GoDuration::parse(text).map_err(|why| internal(format!("Session TTL '{text}' invalid: {why}")))?;
    let bounds = catalog::session::MIN_TTL_MS..=catalog::session::MAX_TTL_MS;
    match term.as_ms() {
        0 => Ok(None),
        ms if bounds.contains(&ms) => Ok(Some(ms)),
        _ => {
            let nanoseconds = term.0.as_nanos();
            Err(internal(format!("Invalid Session TTL '{nanoseconds}', must be between [10s=24h0m0s]")))
        }
    }
}

/// Consul answers 500 to all of these.
fn internal(message: String) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

fn refused(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::UnknownNode(_) => internal("Missing node registration".to_owned()),
        Refusal::UnknownCheck { id, .. } => internal(format!("Missing check '{id}' registration")),
        Refusal::CriticalCheck { id } => internal(format!("Check '{id}' is in critical state")),
        other => other.into(),
    }
}

/// `PUT session/destroy/:id`: also when there is no such session.
pub(crate) async fn destroy(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    check(&api, &request.parts)?;
    let id = named(&request.parts, "session")?;
    may_write(&api, &request.parts, &id)?;
    api.store.submit(Command::Session(SessionCommand::End { id, claimed_index: None })).await?;
    Ok(Answer::truth(true))
}

/// `PUT session/renew/:id`: costs no write, unless another node kept its lease until now.
pub(crate) async fn renew(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    check(&api, &request.parts)?;
    let id = named(&request.parts, "session")?;
    may_write(&api, &request.parts, &id)?;
    let unknown = || Failure::not_found(format!("Session id '{id}' not found"));
    let try_renew = || api.leases.renew_session(&api.store.now(), &id, Instant::now());
    let mut renewed = try_renew();
    if let Err(RenewError::Elsewhere { .. }) = renewed {
        let claim = Command::Session(SessionCommand::Claim { id: id.clone() });
        match api.store.propose(claim).await?.outcome {
            Outcome::Refused(Refusal::UnknownSession(_)) => return Err(unknown()),
            Outcome::Refused(refusal) => return Err(refusal.into()),
            _ => renewed = try_renew(),
        }
    }
    renewed.map_err(|_| unknown())?;
    let now = api.store.now();
    let session = now.session(&id).ok_or_else(unknown)?;
    Answer::json_as(&[entry(session)], request.parts.query.has("pretty"))
}

/// Judges by the session's node. One that is not there is nobody's, and nothing is told about it that its id does
/// not tell.
fn may_write(api: &Api, parts: &Parts, id: &str) -> Result<(), Failure> {
    match api.store.now().session(id) {
        Some(session) => parts.may(Resource::Session, Right::Write, &session.def.node),
        None => {
            parts.caller.has_asked();
            Ok(())
        }
    }
}

fn check(api: &Api, parts: &Parts) -> Result<(), Failure> {
    check_tenancy(&parts.query)?;
    check_datacenter(parts.query.get("dc"), &api.node.datacenter)
}

/// `GET session/info/:id`: a list of one or none.
pub(crate) fn info(parts: &Parts) -> Result<View, Failure> {
    let id = named(parts, "session")?;
    Ok(View::new(Scope::Sessions, move |_, lens, pretty| {
        Answer::list(lens.session(&id).into_iter().map(|session| entry(session)), pretty)
    }))
}

/// `GET session/node/:node`.
pub(crate) fn on_node(parts: &Parts) -> Result<View, Failure> {
    let name = named(parts, "node name")?;
    Ok(View::new(Scope::Sessions, move |_, lens, pretty| {
        Answer::list(lens.sessions_on(&name).map(|session| entry(session)), pretty)
    }))
}

/// `GET session/list`.
pub(crate) fn list(_: &Parts) -> Result<View, Failure> {
    Ok(View::new(Scope::Sessions, |_, lens, pretty| {
        Answer::list(lens.sessions().map(|session| entry(session)), pretty)
    }))
}

fn entry(session: &Session) -> SessionEntry {
    let def = &session.def;
    let checks = def.service_checks.iter().map(|id| SessionCheck { id: id.clone(), namespace: "".into() });
    SessionEntry {
        id: def.id.clone(),
        name: def.name.clone(),
        node: def.node.clone(),
        lock_delay: def.lock_delay_ms.saturating_mul(1_000_000),
        behavior: match def.behavior {
            Behavior::Release => "release".into(),
            Behavior::Delete => "delete".into(),
        },
        ttl: def.ttl_ms.map(|ms| GoDuration::from_ms(ms).to_string().into()).unwrap_or_default(),
        node_checks: def.node_checks.clone(),
        service_checks: (!def.service_checks.is_empty()).then(|| checks.collect()),
        create_index: session.create_index,
        modify_index: session.create_index,
    }
}
