//! From a request to its answer: guard, table, handler, counters.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, Request as HttpRequest};
use http_body_util::Either;
use hyper::body::Incoming;

use crate::Api;
use crate::http::{Answer, Failure, Parts, Peer, Query, Reply, Request, percent_decode};
use crate::metrics::Refused;
use crate::read::{self, ReadOptions, View};
use crate::router;
use crate::routes::{Handler, Needs, ROUTES, Resource, Route};
use crate::serve::{access, guard};

/// Answers one request.
pub(super) async fn dispatch(api: &Arc<Api>, request: HttpRequest<Incoming>, peer: Peer) -> Reply {
    if let Err(failure) = guarded(api, &request, peer) {
        api.metrics.refused(Refused::Foreign);
        return Answer::from(failure).into_reply();
    }
    if let Some(guest) = api.guests.iter().find(|guest| guest.serves(request.uri().path())) {
        if !guest.asks_by_itself()
            && let Err(failure) = allowed(api, needs_of(request.method()), peer, request.headers())
        {
            return Answer::from(failure).into_reply();
        }
        return guest.handle(request, peer.ip()).await.map(Either::Right);
    }
    routed(api, request, peer).await.into_reply()
}

/// What a guest's request needs, by its method.
fn needs_of(method: &Method) -> Needs {
    if method.is_safe() { Needs::Read(Resource::Service) } else { Needs::Write(Resource::Service) }
}

fn allowed(api: &Api, needs: Needs, peer: Peer, headers: &HeaderMap) -> Result<(), Failure> {
    let caller = access::Caller { peer, headers, operators: &api.config.operators };
    access::check(&*api.access, needs, caller).inspect_err(|_| api.metrics.refused(Refused::Denied))
}

fn guarded(api: &Api, request: &HttpRequest<Incoming>, peer: Peer) -> Result<(), Failure> {
    // No page reaches a Unix socket.
    if matches!(peer, Peer::Unix { .. }) {
        return Ok(());
    }
    let head = guard::Head {
        method: request.method(),
        uri: request.uri(),
        version: request.version(),
        headers: request.headers(),
    };
    let names = api.config.hosts.iter().map(String::as_str);
    guard::check(&head, names.chain([&*api.node.name]))
}

async fn routed(api: &Arc<Api>, request: HttpRequest<Incoming>, peer: Peer) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if head.method == Method::OPTIONS
        && let Some(methods) = router::allowed(path)
    {
        return Answer::empty().with_field("allow", methods);
    }
    let (row, rest) = match router::find(&head.method, path) {
        Ok(matched) => matched,
        Err(failure) => {
            api.metrics.refused(Refused::Unknown);
            return failure.into();
        }
    };
    let decoded =
        percent_decode(rest).and_then(|rest| Ok((rest.into_owned(), Query::parse(head.uri.query())?)));
    // Before anything of it is looked at.
    if let Err(failure) = allowed(api, ROUTES[row].needs, peer, &head.headers) {
        return failure.into();
    }
    let (rest, query) = match decoded {
        Ok(decoded) => decoded,
        Err(malformed) => {
            api.metrics.refused(Refused::Malformed);
            return Failure::from(malformed).into();
        }
    };
    let target = head.uri;
    let parts = Parts { rest, query, headers: head.headers, peer };
    let started = Instant::now();
    let is_blocking = parts.query.given("index").is_some() || parts.query.given("hash").is_some();
    let answer = handled(api, &ROUTES[row], target, parts, body).await.unwrap_or_else(Answer::from);
    api.metrics.answered(row, answer.status);
    if !is_blocking {
        api.metrics.took(started.elapsed());
    }
    answer
}

async fn handled(
    api: &Arc<Api>,
    route: &Route,
    target: http::Uri,
    parts: Parts,
    body: Incoming,
) -> Result<Answer, Failure> {
    match route.handler {
        Handler::View(view) => {
            drop(body);
            viewed(api, target, parts, view).await
        }
        Handler::Look(look) => look(api, &parts),
        Handler::Act(act) => {
            act(api.clone(), Request { parts, body, body_timeout: api.config.limits.body_timeout }).await
        }
    }
}

async fn viewed(
    api: &Arc<Api>,
    target: http::Uri,
    parts: Parts,
    view: fn(&Parts) -> Result<View, Failure>,
) -> Result<Answer, Failure> {
    let options = ReadOptions::parse(&parts.query, &api.node.datacenter)?;
    let view = view(&parts)?;
    let key = shared_key(&target, &parts.query).into_owned();
    // Ten thousand may wait, and when they are woken there is no time to clear away what they came with.
    drop((target, parts));
    read::answer(api, &key, &view, &options).await
}

/// What two requests must have in common to share an answer: everything but when and how fresh.
fn shared_key<'a>(target: &'a http::Uri, query: &Query) -> Cow<'a, str> {
    const APART: [&str; 6] = ["index", "wait", "stale", "consistent", "cached", "dc"];
    let Some(path_and_query) = target.path_and_query() else { return Cow::Borrowed(target.path()) };
    if !query.pairs().any(|(name, _)| APART.contains(&name)) {
        return Cow::Borrowed(path_and_query.as_str());
    }
    // No target contains a NUL, so these keys are never mistaken for a target.
    let mut key = format!("\0{}?", target.path());
    for (name, value) in query.pairs().filter(|(name, _)| !APART.contains(name)) {
        // Lengths, so that no value can pass for another parameter.
        let _ = write!(key, "{}:{name}{}:{value}", name.len(), value.len());
    }
    Cow::Owned(key)
}
