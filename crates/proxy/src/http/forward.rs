//! One request: from what the client asked to what it is answered.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue, TE, UPGRADE};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use relay::http::{Body, Fault, Outgoing, Reached, Upgraded};
use route::{Backend, Caller, Denial, Permit, Principal, Routes};
use tokio::time::{Instant, timeout_at};

use super::answer;
use super::authority;
use super::counted::{Clock, Counted, InFlight};
use super::extended::Extended;
use super::guard::State;
use super::headers::{self, Origin};
use super::log::Entry;
use super::manner::Manner;
use super::path;
use super::refusal::Refusal;
use super::table::{Asked, Found};
use crate::config::RouteOptions;
use crate::public::{self, Door};
use crate::serve::{Context, Face, Live};
use crate::tls::sites::Site;

/// How rules name what comes here.
const HTTP: &Cow<'static, str> = &Cow::Borrowed("http");

/// One client connection, as its requests see it.
pub(crate) struct Client {
    pub(crate) context: Context,
    pub(crate) peer: std::net::IpAddr,
    pub(crate) peer_value: HeaderValue,
    pub(crate) principal: Principal,
    /// The site that the connection was secured for; absent without TLS.
    pub(crate) site: Option<Arc<Site>>,
    /// By which kind of listener it came.
    pub(crate) door: Door,
    pub(crate) state: Rc<State>,
    /// Why the request that comes next may not go on, where that was asked already.
    pub(crate) denied: RefCell<Option<Denial>>,
    /// The server's side of an upgrade, once it is agreed on: the connection's task takes it from here.
    pub(crate) upgrade: RefCell<Option<(Upgraded, Permit, Speaks)>>,
}

/// What a connection is upgraded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    WebSocket,
    Whatever,
}

/// What a request is answered, and how long that may take.
struct Answered {
    response: Response<Body>,
    clock: Option<Clock>,
    service: Option<Arc<str>>,
}

impl Answered {
    fn here(response: Response<Body>, service: Option<Arc<str>>) -> Answered {
        Answered { response, clock: None, service }
    }
}

/// Answers one request, of a stream that is to become a WebSocket or not.
pub(super) async fn respond(
    client: &Rc<Client>,
    request: Request<Body>,
    extended: Option<&mut Extended>,
) -> Response<Counted> {
    let refused = client.state.begin();
    let in_flight = InFlight::new(&client.state);
    let Face { metrics, log, .. } = &*client.context.face;
    let entry = log.load_full().map(|log| Box::new(Entry::new(log, client.peer, &request)));
    let answered = match refused {
        Some(refusal) => Err(refusal),
        None if client.door == Door::Plain => {
            Ok(Answered::here(public::answer(&client.context.face.shown, &request), None))
        }
        None => client.forward(request).await,
    };
    let Answered { response, clock, service } =
        answered.unwrap_or_else(|refusal| Answered::here(answer::refuse(metrics, refusal), None));
    let response = match extended {
        Some(extended) => extended.answered(client, response),
        None => response,
    };
    metrics.answered(response.status());
    let entry = entry.map(|mut entry| {
        (entry.status, entry.service) = (response.status().as_u16(), service);
        entry
    });
    response.map(|body| Counted::new(body, in_flight, clock, entry))
}

/// What the request line and `Host` come down to.
struct Target {
    /// As the client sent it.
    authority: HeaderValue,
    host: String,
    /// As it is looked at and forwarded.
    path: PathAndQuery,
    /// True for `OPTIONS *`.
    asterisk: bool,
}

/// A request that may go out.
struct Ready {
    backend: Arc<Backend>,
    permit: Permit,
    outgoing: Outgoing,
    manner: Option<Arc<Manner>>,
    /// Why the request's body was broken off here, if it was.
    fault: Reached,
}

/// Why it may not: refused, or answered right here.
enum Stop {
    Refused(Refusal),
    Answered(Box<Response<Body>>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl From<Response<Body>> for Stop {
    fn from(response: Response<Body>) -> Stop {
        Stop::Answered(Box::new(response))
    }
}

impl Client {
    /// The client as the rules see it.
    pub(super) fn caller(&self) -> Caller<'_> {
        Caller::by(&self.principal, HTTP).from_address(self.peer)
    }

    /// The fields that every request of this connection gets, up to the host's value.
    pub(super) fn signature(&self) -> Vec<u8> {
        let scheme = if self.site.is_some() { "https" } else { "http" };
        let signature = self.context.face.signature.one.to_str().unwrap_or("1.1 portolan");
        let peer = self.peer_value.to_str().unwrap_or("unknown");
        format!(
            "via: {signature}\r\nx-forwarded-for: {peer}\r\nx-forwarded-proto: {scheme}\r\nx-forwarded-host: "
        )
        .into_bytes()
    }

    async fn forward(&self, request: Request<Body>) -> Result<Answered, Refusal> {
        let metrics = &self.context.face.metrics;
        let grpc = answer::is_grpc(&request);
        let Ready { backend, permit, outgoing, manner, fault } = match self.prepare(request, grpc) {
            Ok(ready) => ready,
            Err(Stop::Refused(refusal)) => return Err(refusal),
            Err(Stop::Answered(response)) => return Ok(Answered::here(*response, None)),
        };
        let service = Some(backend.service.clone());
        let options = manner.as_ref().map(|manner| &manner.options);
        let limit = options.and_then(|options| options.request_timeout).map(|span| span.0);
        let mut forbidden = self.context.local.forbidden_from_now(permit.clone());
        let waited = {
            // Pinned, so that it is in this future once and not for each way to wait for it.
            let sending = std::pin::pin!(async {
                tokio::select! {
                    biased;
                    sent = relay::http::send(&self.context.local, &backend, &permit, outgoing) => Some(sent),
                    () = &mut forbidden => None,
                }
            });
            match limit {
                None => Ok((sending.await, None)),
                Some(limit) => {
                    let deadline = Instant::now() + limit;
                    timeout_at(deadline, sending).await.map(|sent| (sent, Some(deadline))).map_err(|_| limit)
                }
            }
        };
        let (sent, deadline) = match waited {
            Ok(waited) => waited,
            Err(limit) => return Ok(Answered::here(answer::too_slow(metrics, limit, grpc), service)),
        };
        let Some(sent) = sent else { return Ok(Answered::here(self.no_longer(&permit, grpc), service)) };
        match sent {
            Ok(answer) => {
                let mut response = self.answer(answer, permit);
                if let Some(options) = options {
                    options.response_headers.apply(response.headers_mut());
                }
                let pause = options.and_then(|options| options.body_timeout).map(|span| span.0);
                let clock = Some(Clock::new(deadline, pause, forbidden));
                Ok(Answered { response, clock, service })
            }
            Err(error) => {
                let fault = fault.get().map(|fault| match fault {
                    Fault::TooLong => Refusal::BodyTooLong,
                    Fault::Stalled => Refusal::SlowBody,
                });
                match fault.or_else(|| self.state.body_refusal()) {
                    Some(refusal) => Err(refusal),
                    None => {
                        tracing::info!(service = %backend.service, client = %self.peer, %error, "a request failed");
                        Ok(Answered::here(answer::failed(metrics, &error, grpc), service))
                    }
                }
            }
        }
    }

    /// The answer to a request that a rule forbade while it waited for one.
    fn no_longer(&self, permit: &Permit, grpc: bool) -> Response<Body> {
        let (principal, service) = (Box::new(permit.principal().clone()), permit.service().clone());
        let denial = Denial::Forbidden { principal, service, rule: None };
        tracing::info!(client = %self.peer, service = %permit.service(), "the rules no longer allow a request");
        answer::denied(&self.context.face.metrics, &denial, grpc)
    }

    /// Everything that needs no waiting: the target, the service, the permit, the fields.
    fn prepare(&self, mut request: Request<Body>, grpc: bool) -> Result<Ready, Stop> {
        let Context { face, local, .. } = &self.context;
        let live = face.live.load();
        let target = target(&live, &mut request)?;
        if face.tls.sites.load().misdirects(&target.host, self.site.as_deref()) {
            return Err(Refusal::Misdirected.into());
        }
        let found = local.with_routes(|routes| self.find(&live, routes, &target, grpc))?;
        if let Some(manner) = &found.manner {
            if let Err(wait) = manner.admit(request.headers(), self.peer) {
                return Err(answer::limited(&face.metrics, wait, grpc).into());
            }
            if let Some(response) = manner.redirection(&target.host, &target.path) {
                return Err(response.into());
            }
        }
        let (backend, permit) = local.with_routes(|routes| self.decide(routes, &found, grpc))?;
        let (outgoing, fault) = self.outgoing(&live, request, &target, &found, grpc)?;
        Ok(Ready { backend, permit, outgoing, manner: found.manner, fault })
    }

    /// Which service. The world reaches what is exposed under the name that it asks for, and nothing else.
    pub(super) fn lead(&self, live: &Live, routes: &Routes, asked: Asked<'_>) -> Option<Found> {
        match self.door {
            Door::Usual => live.table.find(routes, asked),
            Door::Public | Door::Plain => {
                Some(Found::service(self.context.face.shown.service(asked.host)?, 0))
            }
        }
    }

    /// The same; the answer where there is none.
    fn find(&self, live: &Live, routes: &Routes, target: &Target, grpc: bool) -> Result<Found, Stop> {
        let asked = Asked { host: &target.host, path: target.path.path() };
        let none = || answer::no_route(&self.context.face.metrics, asked.host, asked.path, grpc).into();
        self.lead(live, routes, asked).ok_or_else(none)
    }

    /// Whether it may be reached.
    fn decide(&self, routes: &Routes, found: &Found, grpc: bool) -> Result<(Arc<Backend>, Permit), Stop> {
        let face = &self.context.face;
        let decided = match self.denied.take() {
            Some(denial) => Err(denial),
            None => routes.permit(self.caller(), &found.service),
        };
        match decided {
            Ok(allowed) => Ok(allowed),
            Err(denial) => {
                if let Denial::Forbidden { .. } = denial {
                    tracing::info!(client = %self.peer, %denial, "refused a request");
                }
                Err(answer::denied(&face.metrics, &denial, grpc).into())
            }
        }
    }

    /// The request as it goes out.
    fn outgoing(
        &self,
        live: &Live,
        request: Request<Body>,
        target: &Target,
        found: &Found,
        grpc: bool,
    ) -> Result<(Outgoing, Reached), Refusal> {
        let face = &self.context.face;
        let manner = found.manner.as_ref();
        let options = manner.map(|manner| &manner.options);
        let key = manner.and_then(|manner| manner.affinity(request.headers(), self.peer));
        let (most, stall) = body_limits(live, options, &request, grpc)?;
        let (mut parts, body) = request.into_parts();
        let (body, fault) = body.limited(most, stall);
        let stripped = headers::strip(&mut parts.headers);
        if parts.version == Version::HTTP_2 {
            headers::join_cookies(&mut parts.headers);
        }
        if headers::expects_too_much(&mut parts.headers) {
            return Err(Refusal::Expectation);
        }
        if !headers::sign(&mut parts.headers, parts.version, &face.signature) {
            return Err(Refusal::Loop);
        }
        let origin = Origin {
            peer: self.peer,
            peer_value: &self.peer_value,
            host: &target.authority,
            scheme: if self.site.is_some() { "https" } else { "http" },
            trusted: &live.config.http.trusted,
            prefix: (found.strip > 0 && found.rewrite.is_none()).then(|| &target.path.path()[..found.strip]),
        };
        headers::forwarded(&mut parts.headers, &origin);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = Uri::from(stripped_path(target, found));
        *request.headers_mut() = parts.headers;
        request.headers_mut().insert(HOST, target.authority.clone());
        if stripped.trailers {
            request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        }
        // An upgrade to h2c is an offer that nobody needs to take; one with a body would let bytes pass
        // before the server agreed.
        let upgrade = stripped.upgrade.filter(|to| !to.as_bytes().eq_ignore_ascii_case(b"h2c"));
        if let Some(upgrade) =
            upgrade.filter(|_| request.body().is_empty() && parts.version != Version::HTTP_10)
        {
            request.headers_mut().insert(UPGRADE, upgrade);
        }
        let outgoing = Outgoing {
            prefer_http2: grpc && parts.version == Version::HTTP_2,
            timeout: live.response_timeout().filter(|_| !grpc),
            key,
            by_hand: live.config.http.fast,
            ..Outgoing::new(request)
        };
        let outgoing = match manner {
            Some(manner) => manner.on_its_way(outgoing),
            None => outgoing,
        };
        Ok((outgoing, fault))
    }

    fn answer(&self, answer: relay::http::Answer, permit: Permit) -> Response<Body> {
        let relay::http::Answer { mut response, upgraded } = answer;
        let protocol = response.headers().get(UPGRADE).cloned();
        headers::strip(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(upgraded), Some(protocol)) = (upgraded, protocol) else {
                return answer::broken_upgrade(&self.context.face.metrics);
            };
            let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
            let speaks = if is_websocket { Speaks::WebSocket } else { Speaks::Whatever };
            response.headers_mut().insert(UPGRADE, protocol);
            response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
            self.upgrade.replace(Some((upgraded, permit, speaks)));
        }
        response
    }
}

/// Most bytes of a request's body, and the longest pause in it.
fn body_limits(
    live: &Live,
    options: Option<&RouteOptions>,
    request: &Request<Body>,
    grpc: bool,
) -> Result<(Option<u64>, Option<Duration>), Refusal> {
    let http = &live.config.http;
    let most = options.and_then(|options| options.max_body).map_or(http.max_body, |size| size.0);
    let most = (most > 0).then_some(most);
    if most.is_some_and(|most| request.body().size_hint().lower() > most) {
        return Err(Refusal::BodyTooLong);
    }
    // In HTTP/1.1 the connection's own clock sees to it; gRPC has streams on which nothing is said for long.
    let stall = (request.version() == Version::HTTP_2 && !grpc).then_some(http.stall_timeout);
    Ok((most, stall))
}

/// Reads host and path, and brings them into one form.
fn target(live: &Live, request: &mut Request<Body>) -> Result<Target, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    // The framer has counted an HTTP/1 head's fields already.
    if request.headers().len() > live.config.http.max_head_fields {
        return Err(Refusal::TooManyFields);
    }
    let hosts = request.headers_mut().remove(HOST);
    let of_uri = request.uri().authority().map(|authority| authority.as_str());
    let authority = match (of_uri, hosts) {
        // HTTP/2: `:authority`, with an equal `Host` at most (RFC 9113 section 8.3.1). In HTTP/1.1 the
        // framer has compared the two.
        (Some(uri), Some(host)) if request.version() == Version::HTTP_2 && host != uri => {
            return Err(Refusal::OtherHost);
        }
        (_, Some(host)) => host,
        (Some(uri), None) => HeaderValue::from_str(uri).map_err(|_| Refusal::Authority)?,
        (None, None) => return Err(Refusal::NoHost),
    };
    let text = authority.to_str().map_err(|_| Refusal::Authority)?;
    let host = authority::host(text).ok_or(Refusal::Authority)?.into_owned();
    let given = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let asterisk = given.as_str() == "*";
    let decides = !asterisk && live.table.decides_by_path(&host);
    let path = if decides { canonical(given)? } else { given };
    Ok(Target { authority, host, path, asterisk })
}

fn canonical(given: PathAndQuery) -> Result<PathAndQuery, Refusal> {
    let path = path::canonical(given.path())?;
    if path == given.path() {
        return Ok(given);
    }
    let whole = match given.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    PathAndQuery::try_from(whole).map_err(|_| Refusal::Target)
}

/// The path with what its route takes off it, or puts in place of that.
fn stripped_path(target: &Target, found: &Found) -> PathAndQuery {
    let instead = found.rewrite.as_deref().map(|path| path.trim_end_matches('/')).unwrap_or_default();
    if (found.strip == 0 && instead.is_empty()) || target.asterisk {
        return target.path.clone();
    }
    let rest = target.path.as_str().get(found.strip..).unwrap_or_default();
    let at_end = rest.is_empty() || rest.starts_with('?');
    let slash = if rest.starts_with('/') || (at_end && !instead.is_empty()) { "" } else { "/" };
    let whole = format!("{instead}{slash}{rest}");
    PathAndQuery::try_from(whole).unwrap_or(PathAndQuery::from_static("/"))
}
