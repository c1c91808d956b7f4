//! A proxy with a catalog of its own, on ports that the kernel chooses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::{
    Catalog, CheckDef, CheckRegistration, Command, Deregister, Envelope, InitialStatus, InstanceDef,
    InstanceRegistration, NodeDef, NodeRegistration, Probe, Register, Status, Weights,
};
use prometheus_client::registry::Registry;

use portolan_proxy::{Config, Inputs, Listeners, VirtualListeners};
use relay::tls::Certificates;
use relay::{Relay, TcpDial};
use route::{Facts, Routes};
use state::{DrainTrigger, Publisher};
use tokio::task::JoinHandle;

pub(crate) const NODE: &str = "here";

struct Known {
    catalog: Catalog,
    index: u64,
}

pub(crate) struct Harness {
    known: Mutex<Known>,
    routes: Publisher<Routes>,
    pub(crate) config: Publisher<Config>,
    pub(crate) relay: Relay,
    pub(crate) named: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) tcp: Vec<SocketAddr>,
    pub(crate) udp: Vec<SocketAddr>,
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) virtuals: VirtualListeners,
    pub(crate) registry: Registry,
    trigger: Option<DrainTrigger>,
    running: Option<JoinHandle<()>>,
}

/// What a test says of an instance.
#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    pub(crate) weight: u16,
    pub(crate) protocol: Option<&'static str>,
}

impl Instance {
    pub(crate) fn at(address: SocketAddr) -> Instance {
        Instance { id: format!("i-{}", address.port()), address, weight: 1, protocol: None }
    }

    pub(crate) fn speaking(self, protocol: &'static str) -> Instance {
        Instance { protocol: Some(protocol), ..self }
    }

    pub(crate) fn weighing(self, weight: u16) -> Instance {
        Instance { weight, ..self }
    }
}

/// Settings with ports that the kernel chooses.
pub(crate) fn config() -> Config {
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let mut config = Config { named: vec![any], drain: Duration::from_secs(5), ..Config::default() };
    config.http.listen = vec![any];
    config
}

impl Harness {
    pub(crate) async fn start() -> Harness {
        Harness::with(config()).await
    }

    pub(crate) async fn with(config: Config) -> Harness {
        let relay_config =
            relay::Config { threads: 2, connect_timeout: Duration::from_secs(2), ..relay::Config::default() };
        Harness::on(relay_config, config).await
    }

    pub(crate) async fn on(relay_config: relay::Config, config: Config) -> Harness {
        let mut registry = Registry::default();
        let (routes, reader) = state::channel(Routes::default());
        let relay = Relay::start(relay_config, &reader, Arc::new(TcpDial), &mut registry).unwrap();
        let listeners = Listeners::reserve(&config, relay.threads()).unwrap();
        let (named, http) = (listeners.named()[0], listeners.http()[0]);
        let tls = listeners.tls().first().copied();
        let tcp = listeners.tcp().map(|(address, _)| address).collect();
        let udp = listeners.udp().map(|(address, _)| address).collect();
        let (virtuals, openings) = portolan_proxy::virtual_listeners();
        let (_, facts) = state::channel(Facts::default());
        let metrics = portolan_proxy::Metrics::register(&mut registry);
        let certificates = Certificates::new();
        let inputs = Inputs {
            relay: relay.clone(),
            facts,
            node: NODE.into(),
            openings,
            certificates: certificates.clone(),
            shown: portolan_proxy::Shown::nothing(),
            metrics,
        };
        let (config, config_reader) = state::channel(config);
        let (trigger, drain) = state::drain();
        let running = tokio::spawn(portolan_proxy::run(config_reader, listeners, inputs, drain));
        Harness {
            known: Mutex::new(Known { catalog: Catalog::default(), index: 0 }),
            routes,
            config,
            relay,
            named,
            http,
            tcp,
            udp,
            tls,
            certificates,
            virtuals,
            registry,
            trigger: Some(trigger),
            running: Some(running),
        }
    }

    fn apply(&self, command: Command) {
        let mut known = self.known.lock().unwrap();
        known.index += 1;
        let index = known.index;
        let envelope = Envelope { node: NODE.into(), epoch: 1, sequence: index, time_ms: index, command };
        let applied = known.catalog.apply(index, &envelope);
        assert!(applied.outcome.is_done(), "{:?}", applied.outcome);
        let routes = Routes::project(&known.catalog.snapshot());
        drop(known);
        self.routes.publish(routes);
    }

    pub(crate) fn register(&self, service: &str, instance: Instance) {
        let node = NodeDef::new(NODE.into(), "127.0.0.1".into());
        let mut meta = std::collections::BTreeMap::<Arc<str>, Arc<str>>::new();
        if let Some(protocol) = instance.protocol {
            meta.insert("protocol".into(), protocol.into());
        }
        let def = InstanceDef {
            address: instance.address.ip().to_string().into(),
            meta: meta.into_iter().collect(),
            weights: Weights { passing: instance.weight, warning: instance.weight },
            ..InstanceDef::new(instance.id.as_str().into(), service.into(), instance.address.port())
        };
        let check = CheckDef {
            id: format!("check:{}", instance.id).into(),
            name: "alive".into(),
            notes: "".into(),
            service_id: instance.id.as_str().into(),
            probe: Probe::External,
            deregister_after_ms: None,
            success_before_passing: 0,
            failures_before_warning: 0,
            failures_before_critical: 0,
            definition: None,
        };
        self.apply(Command::Register(Box::new(Register {
            node: Some(NodeRegistration { def: node, only_if_absent: true }),
            on: NODE.into(),
            instance: Some(InstanceRegistration { def, replace_checks: true }),
            checks: vec![CheckRegistration {
                def: check,
                status: InitialStatus::Set(Status::Passing),
                output: "".into(),
            }],
        })));
    }

    pub(crate) fn set_status(&self, instance: &Instance, status: Status) {
        let check = format!("check:{}", instance.id).into();
        self.apply(Command::SetStatus { node: NODE.into(), check, status, output: "".into() });
    }

    pub(crate) fn deregister(&self, instance: &Instance) {
        let id = instance.id.as_str().into();
        let instance = Deregister::Instance { node: NODE.into(), id, registered_index: None };
        self.apply(Command::Deregister(instance));
    }

    /// Tells the proxy to leave, without waiting.
    pub(crate) fn leave(&self) {
        self.trigger.as_ref().unwrap().start();
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
        let trigger = self.trigger.take().unwrap();
        trigger.start();
        self.running.take().unwrap().await.unwrap();
        let relay = self.relay.clone();
        tokio::task::spawn_blocking(move || relay.stop()).await.unwrap();
    }
}

/// Polls until `holds`, for ten seconds at most.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came about that {what}");
}
