//! The gRPC spelling: `proto.SD` and `proto.Ingress`, unary, over HTTP/2 with or without TLS.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use hyper::body::{Body, Frame};

use crate::discovery::{Discovery, Fault};
use crate::reply::{BodyError, Reply, Token, collect, frames, full};
use crate::wire::{self, Fields};

/// gRPC's status codes that are used here.
#[derive(Debug, Clone, Copy)]
enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// A status other than OK.
struct Refused(Code, String);

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        let code = match fault {
            Fault::Invalid(_) => Code::InvalidArgument,
            Fault::Unavailable(_) => Code::Unavailable,
        };
        Refused(code, fault.to_string())
    }
}

impl From<&'static str> for Refused {
    fn from(sentence: &'static str) -> Refused {
        Refused(Code::InvalidArgument, sentence.to_owned())
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Refused {
        let code = match error {
            BodyError::TooLarge => Code::ResourceExhausted,
            BodyError::Slow => Code::DeadlineExceeded,
            BodyError::Broken(_) => Code::InvalidArgument,
        };
        Refused(code, error.sentence())
    }
}

/// True when a request is gRPC's to answer.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Answers one call.
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
    match answer(discovery, token, request, caller).await {
        Ok(message) => success(&message),
        Err(refused) => failure(&refused),
    }
}

async fn answer<B>(
    discovery: &Discovery,
    token: Option<&Token>,
    request: Request<B>,
    caller: IpAddr,
) -> Result<Vec<u8>, Refused>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let shown = request.headers().get("token").and_then(|value| value.to_str().ok()).unwrap_or("");
    if token.is_some_and(|token| !token.is(shown)) {
        return Err(Refused(Code::Unauthenticated, "the token is missing or wrong".into()));
    }
    let call = request.uri().path().to_owned();
    if request.method() != Method::POST {
        return Err(Refused(Code::Unimplemented, "gRPC calls are POST requests".into()));
    }
    let body = collect(request.into_body()).await?;
    let fields = Fields::read(wire::unframe(&body)?)?;
    match &*call {
        "/proto.SD/Register" => {
            discovery.register(&fields.tunnel()?, caller).await?;
            Ok(wire::ok(true))
        }
        "/proto.SD/Renew" => Ok(wire::ok(discovery.renew(&fields.tunnel()?)?)),
        "/proto.SD/Deregister" => {
            discovery.deregister(&fields.tunnel()?).await?;
            Ok(wire::ok(true))
        }
        "/proto.SD/Get" => Ok(wire::services(&discovery.get(&fields.text(1)?, caller))),
        "/proto.Ingress/GetRule" => Ok(wire::text(&discovery.rule(&fields.text(1)?))),
        "/proto.Ingress/SetRule" => {
            discovery.set_rule(&fields.text(1)?, &fields.text(2)?).await?;
            Ok(wire::ok(true))
        }
        _ => Err(Refused(Code::Unimplemented, format!("there is no method {call} here"))),
    }
}

fn success(message: &[u8]) -> Response<Reply> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = frames(vec![Frame::data(wire::frame(message)), Frame::trailers(trailers)]);
    grpc(Response::new(body))
}

/// "Trailers-Only": the status in the head, no message. The head must end the stream: before a frame of data, even
/// of none, clients take it for the head of an answer whose trailers are missing.
fn failure(Refused(code, sentence): &Refused) -> Response<Reply> {
    let mut response = grpc(Response::new(full(Bytes::new())));
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(*code as u16));
    if let Ok(sentence) = HeaderValue::from_str(&percent_encode(sentence)) {
        headers.insert("grpc-message", sentence);
    }
    response
}

fn grpc(mut response: Response<Reply>) -> Response<Reply> {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// gRPC's "Percent-Encoded" form of a status message.
fn percent_encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use hyper::body::Body;

    use super::{Code, Refused, failure};

    #[test]
    fn the_head_of_a_refusal_ends_the_stream() {
        let refusal = failure(&Refused(Code::InvalidArgument, "name is missing".into()));
        assert_eq!(refusal.headers()["grpc-message"], "name is missing");
        assert!(refusal.body().is_end_stream());
    }
}
