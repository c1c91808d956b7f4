//! The face with a store, a host and listeners that do as they are told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::virtual_ip::Range;
use catalog::{Command, Deregister, InstanceDef, InstanceRegistration, NodeDef, NodeRegistration, Register};
use portolan_hostnet::transparent::Led;
use portolan_hostnet::{BoxFuture, Config, Handle, Inputs, Listeners, Range6, Transports, handle, run};
use route::{OpenVirtual, Routes, VirtualSocket};
use state::{DrainTrigger, Publisher};
use store::Store;
use sys::host::{FakeHost, Listening, Transport};

#[derive(Default)]
struct FakeListeners {
    open: Mutex<BTreeMap<SocketAddrV4, Transports>>,
    refuses: Mutex<BTreeSet<u16>>,
    opened: Mutex<usize>,
}

impl Listeners for FakeListeners {
    fn open(
        &self,
        address: SocketAddrV4,
        _: Arc<str>,
        transports: Transports,
    ) -> BoxFuture<'_, io::Result<()>> {
        let refused = self.refuses.lock().unwrap().contains(&address.port());
        let result = match refused {
            true => Err(io::ErrorKind::PermissionDenied.into()),
            false => Ok(()),
        };
        if !refused {
            self.open.lock().unwrap().insert(address, transports);
        }
        *self.opened.lock().unwrap() += 1;
        Box::pin(std::future::ready(result))
    }

    fn close(&self, address: SocketAddrV4) -> BoxFuture<'_, ()> {
        assert!(self.open.lock().unwrap().remove(&address).is_some(), "{address} was not open");
        Box::pin(std::future::ready(()))
    }

    fn may_answer(&self, from: SocketAddr) -> io::Result<()> {
        match self.refuses.lock().unwrap().contains(&from.port()) {
            true => Err(io::ErrorKind::AddrInUse.into()),
            false => Ok(()),
        }
    }
}

struct World {
    store: Store,
    host: Arc<FakeHost>,
    listeners: Arc<FakeListeners>,
    handle: Handle,
    led: Publisher<Led>,
    trigger: DrainTrigger,
}

async fn world() -> World {
    let (log, events) = log::memory::open(log::memory::Config::default());
    let store = store::open(store::Config::new("here"), log, events).await.unwrap();
    let (publisher, routes) = state::channel(Routes::default());
    let mut views = store.reader();
    tokio::spawn(async move {
        while let Some(view) = views.next().await {
            publisher.publish(Routes::project(&view));
        }
    });
    let (host, listeners) = (Arc::new(FakeHost::default()), Arc::new(FakeListeners::default()));
    let (handle, work) = handle(&*host);
    let (trigger, drain) = state::drain();
    let (led, leads) = state::channel(Led::default());
    let inputs = Inputs {
        routes,
        store: store.clone(),
        host: host.clone(),
        listeners: listeners.clone(),
        work,
        led: leads,
    };
    tokio::spawn(run(Config::default(), inputs, drain));
    World { store, host, listeners, handle, led, trigger }
}

impl World {
    async fn register_at(&self, node: &str, service: &str, port: u16, protocol: Option<&str>) {
        let address = if node == "here" { "127.0.0.1" } else { "10.9.9.9" };
        let on: Arc<str> = node.into();
        let def = NodeDef::new(on.clone(), address.into());
        let tags = protocol.map(|protocol| format!("protocol={protocol}").into());
        let instance = InstanceDef {
            tags: tags.into_iter().collect(),
            ..InstanceDef::new(format!("{service}-1").into(), service.into(), port)
        };
        let register = Register {
            node: Some(NodeRegistration { def, only_if_absent: true }),
            on,
            instance: Some(InstanceRegistration { def: instance, replace_checks: false }),
            checks: vec![],
        };
        self.store.submit(Command::Register(Box::new(register))).await.unwrap();
    }

    fn virtual_ip(&self, service: &str) -> Ipv4Addr {
        self.store.now().service(service).unwrap().virtual_ip.unwrap().0
    }

    /// Asks until the routes have caught up with the store.
    async fn open(&self, service: &str) -> VirtualSocket {
        for _ in 0..500 {
            if let Some(socket) = self.handle.open(service).await {
                return socket;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no socket for {service}: {:?}", self.handle.reports().now());
    }

    fn held(&self) -> Vec<SocketAddrV4> {
        self.listeners.open.lock().unwrap().keys().copied().collect()
    }

    async fn eventually(&self, what: &str, holds: impl Fn(&World) -> bool) {
        for _ in 0..500 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it never came about that {what}: {:?}", self.handle.facts().now());
    }
}

fn listens(address: &str, uid: u32) -> Listening {
    Listening { transport: Transport::Tcp, address: address.parse().unwrap(), uid }
}

#[tokio::test]
async fn nothing_is_open_before_somebody_asks() {
    let world = world().await;
    world.register_at("far", "web", 80, None).await;
    assert!(world.held().is_empty());
    let socket = world.open("WEB").await;
    let due = SocketAddrV4::new(world.virtual_ip("web"), 80);
    assert_eq!((socket.address, socket.moved.clone()), (due, None));
    assert_eq!(world.held(), [due]);
    assert_eq!(world.handle.facts().now().virtual_sockets.get("web"), Some(&socket));
    assert_eq!(world.open("web").await, socket);
    assert_eq!(*world.listeners.opened.lock().unwrap(), 1, "opened once");
    assert!(world.handle.open("nobody").await.is_none());
    world.trigger.start();
}

#[tokio::test]
async fn it_closes_when_the_service_is_gone() {
    let world = world().await;
    world.register_at("far", "web", 80, None).await;
    world.open("web").await;
    let gone = Deregister::Instance { node: "far".into(), id: "web-1".into(), registered_index: None };
    world.store.submit(Command::Deregister(gone)).await.unwrap();
    world.eventually("it is closed", |world| world.held().is_empty()).await;
    assert!(world.handle.facts().now().virtual_sockets.is_empty());
    world.trigger.start();
}

#[tokio::test]
async fn it_moves_aside_for_a_program_that_is_registered_here() {
    let world = world().await;
    world.register_at("far", "web", 8080, None).await;
    let first = world.open("web").await;
    assert_eq!(first.address.port(), 8080);
    world.register_at("here", "other", 8080, None).await;
    world.eventually("it has moved", |world| !world.held().contains(&first.address)).await;
    let second = world.open("web").await;
    let why = second.moved.unwrap();
    assert!(why.contains("other-1") && why.contains("8080"), "{why}");
    assert_eq!(world.held(), [second.address]);
    world.trigger.start();
}

#[tokio::test]
async fn a_refused_port_is_replaced_and_the_reason_told() {
    let world = world().await;
    world.listeners.refuses.lock().unwrap().insert(80);
    world.register_at("far", "web", 80, None).await;
    let socket = world.open("web").await;
    assert!(socket.moved.unwrap().contains("privilege"));
    assert!((20_000..30_000).contains(&socket.address.port()));
    world.trigger.start();
}

#[tokio::test]
async fn an_address_of_this_host_makes_the_service_take_another() {
    let world = world().await;
    world.register_at("far", "web", 80, None).await;
    let first = world.virtual_ip("web");
    world.host.set_listening(vec![listens(&format!("{first}:9"), sys::process::user() + 1)]);
    let socket = world.open("web").await;
    assert_ne!(*socket.address.ip(), first);
    assert_eq!(*socket.address.ip(), world.virtual_ip("web"));
    // Settled: nothing more is asked of the store.
    let index = world.store.now().index();
    world.open("web").await;
    assert_eq!(world.store.now().index(), index);
    assert!(world.handle.reports().now().failures.is_empty());
    world.trigger.start();
}

#[tokio::test]
async fn datagrams_are_taken_where_the_service_speaks_them() {
    let world = world().await;
    world.register_at("far", "dns", 53, Some("tcp+udp")).await;
    let socket = world.open("dns").await;
    let transports = world.listeners.open.lock().unwrap()[&socket.address];
    assert_eq!(transports, Transports { tcp: true, udp: true });
    world.register_at("far", "dns", 53, Some("udp")).await;
    let only_udp = Transports { tcp: false, udp: true };
    world
        .eventually("it takes only datagrams", |world| {
            world.listeners.open.lock().unwrap().get(&socket.address) == Some(&only_udp)
        })
        .await;
    world.trigger.start();
}

#[tokio::test]
async fn where_the_kernel_leads_connections_no_port_is_in_the_way_and_none_is_bound() {
    let world = world().await;
    world.register_at("far", "web", 8080, None).await;
    world.register_at("here", "other", 8080, None).await;
    let aside = world.open("web").await;
    assert!(aside.moved.is_some() && world.held() == [aside.address]);
    let six = Some(Range6::try_from("fd77::/64".to_owned()).unwrap());
    world.led.publish(Led { ranges: vec![Range::default()], six });
    let due = SocketAddrV4::new(world.virtual_ip("web"), 8080);
    let is_at = |world: &World, address| {
        world.handle.facts().now().virtual_sockets.get("web").is_some_and(|socket| socket.address == address)
    };
    world.eventually("it has its own port", |world| is_at(world, due)).await;
    world.eventually("nothing is bound", |world| world.held().is_empty()).await;
    let by_six = world.handle.facts().now().virtual_sockets.get("web").and_then(|socket| socket.six);
    assert_eq!(by_six.map(|six| six.segments()[0]), Some(0xfd77));
    // The kernel does not any more: somebody flushed its rules, and nobody may write them again.
    world.led.publish(Led::default());
    world.eventually("it has stepped aside again", |world| is_at(world, aside.address)).await;
    assert_eq!(world.held(), [aside.address]);
    world.trigger.start();
}

#[tokio::test]
async fn datagrams_that_are_led_need_no_listener_but_a_port_to_answer_from() {
    let world = world().await;
    world.led.publish(Led { ranges: vec![Range::default()], six: None });
    world.register_at("far", "dns", 53, Some("udp")).await;
    let socket = world.open("dns").await;
    assert_eq!((socket.address.port(), socket.moved.clone()), (53, None));
    assert!(world.held().is_empty());
    // Whoever was not told of it by name may speak already: that socket is the relay's.
    let speaks =
        Listening { transport: Transport::Udp, ..listens(&socket.address.to_string(), sys::process::user()) };
    world.host.set_listening(vec![speaks]);
    world.listeners.refuses.lock().unwrap().insert(67);
    world.register_at("far", "dhcp", 67, Some("udp")).await;
    let aside = world.open("dhcp").await;
    assert!((20_000..30_000).contains(&aside.address.port()));
    assert!(aside.moved.is_some_and(|why| why.contains("another program holds it")));
    assert!(world.held().is_empty());
    assert_eq!(world.open("dns").await, socket);
    world.trigger.start();
}
