//! Keeps public names as they are wished: shown when what they lead to holds, gone before it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use state::Failure;

use super::journal::Journal;
use super::{Key, NameError, Provider, Rdata};
use crate::plan::Plan;
use crate::wish::{NameKind, Place, Port};

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
}

impl Targets {
    /// What a name leads to; why to nothing.
    fn of(&self, kind: NameKind, ports: &BTreeSet<Port>) -> Result<Rdata, String> {
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
            NameKind::Srv | NameKind::Txt => Err("no wish says what shall stand there".into()),
        }
    }
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
            let values: BTreeSet<Rdata> = match targets.of(key.1, ports) {
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
            match self.provider.set(key, &values).await {
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

    async fn remove(&mut self, keys: Vec<Key>) -> Vec<Failure> {
        let mut failures = Vec::new();
        for key in keys.into_iter().filter(|key| self.held.contains_key(key)).collect::<Vec<_>>() {
            match self.provider.remove(&key).await {
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
        let mut targets = Targets { ipv4: Some([45, 83, 0, 1].into()), ..Targets::default() };
        assert_eq!(targets.of(NameKind::A, &[port].into()), Err("443/tcp is not mapped".into()));
        targets.mapped.insert(port);
        assert_eq!(targets.of(NameKind::A, &[port].into()), Ok(Rdata::A([45, 83, 0, 1].into())));
        targets.mapped.clear();
        targets.place.public_ipv4 = Some([45, 83, 0, 9].into());
        assert_eq!(targets.of(NameKind::A, &[port].into()), Ok(Rdata::A([45, 83, 0, 9].into())));
        assert!(targets.of(NameKind::Cname, &BTreeSet::new()).is_err());
        assert!(targets.of(NameKind::Aaaa, &BTreeSet::new()).is_err());
    }
}
