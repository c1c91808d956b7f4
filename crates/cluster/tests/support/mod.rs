//! Servers in memory that share one order, a door that leads to their desks, and a clock that is told.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "helpers of tests fail by panicking, like tests"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use catalog::{Command, KeyHash};
use futures_util::future::BoxFuture;
use portolan_cluster::init::{Options, founding, init};
use portolan_cluster::join::{Desk, Door};
use portolan_cluster::renew::Renewer;
use portolan_cluster::time::Clock;
use portolan_cluster::token::{JoinToken, Wish, create};
use portolan_cluster::{Identity, Local, ca};
use store::Store;
use tempfile::TempDir;

/// Some day in 2026, in Unix milliseconds.
pub(crate) const TODAY_MS: u64 = 1_790_000_000_000;
pub(crate) const HOUR_MS: u64 = 3_600_000;
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;

/// A clock that moves when told.
#[derive(Clone)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn at(ms: u64) -> Time {
        Time(Arc::new(AtomicU64::new(ms)))
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let own = self.clone();
        Arc::new(move || own.now())
    }
}

/// Desks by address. A server that is not here does not answer.
#[derive(Clone, Default)]
pub(crate) struct Street(Arc<Mutex<BTreeMap<String, Arc<Desk>>>>);

impl Street {
    pub(crate) fn open(&self, address: &str, desk: Desk) {
        self.0.lock().unwrap().insert(address.into(), Arc::new(desk));
    }

    pub(crate) fn close(&self, address: &str) {
        self.0.lock().unwrap().remove(address);
    }
}

impl Door for Street {
    fn call<'a>(
        &'a self,
        address: &'a str,
        _: &'a [KeyHash],
        request: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, String>> {
        let desk = self.0.lock().unwrap().get(address).cloned();
        Box::pin(async move {
            let desk = desk.ok_or("nobody answers")?;
            Ok(desk.answer(&request).await)
        })
    }
}

/// A cluster of one, and what others need to come in.
pub(crate) struct First {
    pub(crate) home: TempDir,
    pub(crate) store: Store,
    pub(crate) local: Arc<Local>,
    pub(crate) time: Time,
    pub(crate) street: Street,
}

pub(crate) async fn memory(name: &str, time: &Time) -> Store {
    let (log, events) = log::memory::open(log::memory::Config::default());
    let config = store::Config { clock: time.clock(), ..store::Config::new(name) };
    store::open(config, log, events).await.unwrap()
}

impl First {
    pub(crate) async fn new() -> First {
        let time = Time::at(TODAY_MS);
        let home = tempfile::tempdir().unwrap();
        let options = Options { name: "a".into(), addresses: vec!["a:8300".into()] };
        let begun = init(home.path(), &options, time.now()).unwrap();
        let store = memory("a", &time).await;
        store.submit(founding(&begun.identity).unwrap().unwrap()).await.unwrap();
        let local = Local::new(begun.identity);
        local.follow(&store.now()).unwrap();
        let street = Street::default();
        street.open("a:8300", Desk::new(store.clone(), local.clone(), time.clock()));
        First { home, store, local, time, street }
    }

    /// Another server's desk: it shares the order with the first.
    pub(crate) fn serve(&self, address: &str, identity: Identity) -> Arc<Local> {
        let local = Local::new(identity);
        local.follow(&self.store.now()).unwrap();
        self.street.open(address, Desk::new(self.store.clone(), local.clone(), self.time.clock()));
        local
    }

    pub(crate) async fn token(&self, wish: Wish) -> JoinToken {
        let (cluster, root) =
            self.local.with(|identity| (identity.facts.cluster.clone(), identity.root_hash().unwrap()));
        let addresses = vec!["nowhere:1".into(), "a:8300".into(), "b:8300".into()];
        let (token, command) = create(&cluster, root, addresses, &wish, self.time.now()).unwrap();
        self.submit(command).await;
        token
    }

    pub(crate) async fn submit(&self, command: Command) {
        self.store.submit(command).await.unwrap();
    }

    pub(crate) async fn join(
        &self,
        home: &TempDir,
        token: &JoinToken,
        name: &str,
    ) -> Result<Identity, portolan_cluster::Error> {
        let options = portolan_cluster::join::Options {
            name: name.into(),
            addresses: vec![format!("{name}:8300")],
            role: None,
            order: String::new(),
        };
        let now_ms = self.time.now();
        let joined = portolan_cluster::join::join(home.path(), token, &options, &self.street, now_ms).await;
        joined.map(|(identity, _)| identity)
    }
}

/// How long ago a node's certificate ran out, by its own roots.
pub(crate) fn verified(identity: &Identity, now_ms: u64) -> u64 {
    ca::lapse(&identity.chain, &identity.roots, now_ms).unwrap().ago_ms
}

/// A node with a clock of its own.
pub(crate) struct Away {
    pub(crate) local: Arc<Local>,
    pub(crate) renewer: Renewer,
}

impl Away {
    pub(crate) fn new(first: &First, identity: Identity, clock: &Time) -> Away {
        let local = Local::new(identity);
        local.follow(&first.store.now()).unwrap();
        Away::over(first, local, clock)
    }

    /// The same, knowing what it knows already.
    pub(crate) fn over(first: &First, local: Arc<Local>, clock: &Time) -> Away {
        let door = Arc::new(first.street.clone());
        let renewer = Renewer::new(local.clone(), first.store.clone(), door, clock.clock());
        Away { local, renewer }
    }

    pub(crate) fn lapse_ms(&self, now_ms: u64) -> u64 {
        self.local.with(|identity| verified(identity, now_ms))
    }
}
