//! The data threads and the pump, without a proxy around them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use catalog::{
    Catalog, Command, Envelope, InstanceDef, InstanceRegistration, NodeDef, NodeRegistration, Register,
};
use portolan_relay::accept::{Accept, serve};
use portolan_relay::limit::{Limits, Place};
use portolan_relay::pump::{self, Broken, Outcome, Prefix};
use portolan_relay::{Config, Local, Relay, Stream, TcpDial};
use prometheus_client::registry::Registry;
use route::{Permit, Principal, Routes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex};

/// One service, so that there is something to permit.
fn routes() -> Routes {
    let def = NodeDef::new("here".into(), "127.0.0.1".into());
    let instance = InstanceDef::new("web".into(), "web".into(), 1);
    let register = Register {
        node: Some(NodeRegistration { def, only_if_absent: false }),
        on: "here".into(),
        instance: Some(InstanceRegistration { def: instance, replace_checks: false }),
        checks: vec![],
    };
    let command = Command::Register(Box::new(register));
    let mut catalog = Catalog::default();
    catalog.apply(1, &Envelope { node: "here".into(), epoch: 1, sequence: 1, time_ms: 1, command });
    Routes::project(&catalog.snapshot())
}

fn relay(threads: usize) -> Relay {
    let (_, reader) = state::channel(routes());
    let config = Config { threads, ..Config::default() };
    Relay::start(config, &reader, Arc::new(TcpDial), &mut Registry::default()).unwrap()
}

fn permit(local: &Local) -> Permit {
    let principal = Principal::Node { name: "here".into() };
    local.with_routes(|routes| routes.permit(&principal, "web")).unwrap().1
}

/// Runs a test on a data thread.
fn on_thread<F, T>(test: impl FnOnce(Rc<Local>) -> F + Send + 'static) -> T
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let relay = relay(1);
    let (tell, told) = mpsc::channel();
    relay.run_on(0, move |local| {
        let running = test(local.clone());
        tokio::task::spawn_local(async move { tell.send(running.await).unwrap() });
    });
    let result = told.recv_timeout(Duration::from_secs(60)).unwrap();
    relay.stop();
    result
}

fn start(
    local: &Rc<Local>,
    prefix: Prefix,
    idle: Option<Duration>,
    room: usize,
) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<Outcome>) {
    let ((client, down), (up, server)) = (duplex(room), duplex(room));
    let (local, permit) = (local.clone(), permit(local));
    let running = async move {
        let streams = (Stream::Other(Box::new(down)), Stream::Other(Box::new(up)));
        pump::run(&local, permit, streams.0, streams.1, prefix, idle).await
    };
    (client, server, tokio::task::spawn_local(running))
}

#[test]
fn everything_arrives_in_order_however_little_room_there_is() {
    on_thread(|local| async move {
        for room in [1, 7, 1000, 1 << 20] {
            let prefix =
                Prefix { upstream: Bytes::from_static(b"first "), downstream: Bytes::from_static(b"hi ") };
            let (client, server, running) = start(&local, prefix, None, room);
            let there: Vec<u8> = (0..50_000u32).map(|at| (at % 251) as u8).collect();
            let back: Vec<u8> = there.iter().rev().copied().collect();
            let exchange = |stream: DuplexStream, say: Vec<u8>| async move {
                let (mut read, mut write) = tokio::io::split(stream);
                let saying = async {
                    write.write_all(&say).await.unwrap();
                    write.shutdown().await.unwrap();
                };
                let mut heard = Vec::new();
                let (_, read) = tokio::join!(saying, read.read_to_end(&mut heard));
                read.unwrap();
                heard
            };
            let (at_client, at_server) =
                tokio::join!(exchange(client, there.clone()), exchange(server, back.clone()));
            assert_eq!(at_server, [&b"first "[..], &there].concat(), "room for {room}");
            assert_eq!(at_client, [&b"hi "[..], &back].concat(), "room for {room}");
            let outcome = running.await.unwrap();
            assert!(outcome.broken.is_none());
            assert_eq!((outcome.moved.sent, outcome.moved.received), (50_006, 50_003));
        }
    });
}

/// As under TLS, where a write may be taken before the socket has room for it.
#[test]
fn what_a_side_holds_back_is_flushed() {
    on_thread(|local| async move {
        let ((mut client, down), (up, mut server)) = (duplex(64), duplex(64));
        let (down, up) = (BufWriter::new(down), BufWriter::new(up));
        let (permit, there) = (permit(&local), local.clone());
        let running = tokio::task::spawn_local(async move {
            let (down, up) = (Stream::Other(Box::new(down)), Stream::Other(Box::new(up)));
            pump::run(&there, permit, down, up, Prefix::default(), None).await
        });
        for round in 0..3 {
            let (asks, answers) = ([round; 300], [round; 500]);
            let (mut question, mut answer) = ([0; 300], [0; 500]);
            let (said, heard) = tokio::join!(client.write_all(&asks), server.read_exact(&mut question));
            assert!(said.is_ok() && heard.is_ok());
            let (said, heard) = tokio::join!(server.write_all(&answers), client.read_exact(&mut answer));
            assert!(said.is_ok() && heard.is_ok());
        }
        drop((client, server));
        running.await.unwrap();
    });
}

#[test]
fn one_direction_may_end_long_before_the_other() {
    on_thread(|local| async move {
        let (mut client, mut server, running) = start(&local, Prefix::default(), None, 64);
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        server.write_all(b"still here").await.unwrap();
        let mut heard = [0; 10];
        client.read_exact(&mut heard).await.unwrap();
        server.shutdown().await.unwrap();
        assert!(running.await.unwrap().broken.is_none());
    });
}

#[test]
fn a_quiet_connection_is_given_up_and_a_talkative_one_is_not() {
    on_thread(|local| async move {
        let idle = Some(Duration::from_millis(100));
        let (mut client, mut server, running) = start(&local, Prefix::default(), idle, 64);
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            client.write_all(b"x").await.unwrap();
            server.read_u8().await.unwrap();
        }
        assert!(!running.is_finished());
        let outcome = running.await.unwrap();
        assert!(matches!(outcome.broken, Some(Broken::Idle(_))), "{outcome:?}");
        assert_eq!(outcome.moved.sent, 10);
    });
}

/// Keeps what it is given, and tells on which thread.
struct Keep(mpsc::Sender<usize>);

impl Accept for Keep {
    fn accept(&self, local: &Rc<Local>, socket: TcpStream, _: SocketAddr, place: Place) {
        let busy = local.busy();
        self.0.send(local.index()).unwrap();
        tokio::task::spawn_local(async move {
            std::future::pending::<()>().await;
            drop((socket, place, busy));
        });
    }
}

#[test]
fn connections_are_dealt_to_the_less_busy_of_two() {
    let relay = relay(2);
    let listener =
        sys::listen::tcp((Ipv4Addr::LOCALHOST, 0).into(), sys::listen::Sharing::Exclusive).unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    let (_trigger, drain) = state::drain();
    // One thread accepts all; both get their share.
    relay.run_on(0, move |local| {
        let accept = Arc::new(Keep(tell));
        let serving =
            serve(local.clone(), listener, Limits::new(100, 100), accept, drain, std::future::pending());
        tokio::task::spawn_local(async move { serving.await.unwrap() });
    });
    let mut clients = Vec::new();
    let mut shares = [0; 2];
    for _ in 0..20 {
        clients.push(TcpStream::connect(address).unwrap());
        shares[told.recv_timeout(Duration::from_secs(10)).unwrap()] += 1;
    }
    assert_eq!(shares, [10, 10]);
    assert_eq!((relay.load(0), relay.load(1)), (10, 10));
    relay.stop();
}

#[test]
fn an_address_is_free_once_the_owner_of_the_threads_is_gone() {
    for _ in 0..20 {
        let relay = relay(2);
        let exclusive = sys::listen::Sharing::Exclusive;
        let listener = sys::listen::tcp((Ipv4Addr::LOCALHOST, 0).into(), exclusive).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, _told) = mpsc::channel();
        let (_trigger, drain) = state::drain();
        let stopping = portolan_relay::StopOnDrop(relay.clone());
        relay.run_on(0, move |local| {
            let accept = Arc::new(Keep(tell));
            let never = std::future::pending();
            let serving = serve(local.clone(), listener, Limits::new(100, 100), accept, drain, never);
            tokio::task::spawn_local(async move { serving.await.unwrap() });
        });
        drop(stopping);
        sys::listen::tcp(address, exclusive).unwrap();
    }
}

#[test]
fn an_address_that_nobody_has_is_told_with_its_reason() {
    let said = on_thread(|local| async move {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut backend = local.with_routes(|routes| (**routes.backend("web").unwrap()).clone());
        backend.endpoints[0].target = route::Target::Ip(nobody);
        let failed =
            portolan_relay::connect(&local, &Arc::new(backend), &permit(&local), None).await.unwrap_err();
        (failed.to_string(), nobody.to_string())
    });
    assert!(said.0.starts_with("connect to service \"web\": ") && said.0.contains(&said.1), "{}", said.0);
    assert!(said.0.contains("refused"), "{}", said.0);
}

#[test]
fn a_connection_ends_when_the_rules_no_longer_allow_it() {
    let (publisher, reader) = state::channel(routes());
    let config = Config { threads: 1, ..Config::default() };
    let relay = Relay::start(config, &reader, Arc::new(TcpDial), &mut Registry::default()).unwrap();
    let (tell, told) = mpsc::channel();
    relay.run_on(0, move |local| {
        let local = local.clone();
        tokio::task::spawn_local(async move {
            let (client, server, running) = start(&local, Prefix::default(), None, 64);
            tell.send(None).unwrap();
            let outcome = running.await.unwrap();
            drop((client, server));
            tell.send(outcome.broken).unwrap();
        });
    });
    let hear = || told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(hear().is_none(), "it runs");
    let strict = route::Here { mode: route::Mode::Enforce, ..route::Here::default() };
    publisher.publish(publisher.now().with_here(&catalog::Snapshot::default(), strict.into()));
    assert!(matches!(hear(), Some(Broken::Forbidden(_))));
    relay.stop();
}
