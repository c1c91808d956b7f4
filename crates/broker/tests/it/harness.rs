//! A broker with a catalog of its own, on a socket in a folder of its own.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::{
    Action, Catalog, Command, Direction, Envelope, InstanceDef, InstanceRegistration, Intention,
    IntentionCommand, Mode, NodeDef, NodeRegistration, Register, Settings, Source,
};
use consul::broker::{LONGEST, Operation, Reply, Request};
use portolan_broker::{Config, Dialer, Inputs, Libipc, Listeners, Metrics, Offers, gateway};
use prometheus_client::registry::Registry;
use relay::tls::Certificates;
use relay::{Dial, Dialing, Relay, Stream, TcpDial};
use route::{Endpoint, Facts, Here, Permit, Principal, Routes};
use state::{Drain, DrainTrigger, Publisher};
use store::Store;
use sys::pass::Passing as _;
use tokio::task::JoinHandle;

pub(crate) const NODE: &str = "here";

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Harness {
    known: Mutex<(Catalog, u64)>,
    routes: Arc<Publisher<Routes>>,
    relay: Relay,
    registry: Registry,
    pub(crate) folder: tempfile::TempDir,
    /// Where other hosts come in, in the order of the configuration: tcp, then tls.
    pub(crate) addresses: Vec<SocketAddr>,
    trigger: Option<DrainTrigger>,
    running: Option<JoinHandle<()>>,
    gates: Mutex<Vec<(DrainTrigger, JoinHandle<()>)>>,
}

/// Knows one secret of two users.
struct TwoUsers;

impl gateway::Credentials for TwoUsers {
    fn holder(&self, user: &str, secret: &str) -> Option<Principal> {
        let id: Arc<str> = match (user, secret) {
            ("" | "shop", "sesame") => "shop".into(),
            ("" | "other", "barley") => "other".into(),
            _ => return None,
        };
        Some(Principal::Identity { id })
    }
}

/// What answers by repeating.
pub(crate) fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut to = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut stream, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

fn node() -> NodeRegistration {
    let def = NodeDef::new(NODE.into(), "127.0.0.1".into());
    NodeRegistration { def, only_if_absent: true }
}

/// Reaches endpoints as the mesh does: by something that is no socket.
struct Wrapped;

impl Dial for Wrapped {
    fn dial<'a>(&'a self, endpoint: &'a Endpoint, permit: &'a Permit) -> Dialing<'a> {
        Box::pin(async move { Ok(Stream::Other(Box::new(TcpDial.dial(endpoint, permit).await?))) })
    }
}

impl Harness {
    pub(crate) fn start() -> Harness {
        Harness::with(Config::default(), Arc::new(TcpDial))
    }

    /// One whose routes all need bytes to be moved.
    pub(crate) fn relaying(config: Config) -> Harness {
        Harness::with(config, Arc::new(Wrapped))
    }

    pub(crate) fn with(config: Config, dial: Arc<dyn Dial>) -> Harness {
        let (trigger, drain) = state::drain();
        Harness::build(config, dial, (None, None), trigger, drain)
    }

    /// One that has links to other nodes, as it thinks: what they lead to is here.
    pub(crate) fn linked(config: Config) -> Harness {
        let (trigger, drain) = state::drain();
        Harness::build(config, Arc::new(TcpDial), (None, Some(Arc::new(Wrapped))), trigger, drain)
    }

    /// One that has a store, and takes offers; what is registered there is what routes lead to.
    pub(crate) async fn offering(config: Config) -> (Harness, Store) {
        let (log, events) = log::memory::open(log::memory::Config::default());
        let store = store::open(store::Config::new(NODE), log, events).await.unwrap();
        let node = Register { node: Some(node()), on: NODE.into(), ..Register::default() };
        store.submit(Command::Register(Box::new(node))).await.unwrap();
        let (trigger, drain) = state::drain();
        let (offers, taking_back) = Offers::new(store.clone(), &config, drain.clone());
        tokio::spawn(taking_back);
        let dial = Arc::new(Dialer::new(offers.clone(), Arc::new(TcpDial)));
        let harness = Harness::build(config, dial, (Some(offers), None), trigger, drain);
        let (mut views, routes) = (store.reader(), harness.routes.clone());
        tokio::spawn(async move {
            while let Some(view) = views.next().await {
                routes.publish(Routes::project(&view));
            }
        });
        (harness, store)
    }

    fn build(
        config: Config,
        dial: Arc<dyn Dial>,
        (offers, mesh): (Option<Arc<Offers>>, Option<Arc<dyn Dial>>),
        trigger: DrainTrigger,
        drain: Drain,
    ) -> Harness {
        let folder = tempfile::tempdir().unwrap();
        let socket = Some(folder.path().join("broker.sock"));
        let config = Config { socket, ..config };
        let mut registry = Registry::default();
        let (routes, reader) = state::channel(Routes::default());
        let threads = relay::Config { threads: 2, ..relay::Config::default() };
        let relay = Relay::start(threads, &reader, dial, &mut registry).unwrap();
        let listeners = Listeners::reserve(&config).unwrap();
        let addresses = listeners.addresses();
        let inputs = Inputs {
            relay: relay.clone(),
            domain: "blue.example".into(),
            mesh,
            offers,
            routes: reader,
            ends: sys::host::may_end().then(|| Arc::new(sys::host::ThisHost) as _),
            metrics: Metrics::register(&mut registry),
            patience: Duration::from_millis(200),
        };
        let running = tokio::spawn(portolan_broker::run(config, listeners, inputs, drain));
        Harness {
            known: Mutex::new((Catalog::default(), 0)),
            routes: Arc::new(routes),
            relay,
            registry,
            folder,
            addresses,
            trigger: Some(trigger),
            running: Some(running),
            gates: Mutex::default(),
        }
    }

    /// Opens a gateway; where it is without TLS, and with.
    pub(crate) fn gateway(&self, config: gateway::Config) -> [SocketAddr; 2] {
        let anywhere = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let config = gateway::Config { listen: anywhere.clone(), listen_tls: anywhere, ..config };
        let listeners = gateway::Listeners::reserve(&config).unwrap();
        let places = [listeners.plain().unwrap()[0], listeners.tls().unwrap()[0]];
        let (_, facts) = state::channel(Facts::default());
        let inputs = gateway::Inputs {
            relay: self.relay.clone(),
            node: NODE.into(),
            domain: "blue.example".into(),
            facts,
            credentials: Arc::new(TwoUsers),
            certificates: Certificates::new(),
            libipc: Libipc::default(),
            metrics: gateway::Metrics::register(&mut Registry::default()),
            patience: Duration::from_millis(200),
        };
        let (trigger, drain) = state::drain();
        let running = tokio::spawn(gateway::run(config, listeners, inputs, drain));
        self.gates.lock().unwrap().push((trigger, running));
        places
    }

    /// These rules, and how strictly they are used.
    pub(crate) fn rules(&self, mode: Mode, rules: &[&str]) {
        self.apply(Command::Configure(Settings { mode, ..Settings::default() }));
        let intentions = rules.iter().map(|text| {
            let [action, source, service] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let action = if action == "allow" { Action::Allow } else { Action::Deny };
            let service = if service == "any" { "*" } else { service };
            let mut rule = Intention::new(action, Source::parse(source).unwrap(), service);
            rule.id = rule.default_id();
            rule
        });
        let intentions = intentions.collect();
        self.apply(Command::Intention(IntentionCommand::Replace { intentions, cas: None }));
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("broker.sock")
    }

    pub(crate) fn register(&self, service: &str, address: SocketAddr) {
        let def = InstanceDef {
            address: address.ip().to_string().into(),
            ..InstanceDef::new(format!("{service}-{}", address.port()).into(), service.into(), address.port())
        };
        self.apply(Command::Register(Box::new(Register {
            node: Some(node()),
            on: NODE.into(),
            instance: Some(InstanceRegistration { def, replace_checks: true }),
            checks: vec![],
        })));
    }

    /// From now on, these rules of the host's own are in force.
    pub(crate) fn judge_by(&self, rules: &[&str]) {
        let read = |text: &&str| {
            let words: Vec<&str> = text.split(' ').collect();
            let [action, source, service, scheme, direction] = words[..] else { panic!("{text}") };
            let action = if action == "allow" { Action::Allow } else { Action::Deny };
            let mut rule = Intention::new(action, Source::parse(source).unwrap(), service);
            rule.scheme = (scheme != "any").then(|| scheme.into());
            rule.direction = match direction {
                "in" => Some(Direction::In),
                "out" => Some(Direction::Out),
                _ => None,
            };
            rule.id = rule.default_id();
            Arc::new(rule)
        };
        let rules = rules.iter().map(read).collect();
        let here = Here { node: NODE.into(), mode: Mode::Enforce, rules, ..Here::default() };
        self.routes.publish(Routes::project_on(&self.known.lock().unwrap().0.snapshot(), here.into()));
    }

    fn apply(&self, command: Command) {
        let (catalog, index) = &mut *self.known.lock().unwrap();
        *index += 1;
        let envelope = Envelope { node: NODE.into(), epoch: 1, sequence: *index, time_ms: *index, command };
        let applied = catalog.apply(*index, &envelope);
        assert!(applied.outcome.is_done(), "{:?}", applied.outcome);
        self.routes.publish(Routes::project(&catalog.snapshot()));
    }

    pub(crate) fn program(&self) -> Program {
        Program(sys::pass::seqpacket(&self.socket()).unwrap())
    }

    /// A counter's value as it is exposed; 0 when it has not been counted.
    pub(crate) fn count(&self, line: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Leaves, waits for the end, stops the data threads.
    pub(crate) async fn stop(mut self) {
        let gates = std::mem::take(&mut *self.gates.lock().unwrap());
        for (trigger, running) in gates {
            trigger.start();
            running.await.unwrap();
        }
        self.trigger.take().unwrap().start();
        self.running.take().unwrap().await.unwrap();
        let relay = self.relay.clone();
        tokio::task::spawn_blocking(move || relay.stop()).await.unwrap();
    }
}

/// A program that asks. Its calls wait.
pub(crate) struct Program(pub(crate) OwnedFd);

impl Program {
    pub(crate) fn ask(&self, request: &Request) -> (Reply, Option<OwnedFd>) {
        self.say(&serde_json::to_vec(request).unwrap())
    }

    pub(crate) fn connect(&self, name: &str) -> (Reply, Option<OwnedFd>) {
        self.ask(&Request::about(Operation::Connect, name))
    }

    pub(crate) fn say(&self, bytes: &[u8]) -> (Reply, Option<OwnedFd>) {
        self.0.send(bytes, &[]).unwrap();
        self.hear().unwrap()
    }

    /// Asks with descriptors.
    pub(crate) fn hand(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> (Reply, Option<OwnedFd>) {
        self.0.send(&serde_json::to_vec(request).unwrap(), descriptors).unwrap();
        self.hear().unwrap()
    }

    /// The next reply; `None` when the broker has gone.
    pub(crate) fn hear(&self) -> Option<(Reply, Option<OwnedFd>)> {
        sys::pass::set_receive_timeout(&self.0, PATIENCE).unwrap();
        let mut buffer = vec![0; LONGEST];
        let packet = self.0.receive(&mut buffer).unwrap();
        let reply = (packet.length > 0).then(|| serde_json::from_slice(&buffer[..packet.length]).unwrap());
        Some((reply?, packet.descriptors.into_iter().next()))
    }
}

/// Polls until `holds`.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "it never came about that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
