//! The port, as clients of the seed meet it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{Kind, NodeDef, NodeRegistration, Register, Status};
use lease::Leases;
use proptest::prelude::*;
use state::DrainTrigger;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::wire::{self, Answer, Malformed, Request};
use super::{Config, Metrics, fuzz_request, run};

struct Port {
    store: Store,
    leases: Arc<Leases>,
    address: SocketAddr,
    started: Instant,
    metrics: Metrics,
    trigger: DrainTrigger,
    server: JoinHandle<()>,
}

impl Port {
    async fn start(config: Config) -> Port {
        let (log, events) = log::memory::open(log::memory::Config::default());
        let store = store::open(store::Config::new("n1"), log, events).await.unwrap();
        let def = NodeDef::new("n1".into(), "127.0.0.1".into());
        let node = Some(NodeRegistration { def, only_if_absent: false });
        let register = Register { node, on: "n1".into(), ..Register::default() };
        store.submit(catalog::Command::Register(Box::new(register))).await.unwrap();
        let started = Instant::now();
        let leases = Arc::new(Leases::new("n1", lease::Config::default(), started));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, drain) = state::drain();
        let metrics = Metrics::default();
        let server =
            tokio::spawn(run(config, listener, store.clone(), leases.clone(), metrics.clone(), drain));
        Port { store, leases, address, started, metrics, trigger, server }
    }

    async fn stop(self) {
        assert!(self.trigger.finish(Duration::from_secs(10)).await);
        self.server.await.unwrap();
    }

    /// Connects from a loopback address.
    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Sends pieces with pauses between them and reads until the server closes.
    async fn ask_from(&self, from: Ipv4Addr, pieces: &[&[u8]]) -> String {
        let mut stream = self.connect(from).await;
        stream.set_nodelay(true).unwrap();
        for (number, piece) in pieces.iter().enumerate() {
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            stream.write_all(piece).await.unwrap();
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn ask(&self, request: &[u8]) -> String {
        self.ask_from(Ipv4Addr::LOCALHOST, &[request]).await
    }

    /// Registers as the seed's client does; returns the port.
    async fn register(&self, name: &str) -> u16 {
        port_of(&self.ask(&padded(name)).await)
    }

    fn instances(&self, service: &str) -> Vec<(String, u16)> {
        let view = self.store.now();
        let service = view.service(service);
        let all = service.iter().flat_map(|service| service.iter());
        all.map(|instance| (instance.def.address.to_string(), instance.def.port)).collect()
    }
}

fn padded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(256, 0);
    bytes
}

fn port_of(answer: &str) -> u16 {
    let parts: Vec<_> = answer.split('|').collect();
    assert_eq!(parts.first(), Some(&"SUCCESS"), "{answer:?}");
    parts[2].parse().unwrap()
}

#[tokio::test]
async fn a_registration_is_an_ordinary_service() {
    let port = Port::start(Config::default()).await;
    let answer = port.ask(&padded("web")).await;
    let view = port.store.now();
    let service = view.service("web").unwrap();
    let (ip, assigned) = (service.virtual_ip.unwrap().0, service.port);
    assert_eq!(answer, format!("SUCCESS|{ip}|{assigned}|86400\0"));
    assert!((9001..=9999).contains(&assigned));
    assert_eq!(service.kind, Kind::Netsel);
    let instance = service.iter().next().unwrap();
    assert_eq!(port.instances("web"), [("127.0.0.1".into(), assigned)]);
    assert_eq!(instance.def.lease.unwrap().ttl_ms, 60_000);
    assert_eq!(view.health(instance), Status::Passing);
    port.stop().await;
}

#[tokio::test]
async fn registering_again_replaces_at_once_and_keeps_the_port() {
    let port = Port::start(Config::default()).await;
    let first = port.register("web").await;
    let other = port.register("db").await;
    assert_ne!(first, other);
    assert_eq!(port.register("web").await, first);
    assert_eq!(port.instances("web").len(), 1);
    // From another host it is another instance of the same service, and its ports are its own.
    let elsewhere = port.ask_from(Ipv4Addr::new(127, 0, 0, 9), &[&padded("web")]).await;
    assert_ne!(port_of(&elsewhere), first, "all of loopback is one host");
    assert_eq!(port.instances("web").len(), 2);
    port.stop().await;
}

#[tokio::test]
async fn many_at_once_get_a_port_each() {
    let port = Arc::new(Port::start(Config::default()).await);
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..50 {
        let port = port.clone();
        asking.spawn(async move { port.register(&format!("web-{number}")).await });
    }
    // And one client that asks twice at the same time gets one port.
    for _ in 0..5 {
        let port = port.clone();
        asking.spawn(async move { port.register("web-0").await });
    }
    let mut ports: Vec<_> = asking.join_all().await;
    assert_eq!(ports.len(), 55);
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 50);
    assert!(!ports.contains(&9000));
}

#[tokio::test]
async fn ports_run_out_with_a_reason_and_the_registrys_own_is_never_given() {
    let config = Config { first_port: 8999, last_port: 9000, ..Config::default() };
    let port = Port::start(config).await;
    let first = port.ask(&padded("a")).await;
    // Somebody else on this machine may listen on 8999.
    assert!(first.starts_with("SUCCESS|") || first.starts_with("FAILED|no port"), "{first:?}");
    let refused = port.ask(&padded("b")).await;
    assert_eq!(refused, "FAILED|no port from 8999 to 9000 is free for that address\0");
    port.stop().await;
}

#[tokio::test]
async fn a_port_that_somebody_on_this_host_has_is_left_out() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let held = holder.local_addr().unwrap().port();
    let config = Config { first_port: held, last_port: held, ..Config::default() };
    let port = Port::start(config).await;
    assert!(port.ask(&padded("web")).await.starts_with("FAILED|no port"));
    drop(holder);
    assert_eq!(port.register("web").await, held);
    port.stop().await;
}

#[tokio::test]
async fn heartbeats_renew_and_say_when_they_do_not() {
    let port = Port::start(Config::default()).await;
    assert_eq!(port.ask(&padded("HEARTBEAT|web")).await, "HEARTBEAT_FAILED");
    port.register("web").await;
    assert_eq!(port.ask(&padded("HEARTBEAT|web")).await, "HEARTBEAT_OK");
    assert_eq!(port.ask(b"HEARTBEAT| web \n").await, "HEARTBEAT_OK");
    let elsewhere = port.ask_from(Ipv4Addr::new(127, 0, 0, 9), &[&padded("HEARTBEAT|web")]).await;
    assert_eq!(elsewhere, "HEARTBEAT_FAILED", "nobody renews what another host registered");
    // A minute of silence, swept every second.
    for second in 1..=61 {
        let now = port.started + Duration::from_secs(second);
        for expired in port.leases.sweep(&port.store.now(), now) {
            port.store.submit(expired.command()).await.unwrap();
        }
    }
    assert_eq!(port.instances("web"), []);
    assert_eq!(port.ask(&padded("HEARTBEAT|web")).await, "HEARTBEAT_FAILED");
    port.stop().await;
}

#[tokio::test]
async fn a_lookup_tells_where_and_since_when() {
    let port = Port::start(Config::default()).await;
    assert_eq!(port.ask(&padded("LOOKUP|web")).await, "NOT_FOUND");
    let assigned = port.register("web").await;
    let found = port.ask(&padded("LOOKUP|web")).await;
    let age = found.strip_prefix(&format!("FOUND|127.0.0.1|{assigned}|")).unwrap().trim_end_matches('\0');
    assert!(age.parse::<u64>().unwrap() < 60_000, "{found:?}");
    assert!(found.ends_with('\0'));
    port.stop().await;
}

#[tokio::test]
async fn requests_may_come_in_pieces_and_without_padding() {
    let port = Port::start(Config::default()).await;
    for pieces in [
        &[&b"sp"[..], b"lit", b"\0\0\0"][..],
        &[b"split\n"],
        &[b"split"],
        &[b"spl", b"it"],
        &[&padded("split")[..3], &padded("split")[3..]],
        &[b" split\r\n"],
    ] {
        let answer = port.ask_from(Ipv4Addr::LOCALHOST, pieces).await;
        assert!(answer.starts_with("SUCCESS|"), "{pieces:?}: {answer:?}");
    }
    assert_eq!(port.instances("split").len(), 1);
    port.stop().await;
}

#[tokio::test]
async fn bad_requests_are_told_why_and_harm_nobody() {
    let port = Port::start(Config::default()).await;
    for (request, reason) in [
        (padded("no spaces please"), "' ' is not allowed"),
        (padded("a|b"), "'¦' is not allowed"),
        (padded("-x"), "must start and end"),
        (padded(&"x".repeat(64)), "64 characters"),
        (vec![b'x'; 300], "longer than 256 bytes"),
        (vec![0xff, 0xfe, 0], "not UTF-8"),
        (padded(""), "empty"),
    ] {
        let answer = port.ask(&request).await;
        assert!(answer.starts_with("FAILED|") && answer.ends_with('\0'), "{answer:?}");
        assert!(answer.contains(reason), "{reason} in {answer:?}");
        assert_eq!(answer.matches('|').count(), 1, "{answer:?}");
    }
    assert_eq!(port.store.now().service_count(), 0);
    assert!(port.ask(&padded("fine")).await.starts_with("SUCCESS|"));
    port.stop().await;
}

#[tokio::test]
async fn a_silent_client_is_cut_off() {
    let config = Config { read_timeout: Duration::from_millis(50), ..Config::default() };
    let port = Port::start(config).await;
    let mut stream = port.connect(Ipv4Addr::LOCALHOST).await;
    let mut answer = Vec::new();
    assert_eq!(stream.read_to_end(&mut answer).await.unwrap(), 0);
    let mut registry = prometheus_client::registry::Registry::default();
    port.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("netsel_requests_total{request=\"connection\",result=\"silent\"} 1"), "{text}");
    port.stop().await;
}

#[test]
fn answers_have_the_seeds_bytes() {
    let ip: IpAddr = "127.77.1.2".parse().unwrap();
    assert_eq!(Answer::Registered { ip, port: 9001 }.encode(), b"SUCCESS|127.77.1.2|9001|86400\0");
    assert_eq!(Answer::Renewed.encode(), b"HEARTBEAT_OK");
    assert_eq!(Answer::NotRenewed.encode(), b"HEARTBEAT_FAILED");
    let long = Answer::Failed { reason: "é|\0".repeat(300) }.encode();
    assert!(long.len() <= 256 && long.ends_with(b"\0"));
    assert_eq!(long.iter().filter(|byte| **byte == b'|').count(), 1);
    assert!(std::str::from_utf8(&long).is_ok());
}

#[test]
fn requests_are_told_apart() {
    let register = |name: &str| Ok(Request::Register(name.into()));
    assert_eq!(wire::parse(b"web\0\0junk"), register("web"));
    assert_eq!(wire::parse(b"HEARTBEAT"), register("HEARTBEAT"));
    assert_eq!(wire::parse(b"HEARTBEAT| web "), Ok(Request::Heartbeat("web".into())));
    assert_eq!(wire::parse(b" \0"), Err(Malformed::Empty));
    assert_eq!(wire::parse(b""), Err(Malformed::Empty));
    assert_eq!(wire::parse(&[b'a'; 257]), Err(Malformed::TooLong));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz_request(&bytes);
    }
}
