//! `portolan/*` of the cluster: who is in it, how it does, and what an operator wishes of it. What comes of a
//! wish is decided elsewhere; here is only how it is asked.

use std::sync::Arc;

use acl::Resource;
use consul::own::{InitRequest, JoinRequest, TokenRequest};
use http::StatusCode;
use serde::de::DeserializeOwned;

use crate::Api;
use crate::http::{Answer, Failure, Parts, Request, decode};
use crate::inputs::{Refused, Wish};

/// Bodies here are a few words.
const MAX_BODY: usize = 64 << 10;

/// `GET portolan/members`.
pub(crate) fn members(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    // Also where this node is alone, and there is nobody to ask about.
    parts.caller.has_asked();
    let members = api.cluster.members().into_iter();
    let shown = members.filter(|member| parts.caller.sees(Resource::Node, &member.name));
    Answer::list(shown, parts.query.has("pretty"))
}

/// `GET portolan/status`, with `?all` as every member sees it.
pub(crate) async fn status(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let query = &request.parts.query;
    Answer::json_as(&api.cluster.status(query.has("all")).await, query.has("pretty"))
}

/// `GET portolan/tokens`.
pub(crate) fn tokens(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    Answer::json_as(&api.cluster.tokens(), parts.query.has("pretty"))
}

pub(crate) async fn init(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let wish = Wish::Init(body::<InitRequest>(request).await?.1);
    carry_out(&api, wish).await
}

pub(crate) async fn join(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let wish = Wish::Join(body::<JoinRequest>(request).await?.1);
    carry_out(&api, wish).await
}

pub(crate) async fn create_token(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let wish = Wish::CreateToken(body::<TokenRequest>(request).await?.1);
    carry_out(&api, wish).await
}

pub(crate) async fn revoke_token(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    carry_out(&api, Wish::RevokeToken(named(&request)?)).await
}

pub(crate) async fn remove(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    carry_out(&api, Wish::Remove(named(&request)?)).await
}

pub(crate) async fn leave(api: Arc<Api>, _: Request) -> Result<Answer, Failure> {
    carry_out(&api, Wish::Leave).await
}

pub(crate) async fn rotate(api: Arc<Api>, _: Request) -> Result<Answer, Failure> {
    carry_out(&api, Wish::RotateRoot).await
}

pub(crate) async fn deny(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    carry_out(&api, Wish::Deny(named(&request)?)).await
}

pub(crate) async fn allow(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    carry_out(&api, Wish::Allow(named(&request)?)).await
}

fn named(request: &Request) -> Result<consul::Text, Failure> {
    match request.parts.rest.as_str() {
        "" => Err(Failure::bad_request("a name is missing at the end of the path")),
        name => Ok(name.into()),
    }
}

/// Reads a body; none at all asks for the defaults.
async fn body<T: DeserializeOwned + Default>(request: Request) -> Result<(Parts, T), Failure> {
    let (parts, bytes) = request.body(MAX_BODY).await?;
    let sent = if bytes.is_empty() { T::default() } else { decode(&bytes)? };
    Ok((parts, sent))
}

async fn carry_out(api: &Api, wish: Wish) -> Result<Answer, Failure> {
    match api.cluster.carry_out(wish).await {
        Ok(answer) => Answer::json(&answer),
        Err(refused) => Err(refused.into()),
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        let (status, message) = match refused {
            Refused::Wrong(message) => (StatusCode::BAD_REQUEST, message),
            Refused::Unknown(message) => (StatusCode::NOT_FOUND, message),
            Refused::Conflict(message) => (StatusCode::CONFLICT, message),
            Refused::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
        };
        Failure::new(status, message)
    }
}
