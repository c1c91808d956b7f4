//! `acl/roles`, `acl/role`.

use std::sync::Arc;

use catalog::{AclCommand, AclRole};
use consul::acl::Role;

use crate::Api;
use crate::acl_paths::links::{self, checked_name};
use crate::acl_paths::{body, enabled, not_found, shapes, submit};
use crate::http::{Answer, Failure, Parts, Request};
use crate::ids::new_id;
use crate::read::{Scope, View};

/// `GET acl/roles`, with `policy` those that have it.
pub(crate) fn list(parts: &Parts) -> Result<View, Failure> {
    enabled(parts)?;
    let policy = parts.query.given("policy").map(str::to_owned);
    Ok(View::new(Scope::Acl, move |_, lens, pretty| {
        let wanted = |role: &&Arc<AclRole>| {
            policy.as_ref().is_none_or(|id| role.links.policies.iter().any(|other| **other == **id))
        };
        Answer::list(lens.acl().roles().filter(wanted).map(|role| shapes::role(lens.acl(), role)), pretty)
    }))
}

/// `GET acl/role/:id`.
pub(crate) fn show(parts: &Parts) -> Result<View, Failure> {
    enabled(parts)?;
    let id = parts.rest.clone();
    if id.is_empty() {
        return Err(Failure::bad_request("Bad request: Missing role ID"));
    }
    Ok(View::new(Scope::Acl, move |_, lens, pretty| match lens.acl().role(&id) {
        Some(role) => Answer::json_as(&shapes::role(lens.acl(), role), pretty),
        None => Ok(Answer::nothing()),
    }))
}

/// `GET acl/role/name/:name`.
pub(crate) fn by_name(parts: &Parts) -> Result<View, Failure> {
    enabled(parts)?;
    let name = parts.rest.clone();
    if name.is_empty() {
        return Err(Failure::bad_request("Bad request: Missing role Name"));
    }
    Ok(View::new(Scope::Acl, move |_, lens, pretty| match lens.acl().role_named(&name) {
        Some(role) => Answer::json_as(&shapes::role(lens.acl(), role), pretty),
        None => Ok(Answer::nothing()),
    }))
}

/// `PUT acl/role`.
pub(crate) async fn create(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = body::<Role>(&api, request, "Role").await?;
    if !sent.id.is_empty() {
        return Err(Failure::bad_request("Bad request: Cannot specify the ID when creating a new role"));
    }
    put(&api, &parts, new_id()?, sent, true).await
}

/// `PUT acl/role/:id`.
pub(crate) async fn update(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = body::<Role>(&api, request, "Role").await?;
    let id: Arc<str> = parts.rest.as_str().into();
    if !sent.id.is_empty() && sent.id != id {
        return Err(Failure::bad_request("Bad request: Role ID in URL and payload do not match"));
    }
    put(&api, &parts, id, sent, false).await
}

async fn put(api: &Api, parts: &Parts, id: Arc<str>, sent: Role, is_new: bool) -> Result<Answer, Failure> {
    checked_name("Role", &sent.name)?;
    let described = links::Sent {
        on: "role",
        policies: &sent.policies,
        roles: &[],
        services: &sent.service_identities,
        nodes: &sent.node_identities,
    };
    let links = links::read(api.store.now().acl(), &described)?;
    let role = AclRole {
        id: id.clone(),
        name: sent.name,
        description: sent.description,
        links,
        create_index: 0,
        modify_index: 0,
    };
    submit(api, AclCommand::PutRole { role: Box::new(role), is_new }).await?;
    let now = api.store.now();
    let role = now.acl().role(&id).ok_or_else(|| not_found("role"))?;
    Answer::json_as(&shapes::role(now.acl(), role), parts.query.has("pretty"))
}

/// `DELETE acl/role/:id`: also when there is none.
pub(crate) async fn delete(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    enabled(&request.parts)?;
    submit(&api, AclCommand::DeleteRole { id: request.parts.rest.as_str().into() }).await?;
    Ok(Answer::truth(true))
}
