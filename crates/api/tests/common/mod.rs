//! A real server on a loopback port of its own, over a log in memory, and a small client.

#![allow(dead_code, clippy::expect_used, clippy::panic, reason = "test code; each file uses a part of it")]

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use catalog::acl::{DefaultPolicy, Links};
use catalog::{
    AclCommand, AclPolicy, AclToken, CheckDef, CheckRegistration, Command, InitialStatus, NodeDef,
    NodeRegistration, Probe, Register, Status,
};
use lease::Leases;
use portolan_api::{self as api, Condition, Config, Control, Identity, Inputs, Metrics};
use route::{Facts, OpenVirtual, Routes, VirtualSocket};
use state::DrainTrigger;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A server with everything that a test wants to reach behind it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) leases: Arc<Leases>,
    pub(crate) control: Arc<FakeControl>,
    metrics: Metrics,
    trigger: Mutex<Option<DrainTrigger>>,
    serving: JoinHandle<()>,
}

/// Remembers what clients asked of the daemon.
#[derive(Default)]
pub(crate) struct FakeControl {
    pub(crate) reloads: AtomicUsize,
    pub(crate) leaves: AtomicUsize,
}

impl Control for FakeControl {
    fn reload(&self) -> Result<(), String> {
        match self.reloads.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err("line 3: no such key".to_owned()),
        }
    }

    fn leave(&self) {
        self.leaves.fetch_add(1, Ordering::Relaxed);
    }

    fn conditions(&self) -> Vec<Condition> {
        vec![Condition { name: "dns", problem: None }]
    }
}

/// Opens nothing; says that port 80 had to move.
struct FakeVirtual(Arc<state::Publisher<Facts>>);

impl OpenVirtual for FakeVirtual {
    fn open(&self, service: &str) -> Pin<Box<dyn Future<Output = Option<VirtualSocket>> + Send + '_>> {
        let address = SocketAddrV4::new(Ipv4Addr::new(127, 77, 1, 2), 10080);
        let socket = VirtualSocket {
            address,
            moved: Some("port 80 is taken by a wildcard listener".into()),
            six: None,
        };
        let mut facts = (*self.0.now()).clone();
        facts.virtual_sockets.insert(service.to_ascii_lowercase().into(), socket.clone());
        self.0.publish(facts);
        Box::pin(async { Some(socket) })
    }
}

/// Where names lead, as the daemon keeps it in step with the catalog.
fn follow_routes(store: &Store) -> state::Reader<Routes> {
    let mut views = store.reader();
    let (publisher, routes) = state::channel(Routes::project(&views.now()));
    tokio::spawn(async move {
        while let Some(view) = views.next().await {
            publisher.publish(publisher.now().advance(&view));
        }
    });
    routes
}

/// Somebody else's endpoints on this port.
struct FakeGuest;

impl api::Guest for FakeGuest {
    fn serves(&self, path: &str) -> bool {
        path == "/sd/guest"
    }

    fn asks_by_itself(&self) -> bool {
        false
    }

    fn handle(
        &self,
        _: http::Request<hyper::body::Incoming>,
        _: std::net::IpAddr,
    ) -> Pin<Box<dyn Future<Output = api::GuestReply> + Send + '_>> {
        let body = http_body_util::BodyExt::boxed(http_body_util::Full::from("a guest's answer"));
        Box::pin(std::future::ready(http::Response::new(body)))
    }
}

/// The node as the daemon registers it, with the check that clients of Consul expect on it.
fn own_node(node: &Identity) -> Register {
    let tagged = ["lan", "lan_ipv4", "wan", "wan_ipv4"].map(|name| (name, node.address.clone()));
    let def = NodeDef {
        name: node.name.clone(),
        id: node.id.clone(),
        address: node.address.clone(),
        tagged_addresses: tagged.into(),
        meta: [("consul-network-segment", "")].into(),
    };
    let alive = CheckDef {
        id: "serfHealth".into(),
        name: "Serf Health Status".into(),
        notes: "".into(),
        service_id: "".into(),
        probe: Probe::External,
        deregister_after_ms: None,
        success_before_passing: 0,
        failures_before_warning: 0,
        failures_before_critical: 0,
        definition: None,
    };
    let status = InitialStatus::Set(Status::Passing);
    let check = CheckRegistration { def: alive, status, output: "Agent alive and reachable".into() };
    let node = Some(NodeRegistration { def, only_if_absent: false });
    Register { node, on: "n1".into(), instance: None, checks: vec![check] }
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::start_with(Config::default()).await
    }

    pub(crate) async fn start_with(config: Config) -> Server {
        let (log, events) = log::memory::open(log::memory::Config::default());
        Server::start_on(log, events, config).await
    }

    /// A server that judges who may do what, with this where no rule says anything.
    pub(crate) async fn start_guarded(config: Config, mode: catalog::Mode, default: DefaultPolicy) -> Server {
        let server = Server::start_with(config).await;
        let settings = catalog::Settings { mode, ..server.store.now().settings().clone() };
        server.submit(Command::Configure(settings)).await;
        server.submit(Command::Acl(AclCommand::SetDefault(default))).await;
        server
    }

    /// Submits a command that must be done.
    pub(crate) async fn submit(&self, command: Command) {
        self.store.submit(command).await.expect("is done");
    }

    /// Makes a token with these rules, good before `expires_ms`.
    pub(crate) async fn token(&self, secret: &str, rules: &str, expires_ms: Option<u64>) {
        let policy = AclPolicy {
            id: format!("policy-of-{secret}").into(),
            name: secret.into(),
            description: "".into(),
            rules: rules.into(),
            datacenters: Vec::new(),
            create_index: 0,
            modify_index: 0,
        };
        let links = Links { policies: vec![policy.id.clone()], ..Links::default() };
        let put = AclCommand::PutPolicy { policy: Box::new(policy), is_new: true };
        self.submit(Command::Acl(put)).await;
        self.linked_token(secret, links, expires_ms).await;
    }

    /// Makes a token that may do everything.
    pub(crate) async fn management_token(&self, secret: &str) {
        let links = Links { policies: vec![catalog::acl::MANAGEMENT.into()], ..Links::default() };
        self.linked_token(secret, links, None).await;
    }

    async fn linked_token(&self, secret: &str, links: Links, expires_ms: Option<u64>) {
        let token = AclToken {
            accessor: format!("accessor-of-{secret}").into(),
            secret: acl::hash(secret),
            description: "".into(),
            links,
            local: false,
            expires_ms,
            created_ms: 0,
            create_index: 0,
            modify_index: 0,
        };
        let put = AclCommand::PutToken { token: Box::new(token), is_new: true };
        self.submit(Command::Acl(put)).await;
    }

    /// A server over this log.
    pub(crate) async fn start_on(
        log: Arc<dyn log::Log>,
        events: store::Events,
        mut config: Config,
    ) -> Server {
        let store = store::open(store::Config::new("n1"), log, events).await.expect("opens");
        let node = Identity {
            name: "n1".into(),
            id: "4c2b6d5e-0000-4000-8000-000000000001".into(),
            address: "127.0.0.1".into(),
            datacenter: "dc1".into(),
            is_server: true,
            mesh_port: 8300,
            version: "0.1.0",
            revision: "",
        };
        store.submit(Command::Register(Box::new(own_node(&node)))).await.expect("known");
        config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        let listeners = api::reserve(&config).expect("a port");
        let address = listeners.addresses()[0];
        let leases = Arc::new(Leases::new("n1", lease::Config::default(), Instant::now()));
        let control = Arc::new(FakeControl::default());
        let (facts_writer, facts) = state::channel(Facts::default());
        let routes = follow_routes(&store);
        let metrics = Metrics::default();
        let mut registry = prometheus_client::registry::Registry::with_prefix("portolan");
        metrics.register(&mut registry);
        let (trigger, drain) = state::drain();
        let inputs = Inputs {
            store: store.clone(),
            leases: leases.clone(),
            pass_on: Arc::new(lease::NobodyElse),
            facts,
            routes,
            open_virtual: Arc::new(FakeVirtual(Arc::new(facts_writer))),
            node,
            control: control.clone(),
            cluster: Arc::new(api::Alone),
            exposure: Arc::new(portolan_api::Unexposed),
            web: Arc::new(api::Alone),
            exposition: Arc::new(registry),
            metrics: metrics.clone(),
            guests: vec![Arc::new(FakeGuest)],
        };
        let serving = tokio::spawn(api::run(config, listeners, inputs, drain));
        Server { address, store, leases, control, metrics, trigger: Mutex::new(Some(trigger)), serving }
    }

    /// Lets it drain and waits until it is gone.
    pub(crate) async fn stop(mut self) {
        self.leave().await;
        (&mut self.serving).await.expect("ends well");
    }

    /// Lets it drain and waits until every request has its answer.
    pub(crate) async fn leave(&self) {
        let trigger = self.trigger.lock().expect("held briefly").take().expect("leaves once");
        assert!(trigger.finish(Duration::from_secs(10)).await, "it drains");
    }

    /// How many blocking queries wait.
    pub(crate) fn waiting(&self) -> i64 {
        self.metrics.blocking.get()
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> i64 {
        self.metrics.connections.get()
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], b"").await
    }

    pub(crate) async fn put(&self, target: &str, body: &str) -> Reply {
        self.send("PUT", target, &[], body.as_bytes()).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let has_host = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        if !has_host {
            head += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    /// Any bytes; the answer is whatever comes back until the server closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        // A server that refuses early may close before everything is written.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
        let _ = read.await.expect("answers and closes in time");
        Reply::parse(&answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn parse(bytes: &[u8]) -> Reply {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let fields = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Reply { status, fields, body: body.to_owned() }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn index(&self) -> u64 {
        self.field("x-consul-index").and_then(|value| value.parse().ok()).expect("an index")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}
