//! A request on its way out: in the form of the protocol that its endpoint speaks, and kept for another
//! attempt where there may be one.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderValue, TE, UPGRADE};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};

use super::body::Body;
use super::head;

/// A request to send. Hop-by-hop fields are gone, but for `Upgrade` and `TE: trailers` where they are meant
/// for the endpoint too; `Connection` is written here.
#[derive(Debug)]
pub struct Outgoing {
    /// The request in HTTP/1.1's form: path and query as URI, and a `Host` field.
    pub request: Request<Body>,
    /// Speak HTTP/2 even where the endpoint does not say that it does.
    pub prefer_http2: bool,
    /// How long the answer's head may take.
    pub timeout: Option<Duration>,
    /// How long connecting to one endpoint may take, where that is not as for everybody.
    pub connect_timeout: Option<Duration>,
    /// Most endpoints tried, where that is not as for everybody.
    pub attempts: Option<usize>,
    /// Answers with one of these are asked for again elsewhere, where the request may be repeated.
    pub retry_statuses: Arc<[u16]>,
    /// What decides the endpoint.
    pub key: Option<u64>,
    /// A request without a body may be written by hand to an endpoint that speaks HTTP/1.1, and not by hyper.
    pub by_hand: bool,
}

impl Outgoing {
    /// A request with nothing special about it.
    pub fn new(request: Request<Body>) -> Outgoing {
        Outgoing {
            request,
            prefer_http2: false,
            timeout: None,
            connect_timeout: None,
            attempts: None,
            retry_statuses: Arc::default(),
            key: None,
            by_hand: true,
        }
    }
}

/// The request between attempts.
pub(super) struct Store {
    /// `None` while it is out.
    request: Option<Request<Body>>,
    /// It may be sent again even when it was sent: nothing that it does adds up, and its body is empty.
    pub(super) repeatable: bool,
    pub(super) upgrades: bool,
    pub(super) prefer_http2: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) connect_timeout: Option<Duration>,
    retry_statuses: Arc<[u16]>,
    by_hand: bool,
}

impl Store {
    pub(super) fn new(outgoing: Outgoing) -> Store {
        let Outgoing { request, prefer_http2, timeout, connect_timeout, retry_statuses, by_hand, .. } =
            outgoing;
        let upgrades = request.headers().contains_key(UPGRADE);
        let repeatable = request.method().is_idempotent() && request.body().is_empty() && !upgrades;
        let request = Some(request);
        Store {
            request,
            repeatable,
            upgrades,
            prefer_http2,
            timeout,
            connect_timeout,
            retry_statuses,
            by_hand,
        }
    }

    /// Whether an answer with this status should be asked for again.
    pub(super) fn dislikes(&self, status: StatusCode) -> bool {
        self.repeatable && self.retry_statuses.contains(&status.as_u16())
    }

    /// The whole of the request as it is written by hand to an HTTP/1.1 connection, and whether its answer has no body;
    /// `None` where that is hyper's work.
    pub(super) fn by_hand(&self) -> Option<(Vec<u8>, bool)> {
        let request = self.request.as_ref().filter(|_| self.by_hand && self.repeatable)?;
        let text = head::written(request)?;
        Some((text, request.method() == Method::HEAD))
    }

    /// The request for HTTP/1.1; `None` when it was sent and may not be again.
    pub(super) fn take_http1(&mut self) -> Option<Request<Body>> {
        self.take().map(into_http1)
    }

    /// The same for HTTP/2.
    pub(super) fn take_http2(&mut self, scheme: Scheme) -> Option<Request<Body>> {
        self.take().map(|request| into_http2(request, scheme))
    }

    fn take(&mut self) -> Option<Request<Body>> {
        match self.repeatable {
            true => self.request.as_ref().map(copy),
            false => self.request.take(),
        }
    }

    /// Takes back what was not sent.
    pub(super) fn put_back(&mut self, request: Request<Body>) {
        self.request = Some(request);
    }
}

fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn into_http1(mut request: Request<Body>) -> Request<Body> {
    if request.version() == Version::HTTP_2 {
        let uri = std::mem::take(request.uri_mut()).into_parts();
        if let Some(host) = uri.authority.and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
            request.headers_mut().insert(HOST, host);
        }
        *request.uri_mut() = uri.path_and_query.map(Uri::from).unwrap_or_default();
    }
    *request.version_mut() = Version::HTTP_11;
    if let Some(nominated) = nominated(request.headers()) {
        request.headers_mut().insert(CONNECTION, nominated);
    }
    request
}

fn nominated(headers: &HeaderMap) -> Option<HeaderValue> {
    match (headers.contains_key(UPGRADE), headers.contains_key(TE)) {
        (true, _) => Some(HeaderValue::from_static("upgrade")),
        (_, true) => Some(HeaderValue::from_static("te")),
        _ => None,
    }
}

/// Scheme and authority go into the URI; there is no `Host` and no `Connection` (RFC 9113 section 8.2.2).
fn into_http2(mut request: Request<Body>, scheme: Scheme) -> Request<Body> {
    request.headers_mut().remove(CONNECTION);
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(HOST);
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok()).or(uri.authority.take());
    uri.scheme = Some(scheme);
    uri.authority = Some(authority.unwrap_or_else(|| Authority::from_static("localhost")));
    if let Ok(uri) = Uri::from_parts(uri) {
        *request.uri_mut() = uri;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(method: &str, body: Body) -> Outgoing {
        let request =
            Request::builder().method(method).uri("/a?b").header(HOST, "web:81").header(TE, "trailers");
        Outgoing::new(request.body(body).unwrap())
    }

    #[test]
    fn changes_form_there_and_back() {
        let mut store = Store::new(outgoing("POST", Body::from(String::from("x"))));
        let two = store.take_http2(Scheme::HTTP).unwrap();
        assert_eq!(two.uri(), "http://web:81/a?b");
        assert!(!two.headers().contains_key(HOST) && !two.headers().contains_key(CONNECTION));
        assert!(store.take_http2(Scheme::HTTP).is_none(), "its body is out");
        store.put_back(two);
        let one = store.take_http1().unwrap();
        assert_eq!(one.uri(), "/a?b");
        assert_eq!(
            (&one.headers()[HOST], &one.headers()[CONNECTION]),
            (&"web:81".parse().unwrap(), &"te".parse().unwrap())
        );
    }

    #[test]
    fn only_what_does_not_add_up_is_repeated() {
        assert!(Store::new(outgoing("GET", Body::empty())).repeatable);
        assert!(!Store::new(outgoing("POST", Body::empty())).repeatable);
        assert!(!Store::new(outgoing("PUT", Body::from(String::from("x")))).repeatable);
        let mut store = Store::new(outgoing("GET", Body::empty()));
        assert!(store.take_http1().is_some() && store.take_http1().is_some());
    }
}
