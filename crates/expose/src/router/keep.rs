//! Keeps the router's mappings as they are wished: makes, renews, removes, and finds the router again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use state::Failure;

use super::{Gateway, MapError, Mapping, Search, is_public};
use crate::wish::Port;

/// Longest that withdrawing waits for a router, in all: what is behind the mapping is closed right after.
const WITHDRAW: Duration = Duration::from_secs(4);
/// A mapping that the router holds forever is made again this often: some forget it all the same.
const FOREVER: Duration = Duration::from_secs(600);
/// Longest that a round goes on asking a router for one mapping after another: what is to be closed meanwhile waits.
const PROVIDE: Duration = Duration::from_secs(10);
/// Longest that what an earlier run left is looked through.
const ADOPT: Duration = Duration::from_secs(10);
/// Between two searches that nothing but failure causes.
const SEARCH_AGAIN: Duration = Duration::from_secs(20);

/// Why a port is not asked for yet.
const SLOW: &str = "the router takes its time over others; this one is asked for next";

/// What is attempted when a router is asked for its public address.
pub(crate) const BE_REACHABLE: &str = "be reachable through the router";

/// A mapping that the router holds for us.
pub struct Held {
    /// What it is.
    pub mapping: Mapping,
    /// Who holds it.
    pub gateway: Arc<dyn Gateway>,
    /// As granted; zero is forever.
    pub lease: Duration,
    /// When it was granted.
    pub since: Instant,
    /// The router may have lost it.
    is_doubtful: bool,
}

impl Held {
    /// True when half of the lease is over.
    fn is_due(&self) -> bool {
        let after = if self.lease.is_zero() { FOREVER } else { self.lease / 2 };
        self.is_doubtful || self.since.elapsed() >= after
    }
}

/// The mappings of this host. Every call brings it nearer to what is wished, and tells what is missing.
pub struct Keeper {
    search: Arc<dyn Search>,
    /// The one router that it is for, where there are several.
    only: Option<IpAddr>,
    lease: Duration,
    description: Arc<str>,
    gateways: Vec<Arc<dyn Gateway>>,
    searched: Option<Instant>,
    is_adopted: bool,
    held: BTreeMap<Port, Held>,
    refused: BTreeMap<Port, String>,
    /// The mapping that was looked at last.
    looked: Option<Port>,
    public: Option<IpAddr>,
    /// Why that is not told, or is no public one.
    unreachable: Option<Failure>,
}

impl Keeper {
    /// Nothing is asked of anybody yet.
    pub fn new(search: Arc<dyn Search>, lease: Duration, description: &str) -> Keeper {
        Keeper {
            search,
            only: None,
            lease,
            description: description.into(),
            gateways: Vec::new(),
            searched: None,
            is_adopted: false,
            held: BTreeMap::new(),
            refused: BTreeMap::new(),
            looked: None,
            public: None,
            unreachable: None,
        }
    }

    /// From now on it is for this router alone, or for whichever is found. What is held elsewhere is held there.
    pub fn face(&mut self, only: Option<IpAddr>, search: Arc<dyn Search>) {
        if self.only == only {
            return;
        }
        (self.only, self.search) = (only, search);
        self.gateways.retain(|gateway| only.is_none_or(|only| gateway.router() == only));
    }

    /// What the router holds for us.
    pub fn held(&self) -> &BTreeMap<Port, Held> {
        &self.held
    }

    /// Why the router holds nothing for these.
    pub fn refused(&self) -> &BTreeMap<Port, String> {
        &self.refused
    }

    /// Routers that answered the last search.
    pub fn gateways(&self) -> &[Arc<dyn Gateway>] {
        &self.gateways
    }

    /// The public address, as the router told it last.
    pub fn public(&self) -> Option<IpAddr> {
        self.public
    }

    /// Removes what is not wished any more. What cannot be removed is tried again with the next call, and
    /// ends with its lease.
    pub async fn withdraw(&mut self, wanted: &BTreeMap<Port, u16>) -> Vec<Failure> {
        let until = tokio::time::Instant::now() + WITHDRAW;
        let gone = |held: &Held| wanted.get(&held.mapping.external) != Some(&held.mapping.internal);
        let ports: Vec<Port> =
            self.held.values().filter(|held| gone(held)).map(|held| held.mapping.external).collect();
        let mut failures = Vec::new();
        for port in ports {
            let Some(held) = self.held.get(&port) else { continue };
            let removal = tokio::time::timeout_at(until, held.gateway.unmap(&held.mapping)).await;
            let is_over = !held.lease.is_zero() && held.since.elapsed() >= held.lease;
            match removal.unwrap_or_else(|_| Err(MapError::Silent("it takes too long".into()))) {
                Ok(()) => tracing::info!(%port, router = held.gateway.name(), "removed a mapping"),
                Err(_) if is_over => {}
                Err(error) => {
                    failures.push(failure(
                        format!("remove the mapping of {port} at {}", held.gateway.name()),
                        &error,
                    ));
                    continue;
                }
            }
            self.held.remove(&port);
        }
        failures
    }

    /// Asks whether the router still holds one of the mappings and what its address is, and looks for it when it is
    /// not heard or our own address has changed. It changes nothing at a router, so it may be given up at any point.
    pub async fn refresh(&mut self) {
        self.verify().await;
        self.look(true).await;
        if !self.held.is_empty() || !self.refused.is_empty() {
            self.ask_public().await;
        }
    }

    /// Makes what is wished and not held yet, what is half over, and what the router has lost. One that is silent is
    /// looked for again, once.
    pub async fn provide(&mut self, wanted: &BTreeMap<Port, u16>) -> Vec<Failure> {
        self.refused.retain(|port, _| wanted.contains_key(port));
        self.held.retain(|_, held| held.lease.is_zero() || held.since.elapsed() < held.lease);
        self.look(false).await;
        if wanted.is_empty() && self.held.is_empty() {
            // Nothing is wished, and an earlier life may have left something all the same.
            self.adopt_once(wanted).await;
            return Vec::new();
        }
        let was_found = !self.gateways.is_empty();
        let mut failures = self.provide_once(wanted).await;
        if was_found && self.gateways.is_empty() {
            self.look(true).await;
            failures = self.provide_once(wanted).await;
        }
        if self.faces_v4() {
            if self.public.is_none() {
                self.ask_public().await;
            }
            failures.extend(self.unreachable.clone());
        }
        failures
    }

    /// A pinhole leads to an address of the host's own, and there is nothing to ask.
    fn faces_v4(&self) -> bool {
        self.gateways.first().is_some_and(|gateway| gateway.client().is_ipv4())
    }

    /// Asks for one mapping after another, one each time, whether it is still there.
    async fn verify(&mut self) {
        let after = self.looked.and_then(|port| {
            let bounds = (std::ops::Bound::Excluded(port), std::ops::Bound::Unbounded);
            self.held.range(bounds).next()
        });
        let Some((port, held)) = after.or_else(|| self.held.first_key_value()) else { return };
        let (port, answer) = (*port, held.gateway.holds(&held.mapping).await);
        self.looked = Some(port);
        match answer {
            Ok(true) => return,
            Ok(false) => tracing::info!(%port, "the router has lost a mapping; all are made again"),
            Err(error) => {
                tracing::info!(%error, "looking for the router again");
                self.gateways.clear();
            }
        }
        self.held.values_mut().for_each(|held| held.is_doubtful = true);
    }

    /// Finds routers when there are none, and removes there what an earlier life left.
    async fn look(&mut self, insist: bool) {
        let moved = |gateway: &Arc<dyn Gateway>| {
            gateway.client().is_ipv4()
                && sys::host::addresses().is_ok_and(|own| !own.contains(&gateway.client()))
        };
        if insist && self.gateways.iter().any(moved) {
            tracing::info!("our address has changed; looking for the router again");
            self.gateways.clear();
            self.held.values_mut().for_each(|held| held.is_doubtful = true);
        }
        let is_soon = self.searched.is_some_and(|at| at.elapsed() < SEARCH_AGAIN);
        if !self.gateways.is_empty() || (is_soon && !insist) {
            return;
        }
        self.gateways = self.search.search().await;
        self.searched = Some(Instant::now());
        for gateway in &self.gateways {
            tracing::info!(router = gateway.name(), client = %gateway.client(), "found a router");
        }
    }

    async fn provide_once(&mut self, wanted: &BTreeMap<Port, u16>) -> Vec<Failure> {
        if self.gateways.is_empty() {
            let which =
                self.only.map_or_else(|| "the router".to_owned(), |only| format!("the router {only}"));
            let attempted = format!("map {} ports at {which}", wanted.len());
            let silent = match self.only {
                Some(only) => format!("the router {only} does not answer"),
                None => "no router answers".to_owned(),
            };
            let cause = format!("{silent} to UPnP, PCP or NAT-PMP; switch one of them on there");
            self.refused = wanted.keys().map(|port| (*port, cause.clone())).collect();
            return if wanted.is_empty() { Vec::new() } else { vec![Failure { attempted, cause }] };
        }
        self.adopt_once(wanted).await;
        let mut failures = Vec::new();
        let (begun, mut put_off) = (Instant::now(), 0);
        for (port, internal) in wanted {
            let is_held = self.held.get(port).is_some_and(|held| held.mapping.internal == *internal);
            if is_held && !self.held.get(port).is_some_and(Held::is_due) {
                continue;
            }
            if begun.elapsed() >= PROVIDE {
                put_off += 1;
                self.refused.insert(*port, SLOW.into());
                continue;
            }
            let mapping =
                Mapping { external: *port, internal: *internal, description: self.description.clone() };
            match self.map(&mapping).await {
                Ok(held) => {
                    if !is_held {
                        tracing::info!(%port, internal, router = held.gateway.name(), lease_s = held.lease.as_secs(), "mapped");
                    }
                    self.refused.remove(port);
                    self.held.insert(*port, held);
                }
                Err((who, error)) => {
                    // What was granted before holds until its lease is over, unless somebody else has it now.
                    if !matches!(error, MapError::Silent(_)) {
                        self.held.remove(port);
                    }
                    self.refused.insert(*port, format!("{who}: {error}"));
                    failures.push(failure(format!("map {port} at {who}"), &error));
                    if matches!(error, MapError::Silent(_)) {
                        self.gateways.clear();
                        self.held.values_mut().for_each(|held| held.is_doubtful = true);
                        return failures;
                    }
                }
            }
        }
        if put_off > 0 {
            failures.push(Failure { attempted: format!("map {put_off} more ports"), cause: SLOW.into() });
        }
        failures
    }

    /// The first router, in the first language, that grants exactly this.
    async fn map(&self, mapping: &Mapping) -> Result<Held, (String, MapError)> {
        let mut last = None;
        for gateway in &self.gateways {
            match gateway.map(mapping, self.lease).await {
                Ok(lease) => {
                    let (mapping, gateway) = (mapping.clone(), gateway.clone());
                    return Ok(Held { mapping, gateway, lease, since: Instant::now(), is_doubtful: false });
                }
                Err(error) => {
                    let is_final = matches!(error, MapError::Held(_));
                    // The first refusal is the one to tell: the later languages know less.
                    last = last.or_else(|| Some((gateway.name().to_owned(), error)));
                    if is_final {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| ("the router".into(), MapError::Silent("none is known".into()))))
    }

    async fn adopt_once(&mut self, wanted: &BTreeMap<Port, u16>) {
        if !self.is_adopted && !self.gateways.is_empty() {
            self.is_adopted = true;
            if tokio::time::timeout(ADOPT, self.adopt(wanted)).await.is_err() {
                tracing::warn!(limit = ?ADOPT, "the router is slow to tell what an earlier run left; that ends with its lease");
            }
        }
    }

    /// What carries our description, leads to us and is not wished was left by a life that had no time to
    /// clean up.
    async fn adopt(&self, wanted: &BTreeMap<Port, u16>) {
        for gateway in &self.gateways {
            let left = gateway.ours(&self.description).await.unwrap_or_default();
            for mapping in left.into_iter().filter(|one| !wanted.contains_key(&one.external)) {
                match gateway.unmap(&mapping).await {
                    Ok(()) => {
                        tracing::info!(port = %mapping.external, "removed a mapping that an earlier run left")
                    }
                    Err(error) => {
                        tracing::warn!(port = %mapping.external, %error, "an earlier run left a mapping")
                    }
                }
            }
        }
    }

    async fn ask_public(&mut self) {
        if !self.faces_v4() {
            return;
        }
        let mut last = None;
        for gateway in &self.gateways {
            match gateway.public_address().await {
                Ok(address) => {
                    if self.public != Some(address) {
                        tracing::info!(%address, router = gateway.name(), "the router's public address");
                    }
                    self.public = Some(address);
                    self.unreachable = (!is_public(address)).then(|| Failure {
                        attempted: BE_REACHABLE.into(),
                        cause: format!(
                            "its own address {address} is not public: another router, or the provider's, stands before it"
                        ),
                    });
                    return;
                }
                Err(error) => {
                    last = last
                        .or_else(|| Some(failure(format!("ask {} for its address", gateway.name()), &error)))
                }
            }
        }
        self.unreachable = last;
    }
}

fn failure(attempted: String, error: &MapError) -> Failure {
    Failure { attempted, cause: error.to_string() }
}
