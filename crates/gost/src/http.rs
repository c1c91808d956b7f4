//! The HTTP spelling: `/sd` and `/ingress`, one path each, the method is the verb.
//!
//! GOST accepts status 200 only, so every success is 200 with a body; the content type of a request is not
//! looked at, because curl's default is a form's.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Body;
use serde::Deserialize;
use serde_json::json;

use crate::discovery::{Discovery, Fault};
use crate::reply::{BodyError, Reply, Token, collect, full};

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    Discovery,
    Ingress,
}

/// Splits a path into its resource and the secret behind it.
pub(crate) fn resource(path: &str) -> Option<(Resource, &str)> {
    let path = path.trim_end_matches('/');
    let (first, secret) = path.strip_prefix('/')?.split_once('/').unwrap_or((path.get(1..)?, ""));
    match first {
        "sd" => Some((Resource::Discovery, secret)),
        "ingress" => Some((Resource::Ingress, secret)),
        _ => None,
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rule {
    host: String,
    endpoint: String,
}

/// An answer other than success.
struct Refused(StatusCode, String);

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        let status = match fault {
            Fault::Invalid(_) => StatusCode::BAD_REQUEST,
            Fault::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refused(status, fault.to_string())
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Refused {
        let status = match error {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Slow => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken(_) => StatusCode::BAD_REQUEST,
        };
        Refused(status, error.sentence())
    }
}

/// Answers one request.
pub(crate) async fn handle<B>(
    discovery: &Discovery,
    token: Option<&Token>,
    request: Request<B>,
    caller: IpAddr,
) -> Response<Reply>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some((resource, secret)) = resource(request.uri().path()) else {
        return refuse(Refused(StatusCode::NOT_FOUND, "the paths here are /sd and /ingress".into()));
    };
    let shown = bearer(&request).unwrap_or(secret);
    if token.is_some_and(|token| !token.is(shown)) {
        return refuse(Refused(StatusCode::UNAUTHORIZED, "the token is missing or wrong".into()));
    }
    let answer = match resource {
        Resource::Discovery => discover(discovery, request, caller).await,
        Resource::Ingress => ingress(discovery, request).await,
    };
    answer.unwrap_or_else(refuse)
}

fn bearer<B>(request: &Request<B>) -> Option<&str> {
    request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

async fn discover<B>(
    discovery: &Discovery,
    request: Request<B>,
    caller: IpAddr,
) -> Result<Response<Reply>, Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let ok = match *request.method() {
        Method::GET => {
            let name = parameter(&request, "name").unwrap_or_default();
            return Ok(json_reply(&json!({ "services": discovery.get(&name, caller) })));
        }
        Method::POST => discovery.register(&read(request).await?, caller).await.map(|()| true)?,
        Method::PUT => discovery.renew(&read(request).await?)?,
        Method::DELETE => discovery.deregister(&read(request).await?).await.map(|()| true)?,
        _ => return Ok(not_allowed("GET, POST, PUT, DELETE")),
    };
    Ok(json_reply(&json!({ "ok": ok })))
}

async fn ingress<B>(discovery: &Discovery, request: Request<B>) -> Result<Response<Reply>, Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match *request.method() {
        Method::GET => {
            let host = parameter(&request, "host").unwrap_or_default();
            Ok(json_reply(&json!({ "endpoint": discovery.rule(&host) })))
        }
        Method::PUT => {
            let rule: Rule = read(request).await?;
            discovery.set_rule(&rule.host, &rule.endpoint).await?;
            Ok(json_reply(&json!({ "ok": true })))
        }
        _ => Ok(not_allowed("GET, PUT")),
    }
}

/// A JSON body of any content type.
async fn read<B, T: serde::de::DeserializeOwned>(request: Request<B>) -> Result<T, Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = collect(request.into_body()).await?;
    serde_json::from_slice(&body).map_err(|error| {
        // serde_json's sentence ends with the line and column.
        Refused(StatusCode::BAD_REQUEST, format!("the body is not the JSON expected here: {error}"))
    })
}

/// One query parameter, decoded.
fn parameter<B>(request: &Request<B>, name: &str) -> Option<String> {
    let pairs = request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(other, _)| *other == name)?;
    Some(percent_decode(value))
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| after.get(..2)).flatten();
        let code = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        (rest, _) = match code {
            Some(code) => (&after[2..], bytes.push(code)),
            None => (after, bytes.push(if byte == b'+' { b' ' } else { byte })),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn json_reply(value: &serde_json::Value) -> Response<Reply> {
    reply(StatusCode::OK, "application/json", value.to_string())
}

fn refuse(Refused(status, sentence): Refused) -> Response<Reply> {
    reply(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
}

fn not_allowed(methods: &'static str) -> Response<Reply> {
    let refused = Refused(StatusCode::METHOD_NOT_ALLOWED, format!("the methods here are {methods}"));
    let mut response = refuse(refused);
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(methods));
    response
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response<Reply> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
