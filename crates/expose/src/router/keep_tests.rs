//! The keeper with a router that counts what it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use state::Failure;

use super::{BoxFuture, Gateway, Keeper, MapError, Mapping, Search};
use crate::wish::{Port, Protocol};

/// A router in memory.
#[derive(Default)]
struct Router {
    table: Mutex<BTreeSet<Port>>,
    maps: AtomicUsize,
    looks: AtomicUsize,
    searches: AtomicUsize,
    is_silent: AtomicBool,
}

impl Router {
    fn count(&self) -> (usize, usize, usize) {
        let read = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        (read(&self.maps), read(&self.looks), read(&self.searches))
    }

    fn answer<T>(&self, answer: T) -> Result<T, MapError> {
        match self.is_silent.load(Ordering::Relaxed) {
            true => Err(MapError::Silent("no power".into())),
            false => Ok(answer),
        }
    }

    fn lose_power(&self) {
        self.table.lock().unwrap().clear();
    }

    fn holds(&self) -> usize {
        self.table.lock().unwrap().len()
    }
}

struct Speaks(Arc<Router>);

impl Search for Speaks {
    fn search(&self) -> BoxFuture<'_, Vec<Arc<dyn Gateway>>> {
        self.0.searches.fetch_add(1, Ordering::Relaxed);
        let gateway = Arc::new(Speaks(self.0.clone())) as Arc<dyn Gateway>;
        let found = self.0.answer(vec![gateway]).unwrap_or_default();
        Box::pin(async { found })
    }
}

impl Gateway for Speaks {
    fn name(&self) -> &str {
        "a router in memory"
    }

    fn router(&self) -> IpAddr {
        [127, 0, 0, 1].into()
    }

    fn client(&self) -> IpAddr {
        [127, 0, 0, 1].into()
    }

    fn map<'a>(&'a self, mapping: &'a Mapping, lease: Duration) -> BoxFuture<'a, Result<Duration, MapError>> {
        Box::pin(async move {
            self.0.maps.fetch_add(1, Ordering::Relaxed);
            self.0.answer(())?;
            if mapping.external.number == 22 {
                return Err(MapError::Held("192.168.1.9".into()));
            }
            self.0.table.lock().unwrap().insert(mapping.external);
            Ok(lease)
        })
    }

    fn unmap<'a>(&'a self, mapping: &'a Mapping) -> BoxFuture<'a, Result<(), MapError>> {
        Box::pin(async move {
            self.0.answer(())?;
            self.0.table.lock().unwrap().remove(&mapping.external);
            Ok(())
        })
    }

    fn holds<'a>(&'a self, mapping: &'a Mapping) -> BoxFuture<'a, Result<bool, MapError>> {
        Box::pin(async move {
            self.0.looks.fetch_add(1, Ordering::Relaxed);
            let holds = self.0.table.lock().unwrap().contains(&mapping.external);
            self.0.answer(holds)
        })
    }

    fn public_address(&self) -> BoxFuture<'_, Result<IpAddr, MapError>> {
        Box::pin(async { self.0.answer([45, 83, 0, 1].into()) })
    }

    fn ours<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Mapping>, MapError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn port(number: u16) -> Port {
    Port { protocol: Protocol::Tcp, number }
}

fn ports(count: u16) -> BTreeMap<Port, u16> {
    (0..count).map(|number| (port(1000 + number), 80)).collect()
}

fn keeper(lease: Duration) -> (Arc<Router>, Keeper) {
    let router = Arc::new(Router::default());
    (router.clone(), Keeper::new(Arc::new(Speaks(router)), lease, "test"))
}

async fn refreshed(keeper: &mut Keeper, wanted: &BTreeMap<Port, u16>) -> Vec<Failure> {
    keeper.refresh().await;
    keeper.provide(wanted).await
}

const LEASE: Duration = Duration::from_secs(7200);

#[tokio::test]
async fn what_is_settled_costs_one_look_each_refresh_whatever_the_number_of_ports() {
    let (router, mut keeper) = keeper(LEASE);
    let wanted = ports(1000);
    assert!(refreshed(&mut keeper, &wanted).await.is_empty());
    assert_eq!((router.holds(), router.count()), (1000, (1000, 0, 1)));
    for _ in 0..10 {
        assert!(keeper.withdraw(&wanted).await.is_empty());
        assert!(refreshed(&mut keeper, &wanted).await.is_empty());
        assert!(keeper.provide(&wanted).await.is_empty());
    }
    assert_eq!(router.count(), (1000, 10, 1));
}

#[tokio::test]
async fn a_lease_is_renewed_when_half_of_it_is_over() {
    let (router, mut keeper) = keeper(Duration::from_millis(200));
    refreshed(&mut keeper, &ports(2)).await;
    tokio::time::sleep(Duration::from_millis(110)).await;
    refreshed(&mut keeper, &ports(2)).await;
    assert!(router.count().0 >= 4);
}

#[tokio::test]
async fn a_router_that_lost_its_table_gets_all_of_it_again() {
    let (router, mut keeper) = keeper(LEASE);
    refreshed(&mut keeper, &ports(5)).await;
    router.lose_power();
    assert!(refreshed(&mut keeper, &ports(5)).await.is_empty());
    assert_eq!((router.holds(), router.count().0), (5, 10));
}

#[tokio::test]
async fn a_router_that_is_silent_is_looked_for_and_nothing_is_forgotten_meanwhile() {
    let (router, mut keeper) = keeper(LEASE);
    refreshed(&mut keeper, &ports(3)).await;
    router.is_silent.store(true, Ordering::Relaxed);
    let failures = refreshed(&mut keeper, &ports(3)).await;
    assert!(failures[0].cause.contains("no router answers"), "{failures:?}");
    assert_eq!(keeper.held().len(), 3, "their leases are not over");
    // What is not wished any more cannot be removed now, and is not forgotten either.
    assert_eq!(keeper.withdraw(&ports(1)).await.len(), 2);
    router.is_silent.store(false, Ordering::Relaxed);
    assert!(keeper.withdraw(&ports(1)).await.is_empty());
    assert!(refreshed(&mut keeper, &ports(1)).await.is_empty());
    assert_eq!((router.holds(), keeper.held().len()), (1, 1));
}

#[tokio::test]
async fn a_port_of_anothers_is_told_and_the_rest_is_done() {
    let (router, mut keeper) = keeper(LEASE);
    let wanted = [(port(22), 22), (port(443), 443)].into();
    assert_eq!(refreshed(&mut keeper, &wanted).await.len(), 1);
    assert!(keeper.refused()[&port(22)].contains("192.168.1.9"));
    assert_eq!((router.holds(), keeper.held().len()), (1, 1));
}
