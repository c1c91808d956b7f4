//! Answers: a status, a body that is shared when many get the same, the few header fields that Consul sets.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{Either, Full};
use serde::Serialize;

use crate::http::Failure;

/// What goes to hyper.
pub(crate) type Reply = Response<Either<Full<Bytes>, BoxBody<Bytes, Infallible>>>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Status, type and body; cloning shares the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: Bytes,
    /// Further header fields. Nothing is allocated before the first.
    pub(crate) fields: HeaderMap,
}

impl Answer {
    /// 200 without a body.
    pub(crate) fn empty() -> Answer {
        Answer { status: StatusCode::OK, content_type: None, body: Bytes::new(), fields: HeaderMap::new() }
    }

    /// 200 with JSON.
    pub(crate) fn json(value: &impl Serialize) -> Result<Answer, Failure> {
        Answer::json_as(value, false)
    }

    /// 200 with JSON, indented when `pretty`.
    pub(crate) fn json_as(value: &impl Serialize, pretty: bool) -> Result<Answer, Failure> {
        let written = match pretty {
            true => serde_json::to_vec_pretty(value),
            false => serde_json::to_vec(value),
        };
        let mut body = written
            .map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("write the answer: {e}")))?;
        body.push(b'\n');
        Ok(Answer { content_type: Some(JSON), body: body.into(), ..Answer::empty() })
    }

    /// 200 with a bare `true` or `false`, as writes to keys and to the catalog are answered.
    pub(crate) fn truth(value: bool) -> Answer {
        let body = Bytes::from_static(if value { b"true" } else { b"false" });
        Answer { content_type: Some(JSON), body, ..Answer::empty() }
    }

    /// 200 with plain text.
    pub(crate) fn text(body: impl Into<Bytes>) -> Answer {
        Answer { content_type: Some(TEXT), body: body.into(), ..Answer::empty() }
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Answer {
        self.status = status;
        self
    }

    pub(crate) fn with_type(mut self, content_type: &'static str) -> Answer {
        self.content_type = Some(HeaderValue::from_static(content_type));
        self
    }

    /// Adds a field; a value that is no header value is left out.
    pub(crate) fn with_field(mut self, name: &'static str, value: impl TryInto<HeaderValue>) -> Answer {
        if let Ok(value) = value.try_into() {
            self.fields.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// The answer to `HEAD`: all but the body.
    pub(crate) fn without_body(mut self) -> Answer {
        self.fields.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        self.body = Bytes::new();
        self
    }

    pub(crate) fn into_reply(self) -> Reply {
        let mut reply = Response::new(Either::Left(Full::new(self.body)));
        *reply.status_mut() = self.status;
        *reply.headers_mut() = self.fields;
        if let Some(content_type) = self.content_type {
            reply.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        reply
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Answer {
        let mut answer = Answer::text(failure.message).with_status(failure.status);
        if let Some(allow) = failure.allow.and_then(|methods| HeaderValue::try_from(methods).ok()) {
            answer.fields.insert(ALLOW, allow);
        }
        answer
    }
}
