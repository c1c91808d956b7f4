//! How exposure stands, for those who ask.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use state::Failure;

use crate::acme::Certified;
use crate::names::{Key, Rdata};
use crate::nat::Verdict;
use crate::outside::Sight;
use crate::plan::{Plan, plan};
use crate::router::Keeper;
use crate::ways::{Way, Ways};
use crate::wish::{Complaint, Port, Waiting, Wishes};

/// How exposure stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// What shall hold.
    pub plan: Plan,
    /// Wishes that wait for their service.
    pub waiting: Vec<Waiting>,
    /// Mappings of IPv4 on each way out, the preferred first; `None` when none are made.
    pub mappings: Option<Vec<Grants>>,
    /// Pinholes of IPv6; `None` when none are made.
    pub pinholes: Option<Grants>,
    /// Why the firewall does not let in what it should.
    pub firewall: Vec<Failure>,
    /// Whether somebody answers at a port of this host, by its number; why not.
    pub answers: BTreeMap<u16, Result<(), String>>,
    /// What a node elsewhere saw of a port at a router, by the address outside.
    pub sights: BTreeMap<SocketAddr, Sight>,
    /// Names that are shown.
    pub shown: BTreeMap<Key, BTreeSet<Rdata>>,
    /// Why these are not.
    pub hidden: BTreeMap<Key, String>,
    /// What clients inside this home are answered for the names of this host; why nothing.
    pub inside: BTreeMap<Arc<str>, Result<IpAddr, String>>,
    /// This host's own address, where it is public and no router stands before it.
    pub direct: Option<std::net::Ipv4Addr>,
    /// How certificates stand.
    pub certificates: Certified,
    /// The addresses that the world sees.
    pub public: Vec<IpAddr>,
    /// What stands between this host and the world.
    pub verdict: Option<Verdict>,
    /// Why nobody looks after this host's firewall.
    pub unguarded: Option<String>,
    /// What does not hold, and why.
    pub failures: Vec<Failure>,
    /// Tags that cannot be read.
    pub complaints: Vec<Complaint>,
    /// Why the source is not heard now.
    pub trouble: Option<String>,
    /// Everybody who may wish something was heard.
    pub is_heard: bool,
}

/// What routers hold for us in one family of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Routers that answered.
    pub routers: Vec<Arc<str>>,
    /// Port to what is held.
    pub held: BTreeMap<Port, Grant>,
    /// Port to why nothing is.
    pub refused: BTreeMap<Port, String>,
    /// Of several ways out: why no name leads to the address of this one.
    pub hidden: Option<String>,
}

/// A mapping or pinhole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who holds it.
    pub router: Arc<str>,
    /// Our address behind it.
    pub client: IpAddr,
    /// Our port behind it.
    pub internal: u16,
    /// For how long from `since`; zero is forever.
    pub lease: Duration,
    /// When it was granted.
    pub since: Instant,
}

impl Status {
    /// What would be done about these wishes.
    pub fn planned(wishes: &Wishes) -> Status {
        Status {
            plan: plan(wishes),
            waiting: wishes.waiting.clone(),
            complaints: wishes.complaints.clone(),
            mappings: Some(vec![Grants::default()]),
            is_heard: true,
            ..Status::default()
        }
    }
}

impl Grants {
    pub(crate) fn of(keeper: &Keeper) -> Grants {
        let grant = |held: &crate::router::Held| Grant {
            router: held.gateway.name().into(),
            client: held.gateway.client(),
            internal: held.mapping.internal,
            lease: held.lease,
            since: held.since,
        };
        Grants {
            routers: keeper.gateways().iter().map(|gateway| gateway.name().into()).collect(),
            held: keeper.held().iter().map(|(port, held)| (*port, grant(held))).collect(),
            refused: keeper.refused().clone(),
            hidden: None,
        }
    }

    /// On each way out.
    pub(crate) fn of_all(ways: &Ways) -> Vec<Grants> {
        let of = |way: &Way| Grants { hidden: ways.hidden(way), ..Grants::of(way.keeper()) };
        ways.all().iter().map(of).collect()
    }
}

impl Grant {
    /// What is left of the lease; `None` when it never ends.
    pub fn left(&self) -> Option<Duration> {
        (!self.lease.is_zero()).then(|| self.lease.saturating_sub(self.since.elapsed()))
    }
}
