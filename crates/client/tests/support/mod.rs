//! A small daemon of Consul's dialect, for the client's side of the conversation. The real one is tested
//! against this client where the whole node is built.

#![allow(dead_code, clippy::unwrap_used, reason = "test code; each file uses a part of it")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use consul::kv::{KvPair, Value};
use consul::listing::{Node, NodeService, ServiceEntry};
use consul::register::ServiceRegistration;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portolan_client::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What it knows.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) registered: BTreeMap<String, ServiceRegistration>,
    pub(crate) keys: BTreeMap<String, KvPair>,
    pub(crate) renewals: usize,
    pub(crate) registrations: usize,
    pub(crate) tokens: Vec<String>,
}

pub(crate) struct Daemon {
    pub(crate) state: Arc<Mutex<State>>,
    index: watch::Sender<u64>,
    address: String,
    server: Option<tokio::task::JoinHandle<()>>,
}

impl Daemon {
    pub(crate) async fn start() -> Daemon {
        let mut daemon = Daemon {
            state: Arc::default(),
            index: watch::channel(1).0,
            address: "127.0.0.1:0".into(),
            server: None,
        };
        daemon.resume().await;
        daemon
    }

    /// Serves on the address that it had.
    pub(crate) async fn resume(&mut self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        self.address = listener.local_addr().unwrap().to_string();
        let (state, index) = (self.state.clone(), self.index.clone());
        self.server = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (state, index) = (state.clone(), index.clone());
                let service = service_fn(move |request| answer(state.clone(), index.clone(), request));
                connections.spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        }));
    }

    /// Stops serving and cuts every connection.
    pub(crate) async fn pause(&mut self) {
        let server = self.server.take().unwrap();
        server.abort();
        let _ = server.await;
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address.parse().unwrap())
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock().unwrap());
        self.index.send_modify(|index| *index += 1);
        changed
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap())
    }

    /// A registered instance at `address:port`.
    pub(crate) fn put(&self, id: &str, service: &str, address: &str, port: u16) {
        let registration = ServiceRegistration {
            id: id.into(),
            name: service.into(),
            address: address.into(),
            port,
            ..ServiceRegistration::default()
        };
        self.change(|state| state.registered.insert(id.into(), registration));
    }
}

type Answered = Response<Full<Bytes>>;

async fn answer(
    state: Arc<Mutex<State>>,
    index: watch::Sender<u64>,
    request: Request<Incoming>,
) -> Result<Answered, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let query: BTreeMap<_, _> = head.uri.query().unwrap_or_default().split('&').map(parse_pair).collect();
    if let Some(seen) = query.get("index").and_then(|seen| seen.parse::<u64>().ok()) {
        let _ = index.subscribe().wait_for(|index| *index > seen).await;
    }
    if let Some(token) = head.headers.get("x-consul-token") {
        state.lock().unwrap().tokens.push(token.to_str().unwrap().into());
    }
    let (status, body, changed) = route(&state, &head.method, head.uri.path(), &query, body);
    if changed {
        index.send_modify(|index| *index += 1);
    }
    let response = Response::builder().status(status).header("x-consul-index", *index.borrow());
    Ok(response.body(Full::new(body)).unwrap())
}

fn parse_pair(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (name.into(), value.into())
}

fn route(
    state: &Mutex<State>,
    method: &Method,
    path: &str,
    query: &BTreeMap<String, String>,
    body: Bytes,
) -> (StatusCode, Bytes, bool) {
    let mut state = state.lock().unwrap();
    let ok = |body: String| (StatusCode::OK, Bytes::from(body), true);
    let missing = || (StatusCode::NOT_FOUND, Bytes::from("there is no such thing"), false);
    if path == "/v1/agent/service/register" {
        let registration: ServiceRegistration = consul::decode(&body).unwrap();
        state.registrations += 1;
        state.registered.insert(registration.id.to_string(), registration);
        return ok(String::new());
    }
    if let Some(id) = path.strip_prefix("/v1/agent/service/deregister/") {
        return state.registered.remove(id).map_or_else(missing, |_| ok(String::new()));
    }
    if let Some(id) = path.strip_prefix("/v1/agent/service/renew/") {
        state.renewals += 1;
        return match state.registered.contains_key(id) {
            true => (StatusCode::OK, r#"{"ExpiresInMs": 600}"#.into(), false),
            false => missing(),
        };
    }
    if let Some(name) = path.strip_prefix("/v1/health/service/") {
        let found = state.registered.values().filter(|registration| &*registration.name == name);
        let entries: Vec<_> = found.map(entry).collect();
        return (StatusCode::OK, serde_json::to_vec(&entries).unwrap().into(), false);
    }
    if let Some(key) = path.strip_prefix("/v1/kv/") {
        return kv(&mut state, method, key, query, body).unwrap_or_else(missing);
    }
    missing()
}

fn entry(registration: &ServiceRegistration) -> ServiceEntry {
    let service = NodeService {
        id: registration.id.clone(),
        service: registration.name.clone(),
        tags: registration.tags.clone(),
        address: registration.address.clone(),
        meta: Some(registration.meta.clone()),
        port: registration.port,
        weights: registration.weights.unwrap_or_default(),
        ..NodeService::default()
    };
    let node = Node { node: "n1".into(), address: "127.0.0.1".into(), ..Node::default() };
    ServiceEntry { node, service, checks: vec![] }
}

fn kv(
    state: &mut State,
    method: &Method,
    key: &str,
    query: &BTreeMap<String, String>,
    body: Bytes,
) -> Option<(StatusCode, Bytes, bool)> {
    let known = state.keys.get(key).map_or(0, |pair| pair.modify_index);
    let fails = query.get("cas").is_some_and(|cas| *cas != known.to_string());
    let told = |held: bool| Some((StatusCode::OK, Bytes::from(held.to_string()), held));
    match *method {
        Method::PUT if fails => told(false),
        Method::PUT => {
            let pair =
                KvPair { key: key.into(), value: Value(body), modify_index: known + 1, ..KvPair::default() };
            state.keys.insert(key.into(), pair);
            told(true)
        }
        Method::DELETE if fails => told(false),
        Method::DELETE => {
            let recurse = query.contains_key("recurse");
            state.keys.retain(|known, _| if recurse { !known.starts_with(key) } else { known != key });
            told(true)
        }
        _ => {
            let recurse = query.contains_key("recurse");
            let found: Vec<_> = state
                .keys
                .values()
                .filter(|pair| if recurse { pair.key.starts_with(key) } else { *pair.key == *key })
                .collect();
            let json = serde_json::to_vec(&found).unwrap();
            (!found.is_empty()).then(|| (StatusCode::OK, json.into(), false))
        }
    }
}

/// Polls until there is something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
