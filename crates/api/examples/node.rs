//! A node that is nothing but this face over a log, for measuring it alone:
//! `node ADDRESS [DIRECTORY]`, in memory without a directory.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use catalog::{Command, NodeDef, NodeRegistration, Register};
use lease::Leases;
use portolan_api::{Condition, Config, Control, Identity, Inputs, Metrics};
use prometheus_client::registry::Registry;
use route::{Facts, OpenVirtual, VirtualSocket};

struct Alone;

impl Control for Alone {
    fn reload(&self) -> Result<(), String> {
        Err("there is no configuration here".to_owned())
    }

    fn leave(&self) {}

    fn conditions(&self) -> Vec<Condition> {
        Vec::new()
    }
}

impl OpenVirtual for Alone {
    fn open(&self, _service: &str) -> Pin<Box<dyn Future<Output = Option<VirtualSocket>> + Send + '_>> {
        Box::pin(std::future::ready(None))
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().ok_or("usage: node ADDRESS [DIRECTORY]")?.parse()?;
    let store = match arguments.next() {
        None => {
            let (log, events) = log::memory::open(log::memory::Config::default());
            store::open(store::Config::new("n1"), log, events).await?
        }
        Some(directory) => {
            let (log, events) = log::solo::open(&log::solo::Config::new(directory))?;
            store::open(store::Config::new("n1"), log, events).await?
        }
    };
    let def = NodeDef {
        name: "n1".into(),
        id: "4c2b6d5e-0000-4000-8000-000000000001".into(),
        address: "127.0.0.1".into(),
        tagged_addresses: catalog::Labels::default(),
        meta: catalog::Labels::default(),
    };
    let node = Some(NodeRegistration { def, only_if_absent: false });
    let register = Register { node, on: "n1".into(), ..Register::default() };
    store.submit(Command::Register(Box::new(register))).await?;

    let config = Config { listen: vec![listen], ..Config::default() };
    let listeners = portolan_api::reserve(&config)?;
    let metrics = Metrics::default();
    let mut registry = Registry::with_prefix("portolan");
    metrics.register(&mut registry);
    let (_facts, facts) = state::channel(Facts::default());
    let (_routes, routes) = state::channel(route::Routes::project(&store.reader().now()));
    let (_trigger, drain) = state::drain();
    let inputs = Inputs {
        store,
        leases: Arc::new(Leases::new("n1", lease::Config::default(), Instant::now())),
        pass_on: Arc::new(lease::NobodyElse),
        facts,
        routes,
        open_virtual: Arc::new(Alone),
        node: Identity {
            name: "n1".into(),
            id: "4c2b6d5e-0000-4000-8000-000000000001".into(),
            address: "127.0.0.1".into(),
            datacenter: "dc1".into(),
            is_server: true,
            mesh_port: 8300,
            version: env!("CARGO_PKG_VERSION"),
            revision: "",
        },
        control: Arc::new(Alone),
        cluster: Arc::new(portolan_api::Alone),
        exposure: Arc::new(portolan_api::Unexposed),
        web: Arc::new(portolan_api::Alone),
        exposition: Arc::new(registry),
        metrics,
        guests: Vec::new(),
    };
    // The drain's trigger lives as long as this function, so this serves until the process is ended.
    portolan_api::run(config, listeners, inputs, drain).await;
    Ok(())
}
