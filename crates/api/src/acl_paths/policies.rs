//! `acl/policies`, `acl/policy`.

use std::sync::Arc;

use catalog::{AclCommand, AclPolicy};
use consul::acl::Policy;

use crate::Api;
use crate::acl_paths::links::checked_name;
use crate::acl_paths::{body, checked_uuid, enabled, not_found, shapes, submit, wrong};
use crate::http::{Answer, Failure, Parts, Request};
use crate::ids::new_id;
use crate::read::{Scope, View};

/// `GET acl/policies`.
pub(crate) fn list(parts: &Parts) -> Result<View, Failure> {
    enabled(parts)?;
    Ok(View::new(Scope::Acl, |_, lens, pretty| {
        Answer::list(lens.acl().policies().map(|policy| shapes::policy_stub(policy)), pretty)
    }))
}

/// `GET acl/policy/:id`.
pub(crate) fn show(parts: &Parts) -> Result<View, Failure> {
    enabled(parts)?;
    let id = parts.rest.clone();
    if id.is_empty() {
        return Err(Failure::bad_request("Bad request: Missing policy ID"));
    }
    checked_uuid("policy", &id)?;
    Ok(View::new(Scope::Acl, move |_, lens, pretty| {
        let policy = lens.acl().policy(&id).ok_or_else(|| not_found("policy"))?;
        Answer::json_as(&shapes::policy(policy), pretty)
    }))
}

/// `GET acl/policy/name/:name`.
pub(crate) fn by_name(parts: &Parts) -> Result<View, Failure> {
    enabled(parts)?;
    let name = parts.rest.clone();
    if name.is_empty() {
        return Err(Failure::bad_request("Bad request: Missing policy Name"));
    }
    Ok(View::new(Scope::Acl, move |_, lens, pretty| {
        let policy = lens.acl().policy_named(&name).ok_or_else(|| not_found("policy"))?;
        Answer::json_as(&shapes::policy(policy), pretty)
    }))
}

/// `PUT acl/policy`.
pub(crate) async fn create(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = body::<Policy>(&api, request, "Policy").await?;
    if !sent.id.is_empty() {
        return Err(Failure::bad_request("Bad request: Cannot specify the ID when creating a new policy"));
    }
    put(&api, &parts, new_id()?, sent, true).await
}

/// `PUT acl/policy/:id`.
pub(crate) async fn update(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = body::<Policy>(&api, request, "Policy").await?;
    let id: Arc<str> = parts.rest.as_str().into();
    if !sent.id.is_empty() && sent.id != id {
        return Err(Failure::bad_request("Bad request: Policy ID in URL and payload do not match"));
    }
    put(&api, &parts, id, sent, false).await
}

async fn put(api: &Api, parts: &Parts, id: Arc<str>, sent: Policy, is_new: bool) -> Result<Answer, Failure> {
    checked_name("Policy", &sent.name)?;
    acl::Rules::parse(&sent.rules).map_err(|why| wrong(why.to_string()))?;
    let policy = AclPolicy {
        id: id.clone(),
        name: sent.name,
        description: sent.description,
        rules: sent.rules,
        datacenters: sent.datacenters,
        create_index: 0,
        modify_index: 0,
    };
    submit(api, AclCommand::PutPolicy { policy: Box::new(policy), is_new }).await?;
    let now = api.store.now();
    let policy = now.acl().policy(&id).ok_or_else(|| not_found("policy"))?;
    Answer::json_as(&shapes::policy(policy), parts.query.has("pretty"))
}

/// `DELETE acl/policy/:id`: also when there is none.
pub(crate) async fn delete(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    enabled(&request.parts)?;
    submit(&api, AclCommand::DeletePolicy { id: request.parts.rest.as_str().into() }).await?;
    Ok(Answer::truth(true))
}
