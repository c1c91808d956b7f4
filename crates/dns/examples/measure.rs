//! Measures what this crate promises; run by hand, optimised, on a quiet machine.
//!
//! ```sh
//! cargo run -p portolan-dns --profile fast --example measure -- project 100000 100000
//! cargo run -p portolan-dns --profile fast --example measure -- serve 10000 127.0.0.1:5300 20
//! cargo run -p portolan-dns --profile fast --example measure -- load 10000 127.0.0.1:5300 2
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{
    Catalog, Command, Envelope, InstanceDef, InstanceRegistration, NodeDef, NodeRegistration, Register,
    Settings, virtual_ip::Range,
};
use portolan_dns as dns;
use prometheus_client::registry::Registry;
use route::{Facts, OpenVirtual, VirtualSocket};
use store::View;
use sys::mmsg::{Inbox, Outbox};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["project", instances, services] => project(instances.parse()?, services.parse()?),
        ["serve", names, address, seconds] => serve(names.parse()?, address.parse()?, seconds.parse()?),
        ["load", names, address, seconds] => load(names.parse()?, address.parse()?, seconds.parse()?),
        _ => {
            Err("project INSTANCES SERVICES | serve NAMES ADDRESS SECONDS | load NAMES ADDRESS SECONDS"
                .into())
        }
    }
}

/// CPU time of this thread: other work on the machine does not count.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Resident memory in KiB.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

fn project(instances: u32, services: u32) -> Outcome {
    let before = resident()?;
    let mut catalog = filled(instances, services);
    let with_catalog = resident()?;
    let plan = dns::Plan::new(&dns::Config::default());
    let facts = Facts::default();
    let started = cpu();
    let mut zone = plan.project(&catalog.snapshot(), &facts);
    let took = cpu() - started;
    println!("catalog {} KiB, zone {} KiB", with_catalog - before, resident()? - with_catalog);
    println!("whole projection of {instances} instances in {} services: {took:?}", zone.services());
    for batch in [1, 10, 100] {
        let mut times: Vec<Duration> = (0..200)
            .map(|round| {
                for number in 0..batch {
                    let number = (round * 7919 + number * 104_729) % instances;
                    register(&mut catalog, number, services, 9000 + (round % 100) as u16);
                }
                let started = cpu();
                zone = plan.advance(&zone, &catalog.snapshot(), &facts);
                cpu() - started
            })
            .collect();
        times.sort();
        println!("{batch} changed: median {:?}, p99 {:?}", times[100], times[198]);
    }
    println!("after that: {} KiB in all", resident()? - before);
    Ok(())
}

fn filled(instances: u32, services: u32) -> Catalog {
    let mut catalog = Catalog::default();
    // Room for a million services; a range that is full makes every registration search all of it.
    let virtual_ips = Range { base: Ipv4Addr::new(127, 0, 0, 0), prefix: 8 };
    let command = Command::Configure(Settings { virtual_ips, ..Settings::default() });
    catalog.apply(1, &Envelope { node: "n".into(), epoch: 1, sequence: 1, time_ms: 1, command });
    (0..instances).for_each(|number| register(&mut catalog, number, services, 8080));
    catalog
}

fn register(catalog: &mut Catalog, number: u32, services: u32, port: u16) {
    let index = catalog.snapshot().index() + 1;
    let node: Arc<str> = format!("node-{}", number % 1000).into();
    let def = NodeDef::new(node.clone(), format!("10.0.{}.{}", number % 1000 / 250, number % 250).into());
    let instance = InstanceDef {
        address: format!("10.{}.{}.{}", 1 + number / 62_500, number / 250 % 250, number % 250).into(),
        ..InstanceDef::new(format!("i{number}").into(), format!("service-{}", number % services).into(), port)
    };
    let command = Command::Register(Box::new(Register {
        node: Some(NodeRegistration { def, only_if_absent: true }),
        on: node,
        instance: Some(InstanceRegistration { def: instance, replace_checks: true }),
        checks: Vec::new(),
    }));
    catalog.apply(index, &Envelope { node: "n".into(), epoch: 1, sequence: index, time_ms: index, command });
}

struct Never;

impl OpenVirtual for Never {
    fn open(&self, _: &str) -> Pin<Box<dyn Future<Output = Option<VirtualSocket>> + Send + '_>> {
        Box::pin(std::future::ready(None))
    }
}

fn serve(names: u32, address: SocketAddr, seconds: u64) -> Outcome {
    let config =
        dns::Config { listen: vec![address], threads: 1, virtual_ips: false, ..dns::Config::default() };
    let listeners = dns::Listeners::bind(&config)?;
    let (_views, views) = state::channel(View(filled(names, names).snapshot()));
    let (_facts, facts) = state::channel(Facts::default());
    let (_routes, routes) = state::channel(route::Routes::default());
    let (_indoors, indoors) = state::channel(catalog::exposure::Indoors::default());
    let inputs = dns::Inputs {
        node: "node-0".into(),
        datacenter: "dc1".into(),
        views,
        facts,
        routes,
        indoors,
        open_virtual: Arc::new(Never),
    };
    let mut registry = Registry::default();
    let metrics = dns::Metrics::register(&mut registry);
    let (trigger, drain) = state::drain();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::spawn(dns::run(config, listeners, inputs, metrics, drain));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        trigger.finish(Duration::from_secs(5)).await;
    });
    Ok(())
}

/// Queries under way on each socket: together no more than a server's default receive buffer holds.
const LANE: usize = 24;

/// Eight sockets, no sleep.
fn load(names: u32, address: SocketAddr, seconds: u64) -> Outcome {
    let mut lanes = Vec::new();
    for _ in 0..8 {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        lanes.push((socket, Inbox::new(64, 1500), Outbox::new(64, 512)));
    }
    let (mut sent, mut answered, mut wrong) = (0u64, 0u64, 0u64);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(seconds) {
        for (socket, _, outbox) in &mut lanes {
            for _ in 0..LANE {
                outbox.push_bytes(&query(fastrand::u32(0..names)), None);
            }
            while !outbox.is_empty() {
                sent += outbox.send(socket)? as u64;
            }
        }
        for (socket, inbox, _) in &mut lanes {
            let mut got = 0;
            while got < LANE {
                match inbox.receive(socket) {
                    Ok(count) => got += count,
                    Err(_) => break,
                }
                wrong += inbox.iter().filter(|d| d.bytes[3] & 0x0f != 0 || d.bytes[7] == 0).count() as u64;
            }
            answered += got as u64;
        }
    }
    let rate = answered as f64 / started.elapsed().as_secs_f64();
    println!("{rate:.0} answers/s, {} lost, {wrong} wrong", sent - answered);
    Ok(())
}

fn query(number: u32) -> Vec<u8> {
    let label = format!("service-{number}");
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, label.len() as u8];
    packet.extend_from_slice(label.as_bytes());
    packet.extend_from_slice(b"\x03svc\x08internal\0\0\x01\0\x01");
    packet
}
