//! A node with an in-memory log, small servers to check, and a bounded poll.

#![allow(dead_code, clippy::unwrap_used, reason = "test code; each file uses a part of it")]

pub(crate) mod grpc;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{
    Cadence, Check, CheckDef, CheckRegistration, Command, HttpProbe, InitialStatus, InstanceDef,
    InstanceRegistration, Lease, Probe, Register, Status,
};
use lease::Leases;
use portolan_health::{Config, Metrics, node_def, register_node};
use state::DrainTrigger;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running node named `n1`.
pub(crate) struct Node {
    pub(crate) store: Store,
    pub(crate) leases: Arc<Leases>,
    pub(crate) metrics: Metrics,
    runner: JoinHandle<()>,
    trigger: DrainTrigger,
}

impl Node {
    pub(crate) async fn start(config: Config) -> Node {
        let (log, events) = log::memory::open(log::memory::Config::default());
        let store = store::open(store::Config::new("n1"), log, events).await.unwrap();
        Node::start_on(config, store).await
    }

    pub(crate) async fn start_on(config: Config, store: Store) -> Node {
        let def = node_def("n1", "", Ipv4Addr::LOCALHOST.into());
        register_node(&store, &def).await.unwrap();
        let leases = Arc::new(Leases::new("n1", config.leases.clone(), Instant::now()));
        let metrics = Metrics::default();
        let (trigger, drain) = state::drain();
        let run = portolan_health::run(config, def, store.clone(), leases.clone(), metrics.clone(), drain);
        Node { store, leases, metrics, runner: tokio::spawn(run), trigger }
    }

    pub(crate) async fn register(&self, id: &str, lease: Option<Duration>, checks: Vec<CheckRegistration>) {
        let def = InstanceDef {
            lease: lease.map(|term| Lease { ttl_ms: term.as_millis() as u64 }),
            ..InstanceDef::new(id.into(), "web".into(), 80)
        };
        let instance = Some(InstanceRegistration { def, replace_checks: true });
        let register = Register { node: None, on: "n1".into(), instance, checks };
        self.store.submit(Command::Register(Box::new(register))).await.unwrap();
    }

    pub(crate) fn check(&self, id: &str) -> Option<Arc<Check>> {
        self.store.now().check("n1", id).cloned()
    }

    /// Waits until a check has a status; returns the check.
    pub(crate) async fn becomes(&self, id: &str, status: Status) -> Arc<Check> {
        eventually(&format!("check {id} is {status}"), || self.check(id).filter(|c| c.status == status)).await
    }

    pub(crate) async fn stop(self) {
        assert!(self.trigger.finish(PATIENCE).await, "the runner leaves when told to");
        self.runner.await.unwrap();
    }
}

/// Polls until there is something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn cadence(interval_ms: u64) -> Cadence {
    Cadence { interval_ms, timeout_ms: 5_000 }
}

pub(crate) fn tcp(address: impl ToString) -> Probe {
    Probe::Tcp { address: address.to_string().into(), cadence: cadence(100) }
}

pub(crate) fn http(url: String) -> HttpProbe {
    HttpProbe { url: url.into(), ..HttpProbe::default() }
}

pub(crate) fn command(args: &[&str], timeout_ms: u64) -> Probe {
    let args = args.iter().map(|arg| Arc::from(*arg)).collect();
    Probe::Command { args, cadence: Cadence { interval_ms: 100, timeout_ms } }
}

/// A check of instance `service_id`, critical until its probe says otherwise.
pub(crate) fn check(id: &str, service_id: &str, probe: Probe) -> CheckRegistration {
    let def = CheckDef {
        id: id.into(),
        name: id.into(),
        notes: "".into(),
        service_id: service_id.into(),
        probe,
        deregister_after_ms: None,
        success_before_passing: 0,
        failures_before_warning: 0,
        failures_before_critical: 0,
        definition: None,
    };
    CheckRegistration { def, status: InitialStatus::Keep(Status::Critical), output: "".into() }
}

/// Answers every connection with `answer`, after the client's head; returns where, and counts connections.
pub(crate) async fn serve_bytes(
    answer: impl Into<Vec<u8>>,
) -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (answer, seen) = (Arc::new(answer.into()), count.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let answer: Arc<Vec<u8>> = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut buffer = [0; 1024];
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(count @ 1..) => head.extend_from_slice(&buffer[..count]),
                        _ => return,
                    }
                }
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    (address, count)
}

/// An HTTP answer with a body.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}
