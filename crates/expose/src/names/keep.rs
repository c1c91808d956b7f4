//! Keeps public names as they are wished: shown when what they lead to holds, gone before it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use state::Failure;

use super::journal::Journal;
use super::{Key, NameError, Owner, Provider, Rdata};
use crate::plan::Plan;
use crate::wish::{NameKind, Place, Port, Protocol, srv};

/// Longest that withdrawing waits for name servers, in all: the doors behind the names are closed right after.
const REMOVE: Duration = Duration::from_secs(4);
/// Who does not answer one question for so long is not asked the next in the same round.
const PATIENCE: Duration = Duration::from_secs(1);

/// Ports of this host, as named in [`Plan::openings`], that its firewall keeps shut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shut {
    /// By IPv4.
    pub v4: BTreeSet<Port>,
    /// By IPv6: names with such addresses alone lead that way.
    pub v6: BTreeSet<Port>,
}

/// What names can lead to now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// What the operator said; it counts before what the router says, and then no mapping is waited for.
    pub place: Place,
    /// Public addresses at which the world reaches this host, and the ports that lead here at each.
    pub ipv4: BTreeMap<Ipv4Addr, BTreeSet<Port>>,
    /// This host's own public address.
    pub ipv6: Option<Ipv6Addr>,
    /// Ports that a router maps, also where no public address of it is known.
    pub mapped: BTreeSet<Port>,
    /// Ports that it lets through.
    pub pinholed: BTreeSet<Port>,
    /// What of it the firewall keeps shut.
    pub shut: Shut,
    /// Where somebody elsewhere could not get in, and what he said: no name leads there before somebody can.
    pub unreached: BTreeMap<SocketAddr, String>,
    /// Other owners of this home, whose names may be taken over.
    pub siblings: Vec<Owner>,
}

impl Targets {
    /// Why the ports of a name do not lead through this host's firewall.
    fn is_open(&self, plan: &Plan, kind: NameKind, ports: &BTreeSet<Port>) -> Result<(), String> {
        if let Some((_, why)) = plan.bar(ports) {
            return Err(why.clone());
        }
        let inner = |port: &Port| Some(Port { number: *plan.mappings.get(port)?, ..*port });
        let (all, by) = match kind {
            NameKind::Aaaa => (&self.shut.v6, " by IPv6"),
            NameKind::A | NameKind::Cname | NameKind::Srv | NameKind::Txt => (&self.shut.v4, ""),
        };
        let shut = ports.iter().filter_map(inner).find(|port| all.contains(port));
        shut.map_or(Ok(()), |port| Err(format!("this host's firewall keeps {port} shut{by}")))
    }

    /// Why an address is not shown yet.
    fn missed(&self, address: Ipv4Addr, ports: &BTreeSet<Port>) -> Option<String> {
        let tcp = ports.iter().filter(|port| port.protocol == Protocol::Tcp);
        let missed = tcp.filter_map(|port| {
            Some((port, self.unreached.get(&SocketAddr::new(address.into(), port.number))?))
        });
        missed.map(|(port, why)| format!("{port} is not reached from outside: {why}")).next()
    }

    /// What a name leads to; why to nothing. `shown` is what it leads to now, empty where an earlier run left that open.
    fn of(
        &self,
        key: &Key,
        ports: &BTreeSet<Port>,
        shown: Option<&BTreeSet<Rdata>>,
    ) -> Result<BTreeSet<Rdata>, String> {
        if key.1 == NameKind::A && self.place.public_ipv4.is_none() {
            return self.addresses(ports, shown);
        }
        let missed: Option<Vec<String>> =
            self.ipv4.keys().map(|address| self.missed(*address, ports)).collect();
        match missed.unwrap_or_default().into_iter().next().filter(|_| shown.is_none()) {
            Some(why) => Err(why),
            None => self.one(key, ports).map(|one| [one].into()),
        }
    }

    /// All addresses over which every port leads here. One that is shown stays when somebody elsewhere does not get in: it may
    /// be he who has trouble.
    fn addresses(
        &self,
        ports: &BTreeSet<Port>,
        shown: Option<&BTreeSet<Rdata>>,
    ) -> Result<BTreeSet<Rdata>, String> {
        let stays = |address| shown.is_some_and(|all| all.is_empty() || all.contains(&Rdata::A(address)));
        let led = self.ipv4.iter().filter(|(_, held)| ports.is_subset(held));
        let (mut found, mut why) = (BTreeSet::new(), None);
        for address in led.map(|(address, _)| *address) {
            match self.missed(address, ports).filter(|_| !stays(address)) {
                None => drop(found.insert(Rdata::A(address))),
                Some(missed) => why = Some(missed),
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        Err(why.unwrap_or_else(|| match ports.difference(&self.mapped).next() {
            Some(port) => format!("{port} is not mapped"),
            None if self.ipv4.is_empty() => "no public IPv4 address is known".into(),
            None => "no address outside has all of its ports".into(),
        }))
    }

    /// The same where there is one.
    fn one(&self, (name, kind): &Key, ports: &BTreeSet<Port>) -> Result<Rdata, String> {
        let missing = |held: &BTreeSet<Port>| ports.difference(held).next().copied();
        match kind {
            NameKind::A => self.place.public_ipv4.map(Rdata::A).ok_or_else(|| "nobody said it".to_owned()),
            NameKind::Aaaa => match (self.place.public_ipv6, self.ipv6, missing(&self.pinholed)) {
                (Some(said), ..) => Ok(Rdata::Aaaa(said)),
                (None, _, Some(port)) => Err(format!("{port} has no pinhole")),
                (None, Some(found), None) => Ok(Rdata::Aaaa(found)),
                (None, None, None) => Err("no public IPv6 address is known".into()),
            },
            NameKind::Cname => {
                let target = self.place.cname_target.clone();
                target.map(Rdata::Cname).ok_or_else(|| "the node's metadata has no cname_target".into())
            }
            NameKind::Srv => match (self.place.public_ipv4, missing(&self.mapped)) {
                (None, Some(port)) => Err(format!("{port} is not mapped")),
                _ => service(name, ports),
            },
            NameKind::Txt => Err("no wish says what shall stand there".into()),
        }
    }
}

/// The record of a service: its first port of the protocol that the name says, on the host that it is below.
fn service(name: &str, ports: &BTreeSet<Port>) -> Result<Rdata, String> {
    let (protocol, host) = srv(name).ok_or("it is no name of a service, like _sip._tcp.example.org")?;
    let port = ports.iter().find(|port| port.protocol == protocol);
    let port = port.ok_or_else(|| format!("no port of {protocol} is wished with it"))?.number;
    Ok(Rdata::Srv { priority: 0, weight: 0, port, target: host.into() })
}

/// The names of this host.
pub struct Names {
    provider: Arc<dyn Provider>,
    journal: Journal,
    held: BTreeMap<Key, BTreeSet<Rdata>>,
    refused: BTreeMap<Key, String>,
    /// Names that were asked for or taken back, and nobody knows what came of it.
    unsure: BTreeSet<Key>,
}

impl Names {
    /// Nothing is asked of anybody yet. Names that an earlier run wrote down in the file count as held: what nobody wishes
    /// any more is removed, everything else is shown anew.
    pub fn new(provider: Arc<dyn Provider>, journal: Option<PathBuf>) -> Names {
        let journal = Journal::open(journal);
        let held = journal.names().map(|key| (key.clone(), BTreeSet::new())).collect();
        Names { provider, journal, held, refused: BTreeMap::new(), unsure: BTreeSet::new() }
    }

    /// What is shown; empty where nobody knows whether it is.
    pub fn held(&self) -> &BTreeMap<Key, BTreeSet<Rdata>> {
        &self.held
    }

    /// Why these are not shown.
    pub fn refused(&self) -> &BTreeMap<Key, String> {
        &self.refused
    }

    /// Removes the names that are not wished any more.
    pub async fn withdraw(&mut self, plan: &Plan) -> Vec<Failure> {
        let gone: Vec<Key> = self.held.keys().filter(|key| !plan.names.contains_key(*key)).cloned().collect();
        self.remove(gone).await
    }

    /// Shows the names whose ports hold, and hides those whose ports do not. With nothing changed, nobody is
    /// asked.
    pub async fn provide(&mut self, plan: &Plan, targets: &Targets) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut hidden = Vec::new();
        let mut silent = Silent::default();
        self.refused.clear();
        for (key, ports) in &plan.names {
            let target = targets.is_open(plan, key.1, ports);
            let target = target.and_then(|()| targets.of(key, ports, self.held.get(key)));
            let values = match target {
                Ok(values) => values,
                Err(cause) => {
                    self.refused.insert(key.clone(), cause.clone());
                    if !plan.optional.contains(key) {
                        failures.push(Failure {
                            attempted: format!("show {} to the world", in_words(key)),
                            cause,
                        });
                    }
                    hidden.push(key.clone());
                    continue;
                }
            };
            if self.held.get(key) == Some(&values) && !self.unsure.contains(key) {
                continue;
            }
            if let Err(error) = self.show(key, values, &targets.siblings, &mut silent).await {
                let cause = error.to_string();
                self.refused.insert(key.clone(), cause.clone());
                failures.push(Failure { attempted: format!("show {} to the world", in_words(key)), cause });
            }
        }
        failures.extend(self.remove(hidden).await);
        failures
    }

    /// Shows it. Given up halfway, or not answered, it may be there: so it is held from before it is asked for, and asked
    /// for again.
    async fn show(
        &mut self,
        key: &Key,
        values: BTreeSet<Rdata>,
        from: &[Owner],
        silent: &mut Silent,
    ) -> Result<(), NameError> {
        silent.about(self.provider.keeper(key))?;
        let (was_held, was_unsure) = (self.held.contains_key(key), self.unsure.contains(key));
        self.journal.add(key);
        self.held.entry(key.clone()).or_default();
        self.unsure.insert(key.clone());
        let begun = Instant::now();
        match self.set(key, &values, from).await {
            Ok(()) => {
                tracing::info!(name = %key.0, ?values, "a public name leads here");
                self.held.insert(key.clone(), values);
                self.unsure.remove(key);
                Ok(())
            }
            Err(error) => {
                if matches!(error, NameError::Silent(_)) {
                    silent.note(self.provider.keeper(key), begun, &error);
                } else if !was_unsure {
                    self.unsure.remove(key);
                }
                if !matches!(error, NameError::Silent(_)) && !was_held {
                    // It was not taken, so it is none of ours.
                    self.held.remove(key);
                    self.journal.remove(key);
                }
                Err(error)
            }
        }
    }

    /// Sets it; what another host of this home showed is taken over.
    async fn set(&self, key: &Key, values: &BTreeSet<Rdata>, from: &[Owner]) -> Result<(), NameError> {
        let mut outcome = self.provider.set(key, values).await;
        for owner in from {
            if !matches!(outcome, Err(NameError::Foreign(_))) {
                break;
            }
            outcome = self.provider.adopt(key, values, owner).await;
        }
        outcome
    }

    async fn hide(
        &mut self,
        key: &Key,
        until: tokio::time::Instant,
        silent: &mut Silent,
    ) -> Result<(), NameError> {
        let keeper = self.provider.keeper(key);
        silent.about(keeper)?;
        self.unsure.insert(key.clone());
        let begun = Instant::now();
        let removal = tokio::time::timeout_at(until, self.provider.remove(key)).await;
        let removal = removal.unwrap_or_else(|_| Err(NameError::Silent("it takes too long".into())));
        if let Err(error @ NameError::Silent(_)) = &removal {
            silent.note(keeper, begun, error);
        }
        removal
    }

    async fn remove(&mut self, keys: Vec<Key>) -> Vec<Failure> {
        let (mut failures, mut silent) = (Vec::new(), Silent::default());
        let until = tokio::time::Instant::now() + REMOVE;
        for key in keys.into_iter().filter(|key| self.held.contains_key(key)).collect::<Vec<_>>() {
            match self.hide(&key, until, &mut silent).await {
                Ok(()) => {
                    tracing::info!(name = %key.0, "a public name is gone");
                    self.held.remove(&key);
                    self.unsure.remove(&key);
                    self.journal.remove(&key);
                }
                Err(error) => failures.push(Failure {
                    attempted: format!("remove {} from the world", in_words(&key)),
                    cause: error.to_string(),
                }),
            }
        }
        failures
    }
}

/// Keepers that let us wait in this round.
#[derive(Default)]
struct Silent(BTreeMap<usize, NameError>);

impl Silent {
    /// What is known of one already.
    fn about(&self, keeper: usize) -> Result<(), NameError> {
        self.0.get(&keeper).map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Whoever says at once that it is not there holds nobody up.
    fn note(&mut self, keeper: usize, begun: Instant, error: &NameError) {
        if begun.elapsed() >= PATIENCE {
            self.0.insert(keeper, error.clone());
        }
    }
}

fn in_words((name, kind): &Key) -> String {
    format!("{name} ({})", kind.word())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;
    use crate::names::{BoxFuture, Several};
    use crate::wish::Protocol;

    #[test]
    fn a_name_waits_for_its_ports_unless_the_operator_said_where_it_leads() {
        let port = Port { protocol: Protocol::Tcp, number: 443 };
        let key = |kind| ("www.example.org".into(), kind);
        let mut targets = Targets::default();
        let of = |targets: &Targets, kind| targets.of(&key(kind), &[port].into(), None);
        assert_eq!(of(&targets, NameKind::A), Err("443/tcp is not mapped".into()));
        targets.mapped.insert(port);
        assert_eq!(of(&targets, NameKind::A), Err("no public IPv4 address is known".into()));
        targets.ipv4.insert([45, 83, 0, 1].into(), [port].into());
        assert_eq!(of(&targets, NameKind::A), Ok([Rdata::A([45, 83, 0, 1].into())].into()));
        targets.mapped.clear();
        targets.place.public_ipv4 = Some([45, 83, 0, 9].into());
        assert_eq!(of(&targets, NameKind::A), Ok([Rdata::A([45, 83, 0, 9].into())].into()));
        assert!(of(&targets, NameKind::Cname).is_err());
        assert!(of(&targets, NameKind::Aaaa).is_err());
    }

    #[test]
    fn a_name_leads_to_every_address_that_has_its_ports_and_lets_somebody_in() {
        let port = |number| Port { protocol: Protocol::Tcp, number };
        let address = |last: u8| Ipv4Addr::new(45, 83, 0, last);
        let (both, one): (BTreeSet<Port>, BTreeSet<Port>) = ([port(80), port(443)].into(), [port(80)].into());
        let ipv4 = [(address(1), both.clone()), (address(2), both.clone()), (address(3), one)].into();
        let mut targets = Targets { ipv4, mapped: both.clone(), ..Targets::default() };
        let all = |last: &[u8]| last.iter().map(|last| Rdata::A(address(*last))).collect::<BTreeSet<_>>();
        let of = |targets: &Targets, shown: &[u8]| {
            let shown = (!shown.is_empty()).then(|| all(shown));
            targets.of(&("www.example.org".into(), NameKind::A), &both, shown.as_ref())
        };
        assert_eq!(of(&targets, &[]), Ok(all(&[1, 2])));
        targets.unreached.insert((address(2), 443).into(), "refused".into());
        assert_eq!((of(&targets, &[]), of(&targets, &[2])), (Ok(all(&[1])), Ok(all(&[1, 2]))));
        let unsure = targets.of(&("www.example.org".into(), NameKind::A), &both, Some(&BTreeSet::new()));
        assert_eq!(unsure, Ok(all(&[1, 2])));
        targets.unreached.insert((address(1), 443).into(), "refused".into());
        assert_eq!(of(&targets, &[]), Err("443/tcp is not reached from outside: refused".into()));
        targets.ipv4 = [(address(3), [port(80)].into()), (address(4), [port(443)].into())].into();
        assert_eq!(of(&targets, &[]), Err("no address outside has all of its ports".into()));
    }

    #[test]
    fn the_name_of_a_service_says_its_port() {
        let port = |protocol, number| Port { protocol, number };
        let ports: BTreeSet<Port> = [port(Protocol::Tcp, 5060), port(Protocol::Udp, 5061)].into();
        let targets = Targets { mapped: ports.clone(), ..Targets::default() };
        let of = |name: &str, ports: &BTreeSet<Port>| targets.one(&(name.into(), NameKind::Srv), ports);
        let found = of("_sip._udp.example.org", &ports).unwrap();
        assert_eq!(found, Rdata::Srv { priority: 0, weight: 0, port: 5061, target: "example.org".into() });
        assert!(
            of("_sip._udp.example.org", &[port(Protocol::Tcp, 5060)].into()).unwrap_err().contains("udp")
        );
        assert!(
            of("_sip._tcp.example.org", &[port(Protocol::Tcp, 1)].into()).unwrap_err().contains("not mapped")
        );
        assert!(of("www.example.org", &ports).is_err());
    }

    /// Takes what it is told and answers nothing.
    #[derive(Default)]
    struct Mute {
        answers: AtomicBool,
        asked: AtomicUsize,
        names: Mutex<BTreeSet<Key>>,
    }

    impl Mute {
        async fn answer(&self) -> Result<(), NameError> {
            self.asked.fetch_add(1, Relaxed);
            match self.answers.load(Relaxed) {
                true => Ok(()),
                false => {
                    tokio::time::sleep(PATIENCE).await;
                    Err(NameError::Silent("no answer".into()))
                }
            }
        }
    }

    impl Provider for Mute {
        fn set<'a>(&'a self, key: &'a Key, _: &'a BTreeSet<Rdata>) -> BoxFuture<'a, Result<(), NameError>> {
            self.names.lock().unwrap().insert(key.clone());
            Box::pin(self.answer())
        }

        fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), NameError>> {
            self.names.lock().unwrap().remove(key);
            Box::pin(self.answer())
        }
    }

    fn wished(names: &[&str]) -> (Plan, Targets) {
        let key = |name: &&str| ((*name).into(), NameKind::A);
        let plan = Plan {
            names: names.iter().map(|name| (key(name), BTreeSet::new())).collect(),
            ..Plan::default()
        };
        let place = Place { public_ipv4: Some([45, 83, 0, 1].into()), ..Place::default() };
        (plan, Targets { place, ..Targets::default() })
    }

    #[tokio::test]
    async fn a_name_that_was_not_answered_for_is_taken_back_all_the_same() {
        let mute = Arc::new(Mute::default());
        let mut names = Names::new(mute.clone(), None);
        let (plan, targets) = wished(&["a.example.org"]);
        assert_eq!(names.provide(&plan, &targets).await.len(), 1);
        assert!(names.held().values().all(BTreeSet::is_empty), "nobody knows whether it is shown");
        // Nor whether it is gone: asked for again, it is set again.
        mute.answers.store(true, Relaxed);
        assert!(names.provide(&plan, &targets).await.is_empty());
        mute.answers.store(false, Relaxed);
        assert_eq!(names.withdraw(&Plan::default()).await.len(), 1);
        mute.answers.store(true, Relaxed);
        assert!(names.provide(&plan, &targets).await.is_empty());
        assert_eq!(mute.names.lock().unwrap().len(), 1);
        mute.answers.store(false, Relaxed);
        assert_eq!(names.withdraw(&Plan::default()).await.len(), 1);
        mute.answers.store(true, Relaxed);
        assert!(names.withdraw(&Plan::default()).await.is_empty());
        assert!(names.held().is_empty() && mute.names.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_name_that_was_asked_for_and_given_up_is_taken_back() {
        let mute = Arc::new(Mute::default());
        let mut names = Names::new(mute.clone(), None);
        let (plan, targets) = wished(&["a.example.org"]);
        assert!(tokio::time::timeout(Duration::ZERO, names.provide(&plan, &targets)).await.is_err());
        assert_eq!(mute.names.lock().unwrap().len(), 1);
        mute.answers.store(true, Relaxed);
        assert!(names.withdraw(&Plan::default()).await.is_empty());
        assert!(mute.names.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_is_silent_is_asked_once_in_a_round_and_others_are_asked_still() {
        let (mute, other) = (Arc::new(Mute::default()), Arc::new(Mute::default()));
        other.answers.store(true, Relaxed);
        let several = Several::default()
            .with(&["example.org".into()], mute.clone())
            .with(&["example.net".into()], other.clone());
        let mut names = Names::new(Arc::new(several), None);
        let (plan, targets) = wished(&["a.example.org", "b.example.org", "c.example.org", "d.example.net"]);
        assert_eq!(names.provide(&plan, &targets).await.len(), 3);
        assert_eq!((mute.asked.load(Relaxed), other.asked.load(Relaxed)), (1, 1));
        assert_eq!(names.refused().len(), 3);
    }
}
