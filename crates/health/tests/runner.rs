//! The whole face against a store: what is registered gets checked, what changes is recorded, and nothing
//! else is.

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use catalog::{CheckRegistration, Command, Deregister, Probe, Status};
use portolan_health::{Config, register_node};
use support::{Node, answer, check, command, eventually, http, serve_bytes, tcp};
use tokio::net::TcpListener;

/// Sweeps often; a test that the machine stopped for a moment is granted grace like anybody else.
fn quick() -> Config {
    let leases = lease::Config { late_sweep: Duration::from_millis(200), ..lease::Config::default() };
    Config { sweep_interval: Duration::from_millis(20), commands: true, leases, ..Config::default() }
}

#[tokio::test]
async fn a_registered_check_follows_its_service() {
    let node = Node::start(quick()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    node.register("web-1", None, vec![check("up", "web-1", tcp(address))]).await;
    node.becomes("up", Status::Passing).await;
    drop(listener);
    let down = node.becomes("up", Status::Critical).await;
    assert!(down.output.contains("refused"), "{}", down.output);
    let _listener = TcpListener::bind(address).await.unwrap();
    node.becomes("up", Status::Passing).await;
    node.stop().await;
}

#[tokio::test]
async fn a_settled_system_issues_no_commands() {
    let node = Node::start(quick()).await;
    let (address, visits) = serve_bytes(answer("200 OK", "", "fine")).await;
    let web =
        Probe::Http { http: Box::new(http(format!("http://{address}/"))), cadence: support::cadence(100) };
    let refused = tcp("127.0.0.1:1");
    let checks = vec![
        check("web", "web-1", web),
        check("refused", "web-1", refused),
        check("program", "web-1", command(&["echo", "same"], 5_000)),
        check("alive", "web-1", Probe::Ttl { ttl_ms: 60_000 }),
    ];
    node.register("web-1", Some(Duration::from_secs(60)), checks).await;
    node.becomes("web", Status::Passing).await;
    node.becomes("program", Status::Passing).await;
    eventually("the refused check has an output", || node.check("refused").filter(|c| !c.output.is_empty()))
        .await;
    let (index, probes, seen) =
        (node.store.now().index(), node.metrics.probes.get(), visits.load(Ordering::SeqCst));
    eventually("many more probes ran", || (node.metrics.probes.get() >= probes + 30).then_some(())).await;
    assert!(visits.load(Ordering::SeqCst) > seen + 3);
    node.leases.renew(&node.store.now(), "n1", "web-1", Instant::now()).unwrap();
    assert_eq!(node.store.now().index(), index, "nothing changed, and yet something was proposed");
    node.stop().await;
}

#[tokio::test]
async fn an_output_that_keeps_changing_is_recorded_now_and_then() {
    let node = Node::start(quick()).await;
    let clock = command(&["date", "+%s%N"], 5_000);
    node.register("web-1", None, vec![check("clock", "web-1", clock)]).await;
    node.becomes("clock", Status::Passing).await;
    let (index, probes) = (node.store.now().index(), node.metrics.probes.get());
    eventually("ten more probes ran", || (node.metrics.probes.get() >= probes + 10).then_some(())).await;
    assert_eq!(node.store.now().index(), index);
    node.stop().await;
}

#[tokio::test]
async fn thresholds_and_replaced_definitions_are_honoured() {
    let node = Node::start(quick()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut registration = check("up", "web-1", tcp(address));
    registration.def.success_before_passing = 5;
    node.register("web-1", None, vec![registration]).await;
    let probes = node.metrics.probes.clone();
    node.becomes("up", Status::Passing).await;
    assert!(probes.get() >= 5, "it passed after {} probes", probes.get());
    // The same check now points where nobody listens.
    node.register("web-1", None, vec![check("up", "web-1", tcp("127.0.0.1:1"))]).await;
    node.becomes("up", Status::Critical).await;
    node.stop().await;
}

#[tokio::test]
async fn what_is_deregistered_is_probed_no_more() {
    let node = Node::start(quick()).await;
    let (address, visits) = serve_bytes(answer("200 OK", "", "")).await;
    let web =
        Probe::Http { http: Box::new(http(format!("http://{address}/"))), cadence: support::cadence(100) };
    node.register("web-1", None, vec![check("web", "web-1", web)]).await;
    node.becomes("web", Status::Passing).await;
    let deregister = Deregister::Instance { node: "n1".into(), id: "web-1".into(), registered_index: None };
    node.store.submit(Command::Deregister(deregister)).await.unwrap();
    eventually("no check runs", || (node.metrics.checks.get() == 0).then_some(())).await;
    let (listener, probed) = (visits.load(Ordering::SeqCst), node.metrics.probes.get());
    node.register("web-2", None, vec![check("other", "web-2", tcp(address))]).await;
    eventually("others ran", || (node.metrics.probes.get() >= probed + 5).then_some(())).await;
    // At most the one that was under way, and the TCP check's bare connections.
    let web_visits = visits.load(Ordering::SeqCst) - listener;
    assert!(web_visits as u64 <= node.metrics.probes.get() - probed + 1);
    node.stop().await;
}

#[tokio::test]
async fn an_instance_that_is_not_renewed_goes_and_one_that_is_stays() {
    let node = Node::start(quick()).await;
    node.register("kept", Some(Duration::from_millis(400)), vec![]).await;
    node.register("lost", Some(Duration::from_millis(400)), vec![]).await;
    eventually("the unrenewed instance is gone", || {
        let view = node.store.now();
        node.leases.renew(&view, "n1", "kept", Instant::now()).unwrap();
        view.instance("n1", "lost").is_none().then_some(())
    })
    .await;
    assert!(node.store.now().instance("n1", "kept").is_some());
    assert_eq!(node.metrics.expired.get(), 1);
    node.stop().await;
}

#[tokio::test]
async fn a_silent_ttl_check_turns_critical_and_takes_its_instance_away() {
    let node = Node::start(quick()).await;
    let mut silent: CheckRegistration = check("alive", "web-1", Probe::Ttl { ttl_ms: 200 });
    silent.def.deregister_after_ms = Some(300);
    silent.status = catalog::InitialStatus::Set(Status::Passing);
    node.register("web-1", None, vec![silent]).await;
    let expired = node.becomes("alive", Status::Critical).await;
    assert!(expired.output.contains("TTL expired"), "{}", expired.output);
    eventually("the instance is gone", || node.store.now().instance("n1", "web-1").is_none().then_some(()))
        .await;
    node.stop().await;
}

#[tokio::test]
async fn the_node_registers_itself_once_and_again_when_it_is_taken_away() {
    let node = Node::start(quick()).await;
    let entry = node.store.now().node("n1").cloned().expect("registered at start");
    assert_eq!(entry.checks.len(), 1);
    assert_eq!((&*entry.checks[0].def.id, entry.checks[0].status), ("serfHealth", Status::Passing));
    let index = node.store.now().index();
    register_node(&node.store, &entry.def).await.unwrap();
    assert_eq!(node.store.now().index(), index, "registering what is registered is no command");
    node.store.submit(Command::Deregister(Deregister::Node { node: "n1".into() })).await.unwrap();
    eventually("the node is back", || node.store.now().check("n1", "serfHealth").cloned()).await;
    node.stop().await;
}

#[tokio::test]
async fn another_nodes_checks_are_left_alone() {
    let node = Node::start(quick()).await;
    let def = portolan_health::node_def("elsewhere", "", "192.0.2.1".parse().unwrap());
    let mut foreign = check("foreign", "", tcp("127.0.0.1:1"));
    foreign.status = catalog::InitialStatus::Set(Status::Passing);
    let register = catalog::Register {
        node: Some(catalog::NodeRegistration { def, only_if_absent: false }),
        on: "elsewhere".into(),
        instance: None,
        checks: vec![foreign],
    };
    node.store.submit(Command::Register(Box::new(register))).await.unwrap();
    node.register("web-1", None, vec![check("own", "web-1", tcp("127.0.0.1:1"))]).await;
    eventually("own probes ran", || (node.metrics.probes.get() >= 5).then_some(())).await;
    assert_eq!(node.metrics.checks.get(), 1);
    assert_eq!(node.store.now().check("elsewhere", "foreign").unwrap().status, Status::Passing);
    node.stop().await;
}

#[tokio::test]
async fn slow_programs_wait_for_each_other_and_hold_nobody_else_up() {
    let node = Node::start(Config { max_commands: 2, ..quick() }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut checks: Vec<_> =
        (0..8).map(|n| check(&format!("slow-{n}"), "web-1", command(&["sleep", "600"], 60_000))).collect();
    checks.push(check("up", "web-1", tcp(listener.local_addr().unwrap())));
    node.register("web-1", None, checks).await;
    node.becomes("up", Status::Passing).await;
    eventually("all programs are due", || (node.metrics.waiting.get() == 6).then_some(())).await;
    assert!(node.metrics.running.get() <= 3);
    node.stop().await;
}
