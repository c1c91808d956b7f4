//! From a request to its answer: guard, table, handler, counters.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use acl::{Resource, Right};
use http::{HeaderMap, Method, Request as HttpRequest, StatusCode};
use http_body_util::Either;
use hyper::body::Incoming;

use crate::Api;
use crate::access::{self, Caller, Demand, Needs};
use crate::http::{Answer, Failure, Parts, Peer, Query, Reply, Request, percent_decode};
use crate::metrics::Refused;
use crate::read::{self, Asked, ReadOptions, View};
use crate::router;
use crate::routes::{Handler, ROUTES, Route};
use crate::serve::guard;

/// Answers one request.
pub(super) async fn dispatch(api: &Arc<Api>, request: HttpRequest<Incoming>, peer: Peer) -> Reply {
    if let Err(failure) = guarded(api, &request, peer) {
        api.metrics.refused(Refused::Foreign);
        return Answer::from(failure).into_reply();
    }
    if let Some(guest) = api.guests.iter().find(|guest| guest.serves(request.uri().path())) {
        if !guest.asks_by_itself() {
            let query = Query::parse(request.uri().query()).ok();
            let demand = Demand::of_guest(needs_of(request.method()));
            if let Err(failure) = allowed(api, &demand, peer, request.headers(), query.as_ref()) {
                return Answer::from(failure).into_reply();
            }
        }
        return guest.handle(request, peer.ip()).await.map(Either::Right);
    }
    let is_head = request.method() == Method::HEAD;
    let answer = routed(api, request, peer).await;
    if is_head { answer.without_body() } else { answer }.into_reply()
}

/// What a guest's request needs, by its method: the names in it are the guest's to read, so all of them.
fn needs_of(method: &Method) -> Needs {
    Needs::Every(Resource::Service, if method.is_safe() { Right::Read } else { Right::Write })
}

/// Whoever asks, when it may: the one place that every request passes.
fn allowed(
    api: &Api,
    demand: &Demand,
    peer: Peer,
    headers: &HeaderMap,
    query: Option<&Query>,
) -> Result<Caller, Failure> {
    let now = api.store.now();
    let judged = match demand.needs() {
        Needs::Nothing => Ok(api.desk.nobody(&now)),
        _ => api.desk.caller(&now, peer, headers, query).and_then(|caller| {
            access::judge(demand, &caller, &api.node.name)?;
            Ok(caller)
        }),
    };
    judged.inspect_err(|_| api.metrics.refused(Refused::Denied))
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
    let (rest, query) = match decoded {
        Ok(decoded) => decoded,
        Err(malformed) => {
            api.metrics.refused(Refused::Malformed);
            return Failure::from(malformed).into();
        }
    };
    // Before anything else of it is looked at, and by what the endpoint will read: one path, decoded once.
    let demand = Demand::new(ROUTES[row].needs, &rest, &query);
    let caller = match allowed(api, &demand, peer, &head.headers, Some(&query)) {
        Ok(caller) => caller,
        Err(failure) => return failure.into(),
    };
    let target = head.uri;
    let parts = Parts { rest, query, headers: head.headers, peer, caller };
    let started = Instant::now();
    let is_blocking = parts.query.given("index").is_some() || parts.query.given("hash").is_some();
    let answer = handled(api, &ROUTES[row], target, demand, parts, body).await.unwrap_or_else(Answer::from);
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
    demand: Demand,
    mut parts: Parts,
    body: Incoming,
) -> Result<Answer, Failure> {
    let asked = route.needs.is_left_to_the_endpoint().then(|| parts.caller.watch());
    let answer = match route.handler {
        Handler::View(view) => {
            drop(body);
            return viewed(api, target, demand, parts, view).await;
        }
        Handler::Look(look) => look(api, &parts)?,
        Handler::Act(act) => {
            act(api.clone(), Request { parts, body, body_timeout: api.config.limits.body_timeout }).await?
        }
    };
    match asked {
        Some(asked) if answer.status.is_success() && !asked.load(Ordering::Relaxed) => {
            let why = format!("{} {} was answered without being judged", route.method, route.pattern);
            tracing::error!(why, "this is a mistake in the daemon");
            Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, why))
        }
        _ => Ok(answer),
    }
}

async fn viewed(
    api: &Arc<Api>,
    target: http::Uri,
    demand: Demand,
    parts: Parts,
    view: fn(&Parts) -> Result<View, Failure>,
) -> Result<Answer, Failure> {
    let options = ReadOptions::parse(&parts.query, &api.node.datacenter)?.at(target.path());
    let view = view(&parts)?;
    let key = shared_key(&target, &parts.query).into_owned();
    let asked = Asked { caller: parts.caller.clone(), demand };
    // Ten thousand may wait, and when they are woken there is no time to clear away what they came with.
    drop((target, parts));
    read::answer(api, &key, &view, &options, &asked).await
}

/// What two requests must have in common to share an answer: everything but when and how fresh.
fn shared_key<'a>(target: &'a http::Uri, query: &Query) -> Cow<'a, str> {
    const APART: [&str; 7] = ["index", "wait", "stale", "consistent", "cached", "dc", "token"];
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
