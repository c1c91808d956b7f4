//! The ways out: a host with several default gateways keeps mappings at each router, and is shown at the address of
//! each that leads back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::Poll;

use state::Failure;

use crate::config::Config;
use crate::nat::Verdict;
use crate::outlook::Outlook;
use crate::router::{BE_REACHABLE, BoxFuture, Keeper, Search, is_public};
use crate::wish::Port;

/// Any address of the public Internet: nothing is sent there.
const SOMEWHERE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);

/// One of them.
pub(crate) struct Way {
    /// The router, where it is known before it answers.
    gateway: Option<Ipv4Addr>,
    keeper: Keeper,
    outlook: Outlook,
}

/// All of them, the preferred first; never none.
pub(crate) struct Ways {
    search: Arc<dyn Search>,
    config: Config,
    ways: Vec<Way>,
}

impl Way {
    fn new(gateway: Option<Ipv4Addr>, search: Arc<dyn Search>, config: &Config) -> Way {
        let keeper = Keeper::new(search, config.lease, &config.description);
        Way { gateway, keeper, outlook: Outlook::new(config.stun.clone()) }
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Our address that faces the router.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.keeper.gateways().first().map(|gateway| gateway.client())
    }

    pub(crate) fn verdict(&self) -> Option<&Verdict> {
        self.outlook.verdict()
    }

    /// The address at which the world reaches this host over this way, as far as that can be judged from inside.
    pub(crate) fn address(&self) -> Result<IpAddr, String> {
        let told = self.keeper.public().ok_or("the router does not tell its address")?;
        if let Some(verdict) = self.verdict().filter(|verdict| !verdict.is_reachable()) {
            return Err(verdict.to_string());
        }
        if !is_public(told) {
            return Err(format!("its own address {told} is not public"));
        }
        Ok(told)
    }

    /// Why answers to those who come by this way would not go back by it. A router lets none out that it let nobody in for.
    fn astray(&self) -> Option<String> {
        let (Some(gateway), Some(IpAddr::V4(client))) = (self.gateway, self.client()) else { return None };
        let taken = sys::host::gateway_between(client, SOMEWHERE);
        match taken {
            Ok(taken) if taken == Some(gateway) => None,
            Ok(taken) => {
                let by = taken.map_or_else(|| "another way".to_owned(), |taken| taken.to_string());
                Some(format!(
                    "answers from {client} leave by {by}: give them a route of their own (ip rule add from {client})"
                ))
            }
            Err(cause) => Some(format!("no route leads from {client} to the world: {cause}")),
        }
    }
}

impl Ways {
    /// Nothing is asked of anybody yet.
    pub(crate) fn new(search: Arc<dyn Search>, config: &Config) -> Ways {
        let ways = vec![Way::new(None, search.clone(), config)];
        Ways { search, config: config.clone(), ways }
    }

    pub(crate) fn all(&self) -> &[Way] {
        &self.ways
    }

    /// The address of a way and why it is not shown, where there are several: for one alone that is told elsewhere.
    pub(crate) fn hidden(&self, way: &Way) -> Option<String> {
        (self.ways.len() > 1).then(|| way.address().err().or_else(|| way.astray())).flatten()
    }

    /// Addresses at which the world reaches this host, and the ports that lead here at each.
    pub(crate) fn led(&self) -> BTreeMap<IpAddr, BTreeSet<Port>> {
        let mut led: BTreeMap<IpAddr, BTreeSet<Port>> = BTreeMap::new();
        for way in self.ways.iter().filter(|way| self.hidden(way).is_none()) {
            let Ok(address) = way.address() else { continue };
            led.entry(address).or_default().extend(way.keeper.held().keys());
        }
        led
    }

    /// Ports that any router holds for us.
    pub(crate) fn mapped(&self) -> BTreeSet<Port> {
        self.ways.iter().flat_map(|way| way.keeper.held().keys().copied()).collect()
    }

    /// True when a router keeps a port from us that may be free any moment.
    pub(crate) fn is_refused(&self) -> bool {
        self.ways.iter().any(|way| !way.keeper.gateways().is_empty() && !way.keeper.refused().is_empty())
    }

    /// Removes at every router what is not wished any more.
    pub(crate) async fn withdraw(&mut self, wanted: &BTreeMap<Port, u16>) -> Vec<Failure> {
        let all = self
            .ways
            .iter_mut()
            .map(|way| Box::pin(way.keeper.withdraw(wanted)) as BoxFuture<'_, Vec<Failure>>);
        together(all.collect()).await.concat()
    }

    /// Asks every router how it stands, and changes nothing.
    pub(crate) async fn refresh(&mut self) {
        self.follow();
        let all = self.ways.iter_mut().map(|way| Box::pin(way.keeper.refresh()) as BoxFuture<'_, ()>);
        together(all.collect()).await;
    }

    /// Makes at every router what is wished.
    pub(crate) async fn provide(&mut self, wanted: &BTreeMap<Port, u16>) -> Vec<Failure> {
        self.follow();
        let all = self
            .ways
            .iter_mut()
            .map(|way| Box::pin(way.keeper.provide(wanted)) as BoxFuture<'_, Vec<Failure>>);
        together(all.collect()).await.concat()
    }

    /// What stands between this host and the world, on every way; what is wrong with the preferred one, where servers
    /// outside said so.
    pub(crate) async fn look_out(&mut self, renew: bool) -> Option<Failure> {
        let looks = self.ways.iter_mut().map(|way| {
            let (own, told) = (way.client(), way.keeper.public());
            let look = async move { way.outlook.look(own, told, renew).await.cloned() };
            Box::pin(look) as BoxFuture<'_, Option<Verdict>>
        });
        let verdict = together(looks.collect()).await.into_iter().next().flatten()?;
        let asks = self.ways.first().is_some_and(|way| way.outlook.asks());
        // A router's own word has been told already.
        (asks && !verdict.is_reachable()).then(|| Failure {
            attempted: BE_REACHABLE.into(),
            cause: format!("{verdict}; {}", verdict.hint()),
        })
    }

    /// One way for each default gateway. What is held at a router that is none any more ends with its lease.
    fn follow(&mut self) {
        let mut wanted: Vec<Option<Ipv4Addr>> = self.search.ways().into_iter().map(Some).collect();
        if wanted.is_empty() {
            wanted.push(None);
        }
        if !self.ways.iter().map(|way| way.gateway).eq(wanted.iter().copied()) {
            let mut before = std::mem::take(&mut self.ways);
            // Who has moved to another network altogether finds the new router by its own means.
            if !before.iter().any(|way| wanted.contains(&way.gateway)) {
                before.truncate(1);
                before.iter_mut().for_each(|way| way.gateway = wanted[0]);
            }
            for gateway in &wanted {
                let known = before.iter().position(|way| way.gateway == *gateway).map(|at| before.remove(at));
                self.ways
                    .push(known.unwrap_or_else(|| Way::new(*gateway, self.search.clone(), &self.config)));
            }
            for Way { gateway, keeper, .. } in before {
                let held = keeper.held().len();
                tracing::info!(
                    ?gateway,
                    held,
                    "a way to the world is gone; what its router holds ends by itself"
                );
            }
        }
        let is_alone = self.ways.len() == 1;
        for way in &mut self.ways {
            let toward = way.gateway.filter(|_| !is_alone);
            let found = toward.and_then(|gateway| Some((gateway.into(), self.search.toward(gateway)?)));
            match found {
                Some((gateway, search)) => way.keeper.face(Some(gateway), search),
                None => way.keeper.face(None, self.search.clone()),
            }
        }
    }
}

/// The address that this host sends from, where it is a public one.
pub fn direct() -> Option<Ipv4Addr> {
    outward().filter(|own| is_public((*own).into()))
}

/// The address that this host sends from.
pub(crate) fn outward() -> Option<Ipv4Addr> {
    match sys::host::local_address(SOMEWHERE.into()) {
        Ok(IpAddr::V4(own)) => Some(own),
        _ => None,
    }
}

/// Why a port cannot lead to another one.
pub(crate) fn no_router(own: Ipv4Addr, internal: u16) -> String {
    format!(
        "{own} is this host's own: no router stands before it that could lead the port to {internal}; listen on the port itself"
    )
}

/// Drives all of them at once, so that a silent router holds up nobody else's.
async fn together<T: Send>(all: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut all: Vec<Result<T, BoxFuture<'_, T>>> = all.into_iter().map(Err).collect();
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for one in &mut all {
            if let Err(future) = one {
                match future.as_mut().poll(context) {
                    Poll::Ready(done) => *one = Ok(done),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::router::Gateway;

    /// Routes as they are now, and routers that are silent.
    struct Table(Mutex<Vec<Ipv4Addr>>);

    impl Search for Table {
        fn search(&self) -> BoxFuture<'_, Vec<Arc<dyn Gateway>>> {
            Box::pin(std::future::ready(Vec::new()))
        }

        fn ways(&self) -> Vec<Ipv4Addr> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        fn toward(&self, _: Ipv4Addr) -> Option<Arc<dyn Search>> {
            Some(Arc::new(Table(Mutex::default())))
        }
    }

    #[tokio::test]
    async fn there_is_one_way_for_each_gateway_and_one_without_any() {
        let table = Arc::new(Table(Mutex::default()));
        let mut ways = Ways::new(table.clone(), &Config::default());
        let wanted = [(Port { protocol: crate::wish::Protocol::Tcp, number: 443 }, 443)].into();
        let gateway = |last| Ipv4Addr::new(192, 168, last, 1);
        for now in [vec![], vec![1], vec![1, 2], vec![2, 1], vec![2], vec![3], vec![4, 3], vec![]] {
            *table.0.lock().unwrap() = now.iter().copied().map(gateway).collect();
            let failures = ways.provide(&wanted).await;
            let faced: Vec<_> = ways.all().iter().filter_map(|way| way.gateway).collect();
            assert_eq!((faced, failures.len()), (table.ways(), now.len().max(1)), "{failures:?}");
            // Of several each says for itself that it is silent.
            let named =
                |last: &u8| failures.iter().any(|one| one.cause.contains(&gateway(*last).to_string()));
            assert_eq!(now.iter().all(named), now.len() != 1, "{failures:?}");
        }
    }

    #[tokio::test]
    async fn futures_are_driven_side_by_side_and_keep_their_order() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let waits: BoxFuture<'_, u8> = Box::pin(async { told.await.unwrap_or(0) });
        let tells: BoxFuture<'_, u8> = Box::pin(async { tell.send(1).map_or(0, |()| 2) });
        assert_eq!(together(vec![waits, tells]).await, [1, 2]);
        assert!(together::<u8>(Vec::new()).await.is_empty());
    }
}
