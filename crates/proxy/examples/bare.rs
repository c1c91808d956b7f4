//! The proxy with one service and no daemon around it, to measure and to profile:
//!
//! ```text
//! cargo run --profile fast -p portolan-proxy --example bare -- 127.0.0.1:9000 [threads] [protocol]
//! ```
//!
//! prints where it listens: every HTTP request, and every TCP connection on the second port, goes to that
//! address. Ends with its standard input.

use std::error::Error;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use catalog::{
    Catalog, Command, Envelope, InstanceDef, InstanceRegistration, NodeDef, NodeRegistration, Register,
};
use portolan_proxy::{
    Config, HttpRoute, Inputs, Listeners, Metrics, ServiceListener, run, virtual_listeners,
};
use prometheus_client::registry::Registry;
use relay::{Relay, TcpDial};
use route::{Facts, Routes};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let backend: SocketAddr = arguments.next().ok_or("which address does the service have?")?.parse()?;
    let threads = arguments.next().map_or(Ok(1), |threads| threads.parse())?;
    let routes = routes(backend, arguments.next());
    sys::process::raise_descriptor_limit()?;

    let mut registry = Registry::default();
    let (_routes, reader) = state::channel(routes);
    let settings = relay::Config { threads, ..relay::Config::default() };
    let relay = Relay::start(settings, &reader, Arc::new(TcpDial), &mut registry)?;
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let mut config = Config { named: vec![], ..Config::default() };
    config.http.listen = vec![any];
    let all = HttpRoute::new(None, Some("/"), "web");
    config.http.routes = vec![all];
    config.tcp = vec![ServiceListener::new(any, "web")];
    let listeners = Listeners::reserve(&config, relay.threads())?;
    let tcp: Vec<SocketAddr> = listeners.tcp().map(|(address, _)| address).collect();
    println!("http {:?} tcp {tcp:?}", listeners.http());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (trigger, drain) = state::drain();
    let (_, facts) = state::channel(Facts::default());
    let (_virtuals, openings) = virtual_listeners();
    let metrics = Metrics::register(&mut registry);
    let inputs = Inputs {
        shown: portolan_proxy::Shown::nothing(),
        relay: relay.clone(),
        facts,
        node: "bare".into(),
        openings,
        certificates: Default::default(),
        metrics,
    };
    let (_config, config) = state::channel(config);
    std::thread::spawn(move || {
        // Whatever ends the input ends the program.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        trigger.start();
    });
    runtime.block_on(run(config, listeners, inputs, drain));
    relay.stop();
    Ok(())
}

fn routes(backend: SocketAddr, protocol: Option<String>) -> Routes {
    let def = NodeDef::new("bare".into(), backend.ip().to_string().into());
    let instance = InstanceDef {
        tags: protocol.into_iter().map(|protocol| format!("protocol={protocol}").into()).collect(),
        ..InstanceDef::new("web".into(), "web".into(), backend.port())
    };
    let register = Register {
        node: Some(NodeRegistration { def, only_if_absent: false }),
        on: "bare".into(),
        instance: Some(InstanceRegistration { def: instance, replace_checks: false }),
        checks: vec![],
    };
    let command = Command::Register(Box::new(register));
    let mut catalog = Catalog::default();
    catalog.apply(1, &Envelope { node: "bare".into(), epoch: 1, sequence: 1, time_ms: 1, command });
    Routes::project(&catalog.snapshot())
}
