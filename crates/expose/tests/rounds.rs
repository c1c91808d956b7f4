//! Whole rounds, with everybody else in memory: what is wished on one side, what is opened and shown on the other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::exposure::{Indoors, Openings};
use portolan_expose::names::{BoxFuture, NameError, Provider, Rdata};
use portolan_expose::source::Said;
use portolan_expose::wish::{DoorWish, NameKind, NameWish, Place, Port, PortWish, Protocol, Wishes};
use portolan_expose::{Config, Https, Inputs, Metrics, OpenDoors, Status, run_with};
use state::{DrainTrigger, Publisher, Reader, Report, channel, drain};
use tokio::task::JoinHandle;

/// Longest that anything may take; whoever waits for one silent server after another takes longer.
const LIMIT: Duration = Duration::from_secs(40);
const SILENCE: Duration = Duration::from_secs(10);

fn port(number: u16) -> Port {
    Port { protocol: Protocol::Tcp, number }
}

/// The name has an address that was said, so that no router is needed.
fn wishes(ports: &[u16], names: &[String]) -> Wishes {
    let service: Arc<str> = "web".into();
    let wish =
        |number: &u16| PortWish { external: port(*number), internal: *number, service: service.clone() };
    let name = |name: &String| {
        let (name, service) = (name.as_str().into(), service.clone());
        NameWish { name, kind: NameKind::A, service, is_optional: false }
    };
    Wishes {
        ports: ports.iter().map(wish).collect(),
        names: names.iter().map(name).collect(),
        place: Place { public_ipv4: Some([45, 83, 0, 1].into()), ..Place::default() },
        ..Wishes::default()
    }
}

/// Shows names, or takes what it is asked and does not answer.
#[derive(Default)]
struct Server {
    is_silent: AtomicBool,
    asked: AtomicUsize,
    names: Mutex<BTreeSet<Arc<str>>>,
}

impl Server {
    async fn answer(&self) -> Result<(), NameError> {
        self.asked.fetch_add(1, Relaxed);
        if self.is_silent.load(Relaxed) {
            tokio::time::sleep(SILENCE).await;
            return Err(NameError::Silent("no answer".into()));
        }
        Ok(())
    }
}

type Name = (Arc<str>, NameKind);

impl Provider for Server {
    fn set<'a>(&'a self, key: &'a Name, _: &'a BTreeSet<Rdata>) -> BoxFuture<'a, Result<(), NameError>> {
        self.names.lock().unwrap().insert(key.0.clone());
        Box::pin(self.answer())
    }

    fn remove<'a>(&'a self, key: &'a Name) -> BoxFuture<'a, Result<(), NameError>> {
        self.names.lock().unwrap().remove(&key.0);
        Box::pin(self.answer())
    }
}

/// A host where somebody else may listen.
#[derive(Default)]
struct Host {
    is_taken: AtomicBool,
}

impl OpenDoors for Host {
    fn open(&self, _: Port, _: Arc<str>) -> BoxFuture<'_, io::Result<()>> {
        let taken = self.is_taken.load(Relaxed);
        Box::pin(async move { if taken { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(()) } })
    }

    fn close(&self, _: Port) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Life {
    said: Publisher<Said>,
    openings: Reader<Openings>,
    status: Reader<Status>,
    drain: DrainTrigger,
    task: JoinHandle<()>,
}

impl Life {
    fn begin(server: Arc<Server>, host: Arc<Host>) -> Life {
        let (said, heard) = channel(Said::default());
        let (openings, opened) = channel(Openings::default());
        let (reports, firewall) = channel(Report::default());
        let (status, shown) = channel(Status::default());
        let inputs = Inputs {
            said: heard,
            openings,
            firewall,
            status,
            indoors: Arc::new(channel(Indoors::default()).0),
            names: Some(server),
            https: Https::nowhere(),
            doors: Some(host),
            lookout: None,
            metrics: Metrics::default(),
        };
        let mut wanted = opened.clone();
        tokio::spawn(async move {
            while let Some(openings) = wanted.next().await {
                reports.publish(Report { generation: openings.generation, failures: Vec::new() });
            }
        });
        let (trigger, holder) = drain();
        let task = tokio::spawn(run_with(Config::default(), inputs, None, None, holder));
        Life { said, openings: opened, status: shown, drain: trigger, task }
    }

    fn wish(&self, wishes: Wishes) {
        self.said.publish(Said { wishes: Some(Arc::new(wishes)), ..Said::default() });
    }

    async fn opens(&mut self, wanted: &[u16]) {
        let wanted: BTreeSet<Port> = wanted.iter().map(|number| port(*number)).collect();
        until(&mut self.openings, |openings| openings.ports.keys().copied().eq(wanted.iter().copied())).await;
    }
}

async fn until<T>(reader: &mut Reader<T>, holds: impl Fn(&T) -> bool) {
    let waiting = async {
        while !holds(&reader.now()) {
            reader.next().await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap();
}

#[tokio::test]
async fn a_silent_name_server_holds_up_neither_closing_nor_the_end() {
    let server = Arc::new(Server::default());
    server.is_silent.store(true, Relaxed);
    let mut life = Life::begin(server.clone(), Arc::default());
    let names: Vec<String> = (0..12).map(|number| format!("n{number:02}.example.org")).collect();
    life.wish(wishes(&[443, 8080], &names));
    life.opens(&[443, 8080]).await;
    // While the first name is asked for, a service goes.
    tokio::time::timeout(LIMIT, async {
        while server.asked.load(Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    life.wish(wishes(&[443], &names));
    life.opens(&[443]).await;
    // And the rest with the daemon: the firewall closes what it does not hear of any more.
    life.drain.start();
    tokio::time::timeout(LIMIT, life.task).await.unwrap().unwrap();
    assert!(life.openings.now().ports.is_empty());
}

#[tokio::test]
async fn a_door_where_somebody_else_listens_is_not_opened_to_the_world() {
    let (server, host) = (Arc::new(Server::default()), Arc::new(Host::default()));
    host.is_taken.store(true, Relaxed);
    let mut life = Life::begin(server.clone(), host.clone());
    let doors = [DoorWish { port: port(8443), service: "web".into() }].into();
    let (own, name) = (wishes(&[8443], &["www.example.org".into()]), Arc::from("www.example.org"));
    life.wish(Wishes { doors, ..own });
    let state = |status: &Status| {
        let chains = status.shown("rented", true).chains;
        chains.first().map(|chain| (chain.state.to_string(), chain.links[0].detail.to_string()))
    };
    let is_broken = |status: &Status| {
        state(status).is_some_and(|(state, why)| state == "broken" && why.contains("8443/tcp"))
    };
    until(&mut life.status, is_broken).await;
    life.opens(&[]).await;
    assert!(server.names.lock().unwrap().is_empty());
    // He goes; nobody has to say so.
    host.is_taken.store(false, Relaxed);
    until(&mut life.status, |status| state(status).is_some_and(|(state, _)| state == "open")).await;
    life.opens(&[8443]).await;
    assert!(server.names.lock().unwrap().contains(&name));
    life.drain.start();
    tokio::time::timeout(LIMIT, life.task).await.unwrap().unwrap();
}
