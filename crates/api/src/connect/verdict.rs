//! What the rules say about somebody who wishes to connect, for programs that ask before they let somebody in.
//!
//! Where a rule matches, it is the answer, whatever the mode. Where none does, the answer is no where rules are
//! enforced, and yes where they are not.

use std::borrow::Cow;
use std::sync::Arc;

use acl::{Resource, Right};
use catalog::Mode;
use consul::connect::{Authorize, Authorized, Checked};
use route::{Caller, Principal};

use super::{MAX_BODY, name_in, needed};
use crate::Api;
use crate::http::{Answer, Failure, Request};
use crate::read::{ReadOptions, Scope, settle, with_fields};
use crate::rules::in_force;

/// `GET connect/intentions/check?source=&destination=`.
pub(crate) async fn check(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let parts = &request.parts;
    let options = ReadOptions::parse(&parts.query, &api.node.datacenter)?;
    if !matches!(parts.query.get("source-type"), None | Some("" | "consul")) {
        return Err(Failure::bad_request("unsupported SourceType: a source is a service"));
    }
    let source = name_in(needed(&parts.query, "source")?)?;
    let destination = name_in(needed(&parts.query, "destination")?)?;
    parts.may(Resource::Service, Right::Read, destination)?;
    let (_, index) = settle(&api, &Scope::Rules, &options).await?;
    let (allowed, _) = verdict(&api, source, destination).await;
    Ok(with_fields(&api, Answer::json_as(&Checked { allowed }, options.pretty)?, index, &options))
}

/// `POST agent/connect/authorize`.
pub(crate) async fn authorize(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let (parts, sent) = request.json::<Authorize>(MAX_BODY).await?;
    if sent.target.is_empty() {
        return Err(Failure::bad_request("Target service must be specified"));
    }
    if sent.client_cert_uri.is_empty() {
        return Err(Failure::bad_request("ClientCertURI is required"));
    }
    if !sent.client_cert_uri.starts_with("spiffe://") {
        return Err(Failure::bad_request(
            "ClientCertURI not a valid SPIFFE identifier: it begins with spiffe://",
        ));
    }
    parts.may(Resource::Service, Right::Write, &sent.target)?;
    let (authorized, reason) = verdict(&api, &sent.client_cert_uri, &sent.target).await;
    Answer::json_as(&Authorized { authorized, reason: reason.into() }, parts.query.has("pretty"))
}

/// Whether one who proved `id` may connect to `service`, and why.
async fn verdict(api: &Api, id: &str, service: &str) -> (bool, String) {
    const BY: &Cow<'static, str> = &Cow::Borrowed("tcp");
    let routes = in_force(api).await;
    let policy = routes.policy();
    let principal = Principal::Identity { id: id.into() };
    let ruling = policy.ruling(&Caller::by(&principal, BY), service);
    match ruling.rule.and_then(|at| policy.rules().shown(at)) {
        Some(rule) => (ruling.allowed, format!("Matched intention: {}", rule.rule)),
        None if policy.mode() == Mode::Enforce => {
            (false, "No rule matches, and where none does the answer is no".to_owned())
        }
        // Consul's words.
        None => (true, "Default behavior configured by ACLs".to_owned()),
    }
}
