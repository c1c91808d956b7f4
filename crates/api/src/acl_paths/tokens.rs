//! `acl/tokens`, `acl/token`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use acl::Who;
use catalog::acl::RESERVED;
use catalog::{AclCommand, AclToken, ClusterCommand, Command, Operator};
use consul::acl::{HIDDEN, Token};
use consul::{Text, instant};

use crate::Api;
use crate::access::shown_token;
use crate::acl_paths::{body, checked_uuid, enabled, links, no_token, not_found, shapes, submit, wrong};
use crate::http::{Answer, Failure, Parts, Request};
use crate::ids::new_id;
use crate::read::{Scope, View};

/// Shortest and longest life of a token that ends, in milliseconds, as in Consul.
const LIVES_MS: (u64, u64) = (60_000, 24 * 60 * 60 * 1000);

/// `GET acl/tokens`, with `policy` or `role` those that have it. What `init` made is among them.
pub(crate) fn list(parts: &Parts) -> Result<View, Failure> {
    enabled(parts)?;
    let given = |name| parts.query.given(name).map(str::to_owned);
    let (policy, role) = (given("policy"), given("role"));
    Ok(View::new(Scope::Acl, move |_, lens, pretty| {
        let has = |links: &[Arc<str>], id: &Option<String>| {
            id.as_ref().is_none_or(|id| links.iter().any(|other| **other == **id))
        };
        let tokens = lens
            .acl()
            .tokens()
            .filter(|token| !token.is_expired(lens.time_ms()))
            .filter(|token| has(&token.links.policies, &policy) && has(&token.links.roles, &role))
            .map(|token| shapes::token(lens.acl(), token));
        let management = [catalog::acl::MANAGEMENT.into()];
        let operators = lens.cluster().operators();
        let operators =
            operators.filter(|_| has(&management, &policy) && role.is_none()).map(shapes::operator);
        Answer::list(tokens.chain(operators), pretty)
    }))
}

/// `GET acl/token/:accessor`.
pub(crate) fn show(parts: &Parts) -> Result<View, Failure> {
    enabled(parts)?;
    let id = parts.rest.clone();
    if id.is_empty() {
        return Err(Failure::bad_request("Bad request: Missing token ID"));
    }
    checked_uuid("token", &id)?;
    Ok(View::new(Scope::Acl, move |_, lens, pretty| {
        let living = lens.acl().token(&id).filter(|token| !token.is_expired(lens.time_ms()));
        let token = match living {
            Some(token) => shapes::token(lens.acl(), token),
            None => {
                let mut operators = lens.cluster().operators();
                let found = operators.find(|operator| *shapes::operator_accessor(operator) == *id);
                shapes::operator(found.ok_or_else(|| not_found("token"))?)
            }
        };
        Answer::json_as(&token, pretty)
    }))
}

/// `GET acl/token/self`: the token that was shown, secret and all, since whoever asks knows it.
pub(crate) fn own(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    enabled(parts)?;
    let (now, caller) = (api.store.now(), &parts.caller);
    let token = match caller.principal().who {
        Who::Token => {
            now.acl().token(&caller.principal().accessor).map(|token| shapes::token(now.acl(), token))
        }
        Who::Operator => caller.secret().and_then(|hash| now.cluster().operator(hash)).map(shapes::operator),
        Who::Everybody | Who::Local | Who::Anonymous => None,
    };
    let mut token = token.ok_or_else(no_token)?;
    if let Some(secret) = shown_token(&parts.headers, Some(&parts.query)) {
        token.secret_id = secret.into();
    }
    Answer::json_as(&token, parts.query.has("pretty"))
}

/// `PUT acl/token`.
pub(crate) async fn create(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = body::<Token>(&api, request, "Token").await?;
    let accessor = match sent.accessor_id.is_empty() {
        true => new_id()?,
        false => checked_id("AccessorID", &sent.accessor_id)?,
    };
    let secret = match sent.secret_id.is_empty() {
        true => new_id()?,
        false => checked_id("SecretID", &sent.secret_id)?,
    };
    let now_ms = now_ms(&api);
    let token = AclToken {
        accessor: accessor.clone(),
        secret: acl::hash(&secret),
        expires_ms: end_of_life(&sent, now_ms)?,
        ..described(&api, &sent)?
    };
    submit(&api, AclCommand::PutToken { token: Box::new(token), is_new: true }).await?;
    Answer::json_as(&made(&api, &accessor, &secret)?, parts.query.has("pretty"))
}

/// `PUT acl/token/:accessor` and `PUT acl/token/:accessor/clone`.
pub(crate) async fn update(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = body::<Token>(&api, request, "Token").await?;
    if let Some(accessor) = parts.rest.strip_suffix("/clone") {
        return clone(&api, &parts, accessor, &sent).await;
    }
    if !sent.accessor_id.is_empty() && *sent.accessor_id != *parts.rest {
        return Err(Failure::bad_request("Bad request: Token Accessor ID in URL and payload do not match"));
    }
    let now = api.store.now();
    let known = now.acl().token(&parts.rest);
    let known = known.ok_or_else(|| wrong(format!("Cannot find token {:?}", parts.rest)))?;
    if sent.expiration_ttl.is_some() {
        return Err(wrong("Cannot change expiration time"));
    }
    let is_kept = sent.secret_id.is_empty() || &*sent.secret_id == HIDDEN || &*sent.secret_id == "anonymous";
    let token = AclToken {
        accessor: known.accessor.clone(),
        secret: if is_kept { known.secret } else { acl::hash(&sent.secret_id) },
        expires_ms: match sent.expiration_time.is_empty() {
            true => known.expires_ms,
            false => Some(time(&sent.expiration_time)?),
        },
        ..described(&api, &sent)?
    };
    submit(&api, AclCommand::PutToken { token: Box::new(token), is_new: false }).await?;
    let secret = if is_kept { "" } else { &sent.secret_id };
    Answer::json_as(&made(&api, &parts.rest, secret)?, parts.query.has("pretty"))
}

async fn clone(api: &Api, parts: &Parts, accessor: &str, sent: &Token) -> Result<Answer, Failure> {
    checked_uuid("token", accessor)?;
    let now = api.store.now();
    let known = now.acl().token(accessor).ok_or_else(|| not_found("token"))?;
    let (accessor, secret) = (new_id()?, new_id()?);
    let description = match sent.description.is_empty() {
        true => known.description.clone(),
        false => sent.description.clone(),
    };
    let token =
        AclToken { accessor: accessor.clone(), secret: acl::hash(&secret), description, ..(**known).clone() };
    submit(api, AclCommand::PutToken { token: Box::new(token), is_new: true }).await?;
    Answer::json_as(&made(api, &accessor, &secret)?, parts.query.has("pretty"))
}

/// `DELETE acl/token/:accessor`: also when there is none. What `init` made goes in the same way.
pub(crate) async fn delete(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let parts = &request.parts;
    enabled(parts)?;
    let (now, accessor) = (api.store.now(), parts.rest.as_str());
    let is_operators = |operator: &&Operator| *shapes::operator_accessor(operator) == *accessor;
    let operator = now.cluster().operators().find(is_operators).map(|operator| operator.hash);
    let is_own = parts.caller.principal().accessor[..] == *accessor
        || (operator.is_some() && operator == parts.caller.secret());
    if is_own && !accessor.is_empty() {
        return Err(wrong("Deletion of the request's authorization token is not permitted"));
    }
    checked_uuid("token", accessor)?;
    match operator {
        Some(hash) => {
            let command = ClusterCommand::RemoveOperator { hash };
            api.store.submit(Command::Cluster(command)).await?;
        }
        None => submit(&api, AclCommand::DeleteToken { accessor: accessor.into() }).await?,
    }
    Ok(Answer::truth(true))
}

/// A token as it is answered to whoever made it.
pub(crate) fn made(api: &Api, accessor: &str, secret: &str) -> Result<Token, Failure> {
    let now = api.store.now();
    let mut token = shapes::token(now.acl(), now.acl().token(accessor).ok_or_else(|| not_found("token"))?);
    if !secret.is_empty() {
        token.secret_id = secret.into();
    }
    Ok(token)
}

/// Everything of a token that does not say which it is.
fn described(api: &Api, sent: &Token) -> Result<AclToken, Failure> {
    if !sent.auth_method.is_empty() {
        return Err(wrong("AuthMethod field is disallowed outside of Login"));
    }
    let described = links::Sent {
        on: "token",
        policies: &sent.policies,
        roles: &sent.roles,
        services: &sent.service_identities,
        nodes: &sent.node_identities,
    };
    Ok(AclToken {
        accessor: "".into(),
        secret: catalog::KeyHash([0; 32]),
        description: sent.description.clone(),
        links: links::read(api.store.now().acl(), &described)?,
        local: sent.local,
        expires_ms: None,
        created_ms: 0,
        create_index: 0,
        modify_index: 0,
    })
}

/// A UUID that is not reserved.
pub(crate) fn checked_id(field: &str, id: &Text) -> Result<Text, Failure> {
    let is_dash = |at| matches!(at, 8 | 13 | 18 | 23);
    let is_right =
        |(at, byte): (usize, u8)| if is_dash(at) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    if id.len() != 36 || !id.bytes().enumerate().all(is_right) {
        return Err(wrong(format!("Invalid Token: {field} is not a valid UUID")));
    }
    if id.starts_with(RESERVED) {
        return Err(wrong(format!("Invalid Token: UUIDs with the prefix {RESERVED:?} are reserved")));
    }
    Ok(id.clone())
}

fn end_of_life(sent: &Token, now_ms: u64) -> Result<Option<u64>, Failure> {
    let end = match (&sent.expiration_ttl, sent.expiration_time.is_empty()) {
        (None, true) => return Ok(None),
        (Some(_), false) => {
            return Err(wrong("Token Expiration TTL and Expiration Time cannot both be set"));
        }
        (None, false) => time(&sent.expiration_time)?,
        (Some(ttl), true) => {
            let not_above = |shown| wrong(format!("Token Expiration TTL '{shown}' should be > 0"));
            match ttl.read().map_err(not_above)?.as_ms() {
                0 => return Ok(None),
                ms => now_ms.saturating_add(ms),
            }
        }
    };
    if end < now_ms {
        return Err(wrong("ExpirationTime cannot be before CreateTime"));
    }
    let (shown, bound) = (|ms| consul::GoDuration::from_ms(ms).to_string(), LIVES_MS);
    match end - now_ms {
        life if life < bound.0 => Err(wrong(format!(
            "ExpirationTime cannot be less than {} in the future (was {})",
            shown(bound.0),
            shown(life)
        ))),
        life if life > bound.1 => Err(wrong(format!(
            "ExpirationTime cannot be more than {} in the future (was {})",
            shown(bound.1),
            shown(life)
        ))),
        _ => Ok(Some(end)),
    }
}

fn time(text: &str) -> Result<u64, Failure> {
    let refuse = || {
        Failure::bad_request(format!("Bad request: Token decoding failed: {text:?} is no time (RFC 3339)"))
    };
    instant::read(text).ok_or_else(refuse)
}

/// The clock, or the newest time in the agreed order where that is ahead of it.
fn now_ms(api: &Api) -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(clock.as_millis()).unwrap_or(u64::MAX).max(api.store.now().time_ms())
}
