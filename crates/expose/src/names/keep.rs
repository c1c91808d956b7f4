//! Keeps public names as they are wished: shown when what they lead to holds, gone before it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use state::Failure;

use super::journal::Journal;
use super::{Key, NameError, Owner, Provider, Rdata};
use crate::plan::Plan;
use crate::wish::{NameKind, Place, Port, srv};

/// Longest that withdrawing waits for name servers, in all: the doors behind the names are closed right after.
const REMOVE: Duration = Duration::from_secs(4);

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
    /// The router's public address, if it is one.
    pub ipv4: Option<Ipv4Addr>,
    /// This host's own public address.
    pub ipv6: Option<Ipv6Addr>,
    /// Ports that the router maps.
    pub mapped: BTreeSet<Port>,
    /// Ports that it lets through.
    pub pinholed: BTreeSet<Port>,
    /// What of it the firewall keeps shut.
    pub shut: Shut,
    /// Ports at the router that somebody elsewhere could not reach, and what he said: no name is shown for them before
    /// somebody can.
    pub unreached: BTreeMap<Port, String>,
    /// Other owners of this home, whose names may be taken over.
    pub siblings: Vec<Owner>,
}

impl Targets {
    /// Why the ports of a name do not lead through this host's firewall.
    fn is_open(&self, plan: &Plan, kind: NameKind, ports: &BTreeSet<Port>) -> Result<(), String> {
        let inner = |port: &Port| Some(Port { number: *plan.mappings.get(port)?, ..*port });
        let (all, by) = match kind {
            NameKind::Aaaa => (&self.shut.v6, " by IPv6"),
            NameKind::A | NameKind::Cname | NameKind::Srv | NameKind::Txt => (&self.shut.v4, ""),
        };
        let shut = ports.iter().filter_map(inner).find(|port| all.contains(port));
        shut.map_or(Ok(()), |port| Err(format!("this host's firewall keeps {port} shut{by}")))
    }

    /// Why a name is not shown yet. One that is shown stays: it may be the other who has trouble.
    fn is_reached(&self, ports: &BTreeSet<Port>, is_new: bool) -> Result<(), String> {
        let missed = ports.iter().filter(|_| is_new).find_map(|port| Some((port, self.unreached.get(port)?)));
        missed.map_or(Ok(()), |(port, why)| Err(format!("{port} is not reached from outside: {why}")))
    }

    /// What a name leads to; why to nothing.
    fn of(&self, (name, kind): &Key, ports: &BTreeSet<Port>) -> Result<Rdata, String> {
        let missing = |held: &BTreeSet<Port>| ports.difference(held).next().copied();
        match kind {
            NameKind::A => match (self.place.public_ipv4, self.ipv4, missing(&self.mapped)) {
                (Some(said), ..) => Ok(Rdata::A(said)),
                (None, _, Some(port)) => Err(format!("{port} is not mapped")),
                (None, Some(found), None) => Ok(Rdata::A(found)),
                (None, None, None) => Err("no public IPv4 address is known".into()),
            },
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
}

impl Names {
    /// Nothing is asked of anybody yet. Names that an earlier run wrote down in the file count as held: what nobody wishes
    /// any more is removed, everything else is shown anew.
    pub fn new(provider: Arc<dyn Provider>, journal: Option<PathBuf>) -> Names {
        let journal = Journal::open(journal);
        let held = journal.names().map(|key| (key.clone(), BTreeSet::new())).collect();
        Names { provider, journal, held, refused: BTreeMap::new() }
    }

    /// What is shown.
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
        self.refused.clear();
        for (key, ports) in &plan.names {
            let is_new = !self.held.contains_key(key);
            let target = targets.is_open(plan, key.1, ports).and_then(|()| targets.is_reached(ports, is_new));
            let target = target.and_then(|()| targets.of(key, ports));
            let values: BTreeSet<Rdata> = match target {
                Ok(value) => [value].into(),
                Err(cause) => {
                    self.refused.insert(key.clone(), cause.clone());
                    if !plan.optional.contains(key) {
                        failures
                            .push(Failure { attempted: format!("show {} to the world", shown(key)), cause });
                    }
                    hidden.push(key.clone());
                    continue;
                }
            };
            if self.held.get(key) == Some(&values) {
                continue;
            }
            self.journal.add(key);
            match self.set(key, &values, &targets.siblings).await {
                Ok(()) => {
                    tracing::info!(name = %key.0, ?values, "a public name leads here");
                    self.held.insert(key.clone(), values);
                }
                Err(error) => {
                    if !matches!(error, NameError::Silent(_)) && !self.held.contains_key(key) {
                        // It was not taken, so it is none of ours.
                        self.journal.remove(key);
                    }
                    self.refused.insert(key.clone(), error.to_string());
                    failures.push(Failure {
                        attempted: format!("show {} to the world", shown(key)),
                        cause: error.to_string(),
                    });
                }
            }
        }
        failures.extend(self.remove(hidden).await);
        failures
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

    async fn remove(&mut self, keys: Vec<Key>) -> Vec<Failure> {
        let mut failures = Vec::new();
        let until = tokio::time::Instant::now() + REMOVE;
        for key in keys.into_iter().filter(|key| self.held.contains_key(key)).collect::<Vec<_>>() {
            let removal = tokio::time::timeout_at(until, self.provider.remove(&key)).await;
            match removal.unwrap_or_else(|_| Err(NameError::Silent("it takes too long".into()))) {
                Ok(()) => {
                    tracing::info!(name = %key.0, "a public name is gone");
                    self.held.remove(&key);
                    self.journal.remove(&key);
                }
                Err(error) => failures.push(Failure {
                    attempted: format!("remove {} from the world", shown(&key)),
                    cause: error.to_string(),
                }),
            }
        }
        failures
    }
}

fn shown((name, kind): &Key) -> String {
    format!("{name} ({})", kind.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wish::Protocol;

    #[test]
    fn a_name_waits_for_its_ports_unless_the_operator_said_where_it_leads() {
        let port = Port { protocol: Protocol::Tcp, number: 443 };
        let key = |kind| ("www.example.org".into(), kind);
        let mut targets = Targets { ipv4: Some([45, 83, 0, 1].into()), ..Targets::default() };
        assert_eq!(targets.of(&key(NameKind::A), &[port].into()), Err("443/tcp is not mapped".into()));
        targets.mapped.insert(port);
        assert_eq!(targets.of(&key(NameKind::A), &[port].into()), Ok(Rdata::A([45, 83, 0, 1].into())));
        targets.mapped.clear();
        targets.place.public_ipv4 = Some([45, 83, 0, 9].into());
        assert_eq!(targets.of(&key(NameKind::A), &[port].into()), Ok(Rdata::A([45, 83, 0, 9].into())));
        assert!(targets.of(&key(NameKind::Cname), &BTreeSet::new()).is_err());
        assert!(targets.of(&key(NameKind::Aaaa), &BTreeSet::new()).is_err());
    }

    #[test]
    fn the_name_of_a_service_says_its_port() {
        let port = |protocol, number| Port { protocol, number };
        let ports: BTreeSet<Port> = [port(Protocol::Tcp, 5060), port(Protocol::Udp, 5061)].into();
        let targets = Targets { mapped: ports.clone(), ..Targets::default() };
        let of = |name: &str, ports: &BTreeSet<Port>| targets.of(&(name.into(), NameKind::Srv), ports);
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
}
