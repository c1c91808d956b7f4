//! Brings the plan about, in the one order that never leads anybody to a closed door: withdraw names, remove
//! mappings, set the firewall, make mappings, show names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use catalog::exposure::{Front, Indoors, Openings};
use state::{Drain, Failure, Publisher, Reader, Report};
use tokio::time::{MissedTickBehavior, interval};

use crate::acme::Certified;
use crate::again::Again;
use crate::answer;
use crate::config::Config;
use crate::doors::{Doors, OpenDoors};
use crate::inside::Inside;
use crate::metrics::Metrics;
use crate::names::{Key, Names, Owner, Provider, Rdata, Shut, Targets};
use crate::outside::{Lookout, Outside, Sights};
use crate::plan::{Plan, plan};
use crate::router::{Everywhere, Keeper, Search, is_public};
use crate::source::Said;
use crate::status::{Grants, Status};
use crate::ways::{Way, Ways, direct, no_router, outward};
use crate::wish::{Port, Protocol, Wishes};

/// Longest that a round waits for the firewall's report; rules are a matter of milliseconds.
const FIREWALL: Duration = Duration::from_secs(20);

/// Longest that name servers, and the firewall, are waited for at the end. With what routers get it is less than a
/// node has to drain.
const CLOSE_NAMES: Duration = Duration::from_secs(3);
const CLOSE_FIREWALL: Duration = Duration::from_secs(3);

/// Where the world looks for HTTPS.
const HTTPS: u16 = 443;

/// What the face is handed.
pub struct Inputs {
    /// Wishes.
    pub said: Reader<Said>,
    /// Where the firewall reads what to open. Dropped at the end: then it removes its rules.
    pub openings: Publisher<Openings>,
    /// What the firewall says of it.
    pub firewall: Reader<Report>,
    /// For those who want to know how it stands.
    pub status: Publisher<Status>,
    /// What clients inside this home are answered for its public names.
    pub indoors: Arc<Publisher<Indoors>>,
    /// Who keeps public names; without one, names that are wished are not shown.
    pub names: Option<Arc<dyn Provider>>,
    /// HTTPS under public names.
    pub https: Https,
    /// Who opens ports that lead to other nodes; without anybody, such wishes fail.
    pub doors: Option<Arc<dyn OpenDoors>>,
    /// Somebody elsewhere who looks whether the world gets in; without anybody, nobody does.
    pub lookout: Option<Arc<dyn Lookout>>,
    /// Counted on the way.
    pub metrics: Metrics,
}

/// Where HTTPS under public names is brought about.
pub struct Https {
    /// What the public listeners serve.
    pub front: Publisher<Front>,
    /// Names that shall have a certificate: those that are served and shown.
    pub certify: Publisher<BTreeSet<Arc<str>>>,
    /// How those stand.
    pub certified: Reader<Certified>,
}

impl Https {
    /// For who serves none.
    pub fn nowhere() -> Https {
        Https {
            front: state::channel(Front::default()).0,
            certify: state::channel(BTreeSet::new()).0,
            certified: state::channel(Certified::new()).1,
        }
    }
}

/// Follows the wishes until the drain starts, then withdraws everything.
pub async fn run(config: Config, inputs: Inputs, drain: Drain) {
    let v4 = config.mappings.then_some(Everywhere::V4(config.private_ip));
    let v6 = config.pinholes.then_some(Everywhere::V6);
    let arc = |search: Everywhere| Arc::new(search) as Arc<dyn Search>;
    run_with(config, inputs, v4.map(arc), v6.map(arc), drain).await;
}

/// The same with other ways to find routers: for tests.
pub async fn run_with(
    config: Config,
    inputs: Inputs,
    v4: Option<Arc<dyn Search>>,
    v6: Option<Arc<dyn Search>>,
    drain: Drain,
) {
    let mut said = inputs.said.clone();
    let mut certified = inputs.https.certified.clone();
    let mut face = Face::new(&config, inputs, v4, v6);
    let mut refreshes = interval(config.refresh.max(Duration::from_secs(1)));
    refreshes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut again = Again::new(config.refresh);
    let mut refresh = Refresh::Done;
    loop {
        tokio::select! {
            () = drain.started() => break,
            _ = refreshes.tick() => refresh = Refresh::Due,
            () = std::future::ready(()), if refresh == Refresh::PutAside => {}
            () = again.due() => {}
            news = said.next() => if news.is_none() { break },
            Some(_) = certified.next() => {
                face.retell();
                continue;
            }
        }
        // Nobody was heard yet: nothing is known, so nothing is done, also not undone.
        if said.now().wishes.is_none() {
            refresh = Refresh::Done;
            continue;
        }
        if refresh != Refresh::Done {
            refresh = tokio::select! {
                () = face.refresh() => Refresh::Done,
                // A door that is to be closed does not wait for answers to mere questions; those come once more then,
                // and are not put aside a second time.
                _ = said.next(), if refresh == Refresh::Due => Refresh::PutAside,
                () = drain.started() => break,
            };
        }
        let now = said.now();
        if let Some(wishes) = &now.wishes {
            // Not given up halfway by a drain: what was mapped must be known to be removed.
            let held = face.hold(wishes).await;
            let (plan, mut ahead) = (face.plan.clone(), said.clone());
            // A name that is asked for is known to be: so nobody who is to be closed waits for a silent name server.
            let failures = tokio::select! {
                failures = face.tell(wishes, held.is_open, held.shut) => failures,
                () = lost(&mut ahead, &plan) => continue,
                () = drain.started() => break,
            };
            face.publish(wishes, &now, [held.failures, failures].concat(), held.firewall);
            again.after(tokio::time::Instant::now(), face.is_refused());
        }
    }
    if !config.leave {
        face.close().await;
    }
}

/// Whether routers and servers outside are to be asked how it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refresh {
    Done,
    Due,
    /// News came first.
    PutAside,
}

/// What came of everything but names.
struct Holding {
    failures: Vec<Failure>,
    firewall: Vec<Failure>,
    is_open: bool,
    /// Ports that are kept shut.
    shut: Shut,
}

struct Face {
    inputs: Inputs,
    mappings: Option<Ways>,
    pinholes: Option<Keeper>,
    names: Option<Names>,
    doors: Option<Doors>,
    /// This host's own address, where it is public: no router stands before it.
    direct: Option<Ipv4Addr>,
    /// What counts before the router's word.
    public: Option<Ipv4Addr>,
    inside: Inside,
    /// Why nobody looks after the firewall.
    unguarded: Option<String>,
    outside: Outside,
    plan: Plan,
    answers: answer::Answers,
}

impl Face {
    fn new(
        config: &Config,
        inputs: Inputs,
        v4: Option<Arc<dyn Search>>,
        v6: Option<Arc<dyn Search>>,
    ) -> Face {
        let names = inputs.names.clone().map(|names| Names::new(names, config.journal.clone()));
        Face {
            mappings: v4.map(|search| Ways::new(search, config)),
            pinholes: v6.map(|search| Keeper::new(search, config.lease, &config.description)),
            names,
            doors: inputs.doors.clone().map(Doors::new),
            direct: None,
            public: config.public,
            inside: Inside::new(inputs.indoors.clone(), config),
            unguarded: config.unguarded.clone(),
            outside: Outside::new(inputs.lookout.clone()),
            plan: Plan::default(),
            answers: BTreeMap::new(),
            inputs,
        }
    }

    /// Withdraws, opens, maps: all that somebody outside may come in by.
    async fn hold(&mut self, wishes: &Wishes) -> Holding {
        let next = plan(wishes);
        let barred = self.plan.barred.iter().filter(|(port, _)| next.doors.contains_key(port));
        let barred = barred.map(|(port, why)| (*port, why.clone())).collect();
        let next = next.without(barred);
        if next != self.plan {
            tracing::info!(tcp = ?next.ports(Protocol::Tcp), udp = ?next.ports(Protocol::Udp), "ports that services wish to expose");
            for conflict in next.conflicts.iter().filter(|one| !self.plan.conflicts.contains(one)) {
                tracing::warn!(conflict, "two wishes cannot both be met");
            }
        }
        self.plan = next;
        let mut failures = self.withdraw().await;
        self.inputs.https.front.publish_if_changed(Front { sites: self.plan.sites.clone(), https: HTTPS });
        failures.extend(self.settle_doors().await);
        let barred = self.barred();
        if barred != self.plan.barred {
            self.plan = plan(wishes).without(barred);
            failures.extend(self.withdraw().await);
        }
        let report = self.set_firewall(FIREWALL).await;
        let shut = self.shut(&report);
        let is_open = report.failures.iter().all(|one| Port::is_about_one(&one.attempted));
        self.inside.tell(&self.plan, wishes, outward());
        failures.extend(report.failures.iter().cloned());
        self.direct = direct();
        failures.extend(self.provide().await);
        Holding { failures, firewall: report.failures, is_open, shut }
    }

    /// Looks from outside, and shows names. It may be given up at any point.
    async fn tell(&mut self, wishes: &Wishes, is_open: bool, shut: Shut) -> Vec<Failure> {
        let mut failures = Vec::from_iter(self.look_out(false).await);
        self.ask_services().await;
        self.outside.look(&self.reachable(), false).await;
        failures.extend(self.show(wishes, is_open, shut).await);
        self.inputs.https.certify.publish_if_changed(self.to_certify());
        failures
    }

    /// Undoes everything, in the order of withdrawal and in bounded time: a router or a name server that is silent
    /// holds nobody up. What stays behind is said.
    async fn close(&mut self) {
        self.plan = Plan::default();
        self.inside.forget(&self.plan);
        if let Some(names) = &mut self.names {
            let late = tokio::time::timeout(CLOSE_NAMES, names.withdraw(&self.plan)).await.is_err();
            for key in names.held().keys() {
                let why = if late { "its keeper is silent" } else { "its keeper refuses" };
                tracing::warn!(name = %key.0, kind = key.1.word(), why, "a public name stays behind; the next run removes it");
            }
        }
        self.leave_routers().await;
        self.inputs.https.front.publish_if_changed(Front::default());
        self.settle_doors().await;
        for failure in self.set_firewall(CLOSE_FIREWALL).await.failures {
            tracing::warn!(
                attempted = failure.attempted,
                cause = failure.cause,
                "the firewall may be open still"
            );
        }
    }

    /// True when a port is kept from us that may be free any moment: whoever had it withdraws.
    fn is_refused(&self) -> bool {
        !self.plan.barred.is_empty() || self.mappings.as_ref().is_some_and(Ways::is_refused)
    }

    async fn withdraw(&mut self) -> Vec<Failure> {
        let mut failures = Vec::new();
        self.inside.forget(&self.plan);
        if let Some(names) = &mut self.names {
            failures.extend(names.withdraw(&self.plan).await);
        }
        if let Some(ways) = &mut self.mappings {
            failures.extend(ways.withdraw(&self.plan.mappings).await);
        }
        if let Some(keeper) = &mut self.pinholes {
            failures.extend(keeper.withdraw(&self.plan.pinholes()).await);
        }
        failures
    }

    /// Removes all mappings for good, and says which could not be.
    async fn leave_routers(&mut self) {
        let none = BTreeMap::new();
        let v4 = async {
            if let Some(ways) = &mut self.mappings {
                drop(ways.withdraw(&none).await);
                ways.all().iter().for_each(|way| say_what_stays(way.keeper()));
            }
        };
        let v6 = async {
            if let Some(keeper) = &mut self.pinholes {
                drop(keeper.withdraw(&none).await);
                say_what_stays(keeper);
            }
        };
        tokio::join!(v4, v6);
    }

    /// Addresses at which the world reaches this host, and the ports that lead here at each.
    fn led(&self) -> BTreeMap<IpAddr, BTreeSet<Port>> {
        let mapped = || self.mappings.as_ref().map(Ways::mapped).unwrap_or_default();
        match (self.public, self.direct) {
            // Somebody knows better what the world sees.
            (Some(public), None) => [(public.into(), mapped())].into(),
            (public, Some(own)) => {
                let same = self.plan.mappings.iter().filter(|(port, internal)| port.number == **internal);
                [(public.unwrap_or(own).into(), same.map(|(port, _)| *port).collect())].into()
            }
            (None, None) => self.mappings.as_ref().map(Ways::led).unwrap_or_default(),
        }
    }

    /// Where the world is led here by TCP, and somebody answers.
    fn reachable(&self) -> BTreeSet<SocketAddr> {
        let answers = |port: &Port| {
            let internal = self.plan.mappings.get(port);
            internal.is_some_and(|internal| matches!(self.answers.get(internal), Some(Ok(()))))
        };
        let led = self.led().into_iter().flat_map(|(address, ports)| {
            let tcp = ports.into_iter().filter(|port| port.protocol == Protocol::Tcp && answers(port));
            tcp.map(move |port| SocketAddr::new(address, port.number)).collect::<Vec<_>>()
        });
        led.collect()
    }

    /// Publishes what to open and waits for the report on it.
    async fn set_firewall(&self, patience: Duration) -> Report {
        let before = self.inputs.openings.now();
        if before.ports != self.plan.openings || before.generation == 0 {
            let generation = before.generation + 1;
            self.inputs.openings.publish(Openings { generation, ports: self.plan.openings.clone() });
        }
        let wanted = self.inputs.openings.now().generation;
        match tokio::time::timeout(patience, self.inputs.firewall.at_least(wanted)).await {
            Ok(Ok(report)) => Report::clone(&report),
            Ok(Err(_)) | Err(_) => {
                let cause = format!("no report within {patience:?}");
                let attempted = "open ports in the host's firewall".to_owned();
                Report { generation: 0, failures: vec![Failure { attempted, cause }] }
            }
        }
    }

    /// Asks how it stands, and changes nothing: it may be given up at any point.
    async fn refresh(&mut self) {
        self.direct = direct();
        let (v4, v6) = (self.mappings.as_mut().filter(|_| self.direct.is_none()), self.pinholes.as_mut());
        let v4 = async {
            if let Some(ways) = v4 {
                ways.refresh().await;
            }
        };
        let v6 = async {
            if let Some(keeper) = v6 {
                keeper.refresh().await;
            }
        };
        tokio::join!(v4, v6);
        if !self.plan.mappings.is_empty() {
            let _ = self.look_out(true).await;
        }
        self.outside.look(&self.reachable(), true).await;
    }

    async fn provide(&mut self) -> Vec<Failure> {
        let (mappings, pinholes) = (self.plan.mappings.clone(), self.plan.pinholes());
        if let Some(own) = self.direct {
            let _ = provide(self.pinholes.as_mut(), &pinholes).await;
            return self.elsewhere(own);
        }
        let v4 = async {
            match &mut self.mappings {
                Some(ways) => ways.provide(&mappings).await,
                None => Vec::new(),
            }
        };
        let v6 = provide(self.pinholes.as_mut(), &pinholes);
        let (mut failures, v6) = tokio::join!(v4, v6);
        if self.public.is_some() {
            // Somebody knows better what the world sees.
            failures.retain(|failure| failure.attempted != crate::router::BE_REACHABLE);
        }
        // A network without IPv6, or a router that lets it in anyway, is the usual case and no failure.
        let is_known = self.pinholes.as_ref().is_some_and(|keeper| !keeper.held().is_empty());
        failures.extend(v6.into_iter().filter(|_| is_known));
        failures
    }

    /// Ports that other people's rules drop although ours let them in.
    fn shut(&self, report: &Report) -> Shut {
        let told = |words: fn(&Port) -> String| {
            let is_told = |port: &&Port| report.failures.iter().any(|one| one.attempted == words(port));
            self.plan.openings.keys().filter(is_told).copied().collect()
        };
        Shut { v4: told(Port::let_in), v6: told(Port::let_in_by_ipv6) }
    }

    async fn settle_doors(&mut self) -> Vec<Failure> {
        match &mut self.doors {
            Some(doors) => doors.settle(&self.plan.doors).await,
            None => Vec::new(),
        }
    }

    /// Wished doors that are not open.
    fn barred(&self) -> BTreeMap<Port, String> {
        let nobody = |port: &Port| (*port, format!("listen on {port}: this node has no proxy"));
        let none = || self.plan.doors.keys().map(nobody).collect();
        self.doors.as_ref().map_or_else(none, |doors| doors.barred().clone())
    }

    /// Ports that a host without a router cannot have: nobody leads one to another.
    fn elsewhere(&self, own: Ipv4Addr) -> Vec<Failure> {
        let differ = self.plan.mappings.iter().filter(|(port, internal)| port.number != **internal);
        differ
            .map(|(port, internal)| Failure {
                attempted: format!("lead {port} here"),
                cause: no_router(own, *internal),
            })
            .collect()
    }

    /// Whether anybody answers where the world is led. It delays nothing: a service may come up after its wish.
    async fn ask_services(&mut self) {
        let tcp = self.plan.mappings.iter().filter(|(port, _)| port.protocol == Protocol::Tcp);
        let wanted: BTreeSet<u16> = tcp.map(|(_, internal)| *internal).collect();
        let facing = self.mappings.as_ref().and_then(|ways| ways.all().iter().find_map(Way::client));
        let Some(host) = self.direct.map(IpAddr::from).or(facing) else { return };
        answer::ask(host, &wanted, &mut self.answers).await;
    }

    /// What stands between this host and the world.
    async fn look_out(&mut self, renew: bool) -> Option<Failure> {
        // Who was told the address needs nobody's word for it.
        let is_told = self.public.is_some();
        self.mappings.as_mut()?.look_out(renew).await.filter(|_| !is_told)
    }

    /// Names that are served, once they lead here: an authority looks for them. Where nobody keeps names for us,
    /// whoever does is trusted to have shown them.
    fn to_certify(&self) -> BTreeSet<Arc<str>> {
        let leads_here = |name: &Arc<str>| {
            let leads = |(shown, values): (&Key, &BTreeSet<Rdata>)| shown.0 == *name && !values.is_empty();
            self.names.as_ref().is_none_or(|names| names.held().iter().any(leads))
        };
        self.plan.sites.keys().filter(|name| leads_here(name)).cloned().collect()
    }

    /// Certificates came or went, and nothing else.
    fn retell(&self) {
        let before = Status::clone(&self.inputs.status.now());
        let status = Status { certificates: Certified::clone(&self.inputs.https.certified.now()), ..before };
        self.inputs.metrics.show(&status.shown("", true));
        self.inputs.status.publish_if_changed(status);
    }

    /// Shows names, last of all, and none to a door that the firewall keeps shut.
    async fn show(&mut self, wishes: &Wishes, is_open: bool, shut: Shut) -> Vec<Failure> {
        let pinholed: BTreeSet<Port> =
            self.pinholes.iter().flat_map(|keeper| keeper.held().keys().copied()).collect();
        let own = self.pinholes.as_ref().and_then(|keeper| keeper.held().values().next());
        let own = own.map(|held| held.gateway.client()).filter(|address| is_public(*address));
        let led = self.led();
        let mapped = match self.direct {
            Some(_) => led.values().flatten().copied().collect(),
            None => self.mappings.as_ref().map(Ways::mapped).unwrap_or_default(),
        };
        let v4 = |(address, ports)| if let IpAddr::V4(v4) = address { Some((v4, ports)) } else { None };
        let targets = Targets {
            place: wishes.place.clone(),
            ipv4: led.into_iter().filter_map(v4).collect(),
            ipv6: own.and_then(|address| if let IpAddr::V6(v6) = address { Some(v6) } else { None }),
            mapped,
            pinholed,
            shut,
            unreached: unreached(&self.outside.sights()),
            siblings: wishes.siblings.iter().filter_map(|node| Owner::new(node).ok()).collect(),
        };
        match &mut self.names {
            Some(names) if is_open => names.provide(&self.plan, &targets).await,
            None if !self.plan.names.is_empty() => {
                let attempted = format!("show {} names to the world", self.plan.names.len());
                vec![Failure { attempted, cause: "no name server is given".into() }]
            }
            _ => Vec::new(),
        }
    }

    fn publish(&self, wishes: &Wishes, said: &Said, failures: Vec<Failure>, firewall: Vec<Failure>) {
        let before = self.inputs.status.now();
        for failure in failures.iter().filter(|one| !before.failures.contains(one)) {
            tracing::warn!(attempted = failure.attempted, cause = failure.cause, "exposure is incomplete");
        }
        let status = Status {
            plan: self.plan.clone(),
            waiting: wishes.waiting.clone(),
            mappings: self.mappings.as_ref().map(Grants::of_all),
            pinholes: self.pinholes.as_ref().map(Grants::of),
            firewall,
            answers: self.answers.clone(),
            sights: self.outside.sights(),
            shown: self.names.as_ref().map(|names| names.held().clone()).unwrap_or_default(),
            hidden: self.names.as_ref().map(|names| names.refused().clone()).unwrap_or_default(),
            inside: self.inside.answers().clone(),
            direct: self.direct,
            certificates: Certified::clone(&self.inputs.https.certified.now()),
            public: self.public_addresses(),
            verdict: self.mappings.as_ref().and_then(|ways| ways.all().first()?.verdict().cloned()),
            unguarded: self.unguarded.clone(),
            failures,
            complaints: wishes.complaints.clone(),
            trouble: said.trouble.clone(),
            is_heard: !said.is_partial,
        };
        self.inputs.metrics.show(&status.shown("", true));
        self.inputs.status.publish_if_changed(status);
    }

    /// What the world sees; what routers say of it where nothing is known to lead here.
    fn public_addresses(&self) -> Vec<IpAddr> {
        let led: Vec<IpAddr> = self.led().into_keys().collect();
        let told = self.mappings.iter().flat_map(|ways| ways.all()).filter_map(|way| way.keeper().public());
        if led.is_empty() { told.collect() } else { led }
    }
}

/// Resolves when something is not wished any more.
async fn lost(said: &mut Reader<Said>, before: &Plan) {
    loop {
        let Some(now) = said.next().await else { return std::future::pending().await };
        if now.wishes.as_ref().is_some_and(|wishes| before.loses(&plan(wishes))) {
            return;
        }
    }
}

/// What a router did not let go of.
fn say_what_stays(keeper: &Keeper) {
    for (port, held) in keeper.held() {
        let ends_in_s = held.lease.saturating_sub(held.since.elapsed()).as_secs();
        let (router, is_endless) = (held.gateway.name(), held.lease.is_zero());
        tracing::warn!(%port, router, is_endless, ends_in_s, "a mapping stays behind at a router that does not hear us");
    }
}

/// Where somebody elsewhere did not get in, and what he said.
fn unreached(sights: &Sights) -> BTreeMap<SocketAddr, String> {
    let failed = sights.iter().filter_map(|(at, sight)| Some((at, sight, sight.outcome.as_ref().err()?)));
    failed.map(|(at, sight, why)| (*at, format!("node \"{}\" does not get in: {why}", sight.by))).collect()
}

async fn provide(keeper: Option<&mut Keeper>, wanted: &BTreeMap<Port, u16>) -> Vec<Failure> {
    match keeper {
        Some(keeper) => keeper.provide(wanted).await,
        None => Vec::new(),
    }
}
