//! Answers of our own: short plain text with a reason, or a gRPC status where gRPC asked.

use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use relay::http::{Body, SendError};
use route::Denial;

use super::manner;
use super::refusal::Refusal;
use crate::metrics::{Metrics, Miss};

/// Turns a request away.
pub(crate) fn refuse(metrics: &Metrics, refusal: Refusal) -> Response<Body> {
    metrics.refused(refusal);
    let mut response = text(refusal.status(), refusal.text());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Why the name leads nowhere, or may not be followed. Which rule says so is for the log: it tells of the inside.
pub(crate) fn denied(metrics: &Metrics, denial: &Denial, grpc: bool) -> Response<Body> {
    metrics.denied(denial);
    let status = match denial {
        Denial::UnknownService { .. } => StatusCode::NOT_FOUND,
        Denial::NoEndpoint { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Denial::Circle { .. } => StatusCode::LOOP_DETECTED,
        Denial::OtherScheme { .. } => StatusCode::NOT_IMPLEMENTED,
        Denial::Forbidden { service, .. } => {
            let reason = format!("you may not reach service \"{service}\"");
            return say(StatusCode::FORBIDDEN, &reason, grpc);
        }
    };
    say(status, &denial.to_string(), grpc)
}

/// No route at all.
pub(crate) fn no_route(metrics: &Metrics, host: &str, path: &str, grpc: bool) -> Response<Body> {
    metrics.missed(Miss::UnknownService);
    let reason = format!(
        "no rule matches host \"{host}\" and path \"{path}\", and no service named \"{host}\" is registered"
    );
    say(StatusCode::NOT_FOUND, &reason, grpc)
}

/// The endpoints failed.
pub(crate) fn failed(metrics: &Metrics, error: &SendError, grpc: bool) -> Response<Body> {
    let (status, miss) = match error {
        SendError::Unreachable(unreachable) if unreachable.timed_out() => {
            (StatusCode::GATEWAY_TIMEOUT, Miss::Unreachable)
        }
        SendError::Unreachable(_) => (StatusCode::BAD_GATEWAY, Miss::Unreachable),
        SendError::Failed { .. } => (StatusCode::BAD_GATEWAY, Miss::Failed),
        SendError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, Miss::TimedOut),
    };
    metrics.missed(miss);
    say(status, &error.to_string(), grpc)
}

/// Too many requests for the route's rate.
pub(crate) fn limited(metrics: &Metrics, wait: Duration, grpc: bool) -> Response<Body> {
    metrics.missed(Miss::Limited);
    let mut response = say(StatusCode::TOO_MANY_REQUESTS, "too many requests", grpc);
    manner::retry_after(&mut response, wait);
    response
}

/// The route's time is over.
pub(crate) fn too_slow(metrics: &Metrics, limit: Duration, grpc: bool) -> Response<Body> {
    metrics.missed(Miss::TimedOut);
    let reason = format!("no answer within the {} s of the route", limit.as_secs_f32());
    say(StatusCode::GATEWAY_TIMEOUT, &reason, grpc)
}

fn say(status: StatusCode, reason: &str, grpc: bool) -> Response<Body> {
    if grpc { grpc_status(status, reason) } else { text(status, reason) }
}

fn text(status: StatusCode, reason: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{}: {reason}\n", status.as_u16())));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// An answer that is only trailers, sent as headers: how gRPC says that a call failed (its protocol over
/// HTTP/2, "Responses").
fn grpc_status(status: StatusCode, reason: &str) -> Response<Body> {
    let code = match status {
        StatusCode::NOT_FOUND => "12",
        StatusCode::FORBIDDEN => "7",
        StatusCode::GATEWAY_TIMEOUT => "4",
        StatusCode::TOO_MANY_REQUESTS => "8",
        _ => "14",
    };
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static(code));
    // Percent-encoded, as the protocol wants it.
    let escaped: String = reason
        .bytes()
        .map(|byte| match byte {
            b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    if let Ok(message) = HeaderValue::from_str(&escaped) {
        headers.insert(HeaderName::from_static("grpc-message"), message);
    }
    response
}

/// True when gRPC asks.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    is_grpc_type(request.headers())
}

fn is_grpc_type(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

/// The server switched protocols without being asked, or without saying to what.
pub(crate) fn broken_upgrade(metrics: &Metrics) -> Response<Body> {
    metrics.missed(Miss::Failed);
    text(StatusCode::BAD_GATEWAY, "the server switched protocols without being asked to")
}
