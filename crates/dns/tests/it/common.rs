//! A face of its own for each test, fed by a catalog without a log.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::pin::Pin;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use catalog::exposure::Indoors;
use catalog::{
    Catalog, Command as Wish, Envelope, InstanceDef, InstanceRegistration, NodeDef, NodeRegistration,
    Register, Snapshot,
};
use domain::base::iana::Rtype;
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::AllRecordData;
use portolan_dns as dns;
use prometheus_client::registry::Registry;
use route::{Facts, Network6, OpenVirtual, Routes, VirtualSocket};
use state::{DrainTrigger, Publisher};
use store::View;

pub(crate) struct Face {
    pub(crate) address: SocketAddr,
    client: UdpSocket,
    catalog: Mutex<(Catalog, u64)>,
    views: Publisher<View>,
    routes: Publisher<Routes>,
    opener: Arc<Opener>,
    registry: Registry,
    trigger: DrainTrigger,
    task: tokio::task::JoinHandle<Result<(), dns::RunError>>,
}

/// Opens every virtual address at once, ten thousand ports above the service's.
struct Opener {
    facts: Publisher<Facts>,
    views: state::Reader<View>,
    opened: Mutex<Vec<String>>,
}

impl OpenVirtual for Opener {
    fn open(&self, service: &str) -> Pin<Box<dyn Future<Output = Option<VirtualSocket>> + Send + '_>> {
        self.opened.lock().unwrap().push(service.to_owned());
        let found = self.views.now().service(service).cloned();
        let socket = found.and_then(|service| {
            let address = SocketAddrV4::new(service.virtual_ip?.0, service.port + 10_000);
            let six = self.facts.now().six.map(|network| network.like(*address.ip()));
            Some((service.name.clone(), VirtualSocket { address, moved: None, six }))
        });
        if let Some((name, socket)) = &socket {
            let mut facts = (*self.facts.now()).clone();
            facts.virtual_sockets.insert(name.clone(), socket.clone());
            self.facts.publish(facts);
        }
        Box::pin(std::future::ready(socket.map(|(_, socket)| socket)))
    }
}

impl Face {
    pub(crate) async fn start(config: dns::Config) -> Face {
        let config = dns::Config { listen: vec!["127.0.0.1:0".parse().unwrap()], threads: 2, ..config };
        let listeners = dns::Listeners::bind(&config).unwrap();
        let address = listeners.addresses()[0];
        let (views, view_reader) = state::channel(View(Snapshot::default()));
        let (facts, fact_reader) = state::channel(Facts::default());
        let (routes, routes_reader) = state::channel(Routes::default());
        let opener = Arc::new(Opener { facts, views: view_reader.clone(), opened: Mutex::default() });
        let inputs = dns::Inputs {
            node: "here".into(),
            datacenter: "dc1".into(),
            views: view_reader,
            facts: fact_reader,
            routes: routes_reader,
            indoors: state::channel(Indoors::default()).1,
            open_virtual: opener.clone(),
        };
        let mut registry = Registry::default();
        let metrics = dns::Metrics::register(&mut registry);
        let (trigger, drain) = state::drain();
        let task = tokio::spawn(dns::run(config, listeners, inputs, metrics, drain));
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Face { address, client, catalog: Mutex::default(), views, routes, opener, registry, trigger, task }
    }

    /// Applies a command and publishes what comes of it.
    pub(crate) fn apply(&self, command: Wish) {
        let mut guard = self.catalog.lock().unwrap();
        let (catalog, index) = &mut *guard;
        *index += 1;
        let envelope =
            Envelope { node: "here".into(), epoch: 1, sequence: *index, time_ms: 1_000 + *index, command };
        let applied = catalog.apply(*index, &envelope);
        assert!(applied.outcome.is_done(), "{:?}", applied.outcome);
        self.views.publish(View(catalog.snapshot()));
        self.routes.publish(Routes::project(&catalog.snapshot()));
    }

    /// Registers one instance on node `here`, whose address is 10.0.0.1.
    pub(crate) fn register(&self, service: &str, address: &str, port: u16) {
        let def = InstanceDef { address: address.into(), port, ..instance(service) };
        let node = NodeDef::new("here".into(), "10.0.0.1".into());
        self.apply(Wish::Register(Box::new(Register {
            node: Some(NodeRegistration { def: node, only_if_absent: true }),
            on: "here".into(),
            instance: Some(InstanceRegistration { def, replace_checks: true }),
            checks: Vec::new(),
        })));
    }

    pub(crate) fn virtual_ip(&self, service: &str) -> String {
        self.views.now().service(service).unwrap().virtual_ip.unwrap().0.to_string()
    }

    /// Virtual addresses have their like there.
    pub(crate) fn lead_six(&self, network: Network6) {
        let facts = (*self.opener.facts.now()).clone();
        self.opener.facts.publish(Facts { six: Some(network), ..facts });
    }

    pub(crate) fn opened(&self) -> Vec<String> {
        self.opener.opened.lock().unwrap().clone()
    }

    pub(crate) fn send(&self, packet: &[u8]) {
        self.client.send(packet).unwrap();
    }

    /// Sends a packet and receives the next answer.
    pub(crate) fn exchange(&self, packet: &[u8]) -> Vec<u8> {
        self.send(packet);
        let mut answer = vec![0; 65_535];
        let length = self.client.recv(&mut answer).unwrap();
        answer.truncate(length);
        answer
    }

    pub(crate) fn ask(&self, name: &str, rtype: &str) -> Vec<u8> {
        self.exchange(&query(7, name, rtype))
    }

    /// Polls until `check` gives something.
    pub(crate) async fn until<T>(&self, mut check: impl FnMut(&Face) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = check(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "gave up waiting");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    pub(crate) async fn stop(self) {
        assert!(self.trigger.finish(Duration::from_secs(10)).await, "the drain was not finished in time");
        self.task.await.unwrap().unwrap();
    }
}

fn instance(service: &str) -> InstanceDef {
    InstanceDef::new(service.into(), service.into(), 0)
}

pub(crate) fn query(id: u16, name: &str, rtype: &str) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec().question();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    builder.push((Name::vec_from_str(name).unwrap(), rtype.parse::<Rtype>().unwrap())).unwrap();
    builder.finish()
}

/// The answer section as text, without owners and times.
pub(crate) fn records(answer: &[u8]) -> Vec<String> {
    let message = Message::from_octets(answer).unwrap();
    let records = message.answer().unwrap().limit_to::<AllRecordData<_, _>>();
    let mut lines: Vec<String> = records
        .map(|record| record.unwrap())
        .map(|record| format!("{} {}", record.rtype(), record.data()))
        .collect();
    lines.sort();
    lines
}

pub(crate) fn dig(arguments: &[&str]) -> Option<ExitStatus> {
    Some(Command::new("dig").args(arguments).output().ok()?.status)
}

pub(crate) fn dig_output(arguments: &[&str]) -> String {
    let fixed = ["+noidnin", "+tries=1", "+time=10"];
    let output = Command::new("dig").args(arguments).args(fixed).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
