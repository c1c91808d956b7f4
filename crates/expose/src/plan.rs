//! From wishes to what is to be brought about, purely.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::wish::{DoorWish, NameKind, NameWish, Port, Protocol, SiteWish, Wishes};

/// Everything that shall hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Ports to open in this host's firewall, with who asked first.
    pub openings: BTreeMap<Port, Arc<str>>,
    /// Ports at the router with ours behind them.
    pub mappings: BTreeMap<Port, u16>,
    /// Port at the router to the service that asked for it first.
    pub wishers: BTreeMap<Port, Arc<str>>,
    /// What each service has of it: a port at the router, and ours behind it.
    pub chains: BTreeSet<(Arc<str>, Port, u16)>,
    /// Names by the service that they lead to.
    pub named: BTreeMap<Arc<str>, BTreeSet<(Arc<str>, NameKind)>>,
    /// Names that are served by HTTPS, with the service behind each.
    pub sites: BTreeMap<Arc<str>, Arc<str>>,
    /// Public names, with what has to hold before one is shown.
    pub names: BTreeMap<(Arc<str>, NameKind), BTreeSet<Port>>,
    /// Names of which nothing is said when this host has no such address.
    pub optional: BTreeSet<(Arc<str>, NameKind)>,
    /// Ports of this host that its proxy leads to a service elsewhere.
    pub doors: BTreeMap<Port, Arc<str>>,
    /// Of those, the ports that could not be opened, and why: whoever has one is not what was wished, and nothing else here
    /// leads the world to him.
    pub barred: BTreeMap<Port, String>,
    /// Wishes that cannot be met together with others.
    pub conflicts: Vec<String>,
}

/// Plans. Of two wishes for one port of the router the service that comes first by name has it.
pub fn plan(wishes: &Wishes) -> Plan {
    let mut plan = Plan::default();
    let mut wished: Vec<_> = wishes.ports.iter().collect();
    wished.sort_by(|a, b| (&a.service, a.external).cmp(&(&b.service, b.external)));
    for wish in wished {
        let (external, inner) = (wish.external, Port { number: wish.internal, ..wish.external });
        match plan.mappings.get(&external) {
            Some(other) if *other != wish.internal => {
                let holder = plan.wishers.get(&external).cloned().unwrap_or_default();
                plan.conflicts.push(format!(
                    "\"{}\" and \"{holder}\" both wish {external} of the router, for different ports; \"{holder}\" has it",
                    wish.service
                ));
                continue;
            }
            _ => {}
        }
        plan.mappings.insert(external, wish.internal);
        plan.chains.insert((wish.service.clone(), external, wish.internal));
        plan.wishers.entry(external).or_insert_with(|| wish.service.clone());
        plan.openings.entry(inner).or_insert_with(|| wish.service.clone());
    }
    for NameWish { name, kind, service, is_optional } in &wishes.names {
        if *is_optional {
            plan.optional.insert((name.clone(), *kind));
        }
        let ports = wishes.ports.iter().filter(|wish| wish.service == *service).map(|wish| wish.external);
        plan.names.entry((name.clone(), *kind)).or_default().extend(ports);
        plan.named.entry(service.clone()).or_default().insert((name.clone(), *kind));
    }
    for SiteWish { name, service } in &wishes.sites {
        match plan.sites.get(name) {
            Some(other) if other != service => plan.conflicts.push(format!(
                "\"{service}\" and \"{other}\" both wish to be {name} by HTTPS; \"{other}\" has it"
            )),
            _ => drop(plan.sites.insert(name.clone(), service.clone())),
        }
    }
    for DoorWish { port, service } in &wishes.doors {
        // Whose port it is was settled above.
        if plan.openings.get(port) == Some(service) {
            plan.doors.insert(*port, service.clone());
        }
    }
    contradictions(&mut plan);
    plan
}

/// RFC 1034 section 3.6.2: beside a CNAME there is nothing.
fn contradictions(plan: &mut Plan) {
    let aliases: Vec<Arc<str>> = plan
        .names
        .keys()
        .filter(|(_, kind)| *kind == NameKind::Cname)
        .map(|(name, _)| name.clone())
        .collect();
    for name in aliases {
        let addresses = [NameKind::A, NameKind::Aaaa];
        if addresses.iter().any(|kind| plan.names.contains_key(&(name.clone(), *kind))) {
            plan.names.remove(&(name.clone(), NameKind::Cname));
            plan.conflicts
                .push(format!("{name} is wished as an alias and as an address; it gets the address"));
        }
    }
}

impl Plan {
    /// The same without what leads to ports that cannot be opened.
    pub(crate) fn without(mut self, barred: BTreeMap<Port, String>) -> Plan {
        self.openings.retain(|port, _| !barred.contains_key(port));
        let inner = |port: &Port, internal: u16| Port { number: internal, ..*port };
        self.mappings.retain(|port, internal| !barred.contains_key(&inner(port, *internal)));
        self.barred = barred;
        self
    }

    /// Why nothing leads to one of these ports at the router.
    pub(crate) fn bar(&self, ports: &BTreeSet<Port>) -> Option<(Port, &String)> {
        let inner = self.chains.iter().filter(|(_, external, _)| ports.contains(external));
        let mut inner = inner.map(|(_, external, internal)| Port { number: *internal, ..*external });
        inner.find_map(|port| Some((port, self.barred.get(&port)?)))
    }

    /// True when something of it is to go.
    pub(crate) fn loses(&self, next: &Plan) -> bool {
        let leads = |(port, internal): (&Port, &u16)| next.mappings.get(port) == Some(internal);
        let keeps = self.openings.keys().all(|port| next.openings.contains_key(port))
            && self.mappings.iter().all(leads)
            && self.names.keys().all(|name| next.names.contains_key(name))
            && self.doors.iter().all(|(port, service)| next.doors.get(port) == Some(service));
        !keeps
    }

    /// Pinholes of IPv6: there is one address for each host, so ports are the same on both sides.
    pub fn pinholes(&self) -> BTreeMap<Port, u16> {
        self.openings.keys().map(|port| (*port, port.number)).collect()
    }

    /// `53/tcp, 53/udp, …` for people.
    pub fn ports(&self, protocol: Protocol) -> Vec<u16> {
        self.mappings.keys().filter(|port| port.protocol == protocol).map(|port| port.number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wish::PortWish;

    fn port(number: u16) -> Port {
        Port { protocol: Protocol::Tcp, number }
    }

    fn wish(external: u16, internal: u16, service: &str) -> PortWish {
        PortWish { external: port(external), internal, service: service.into() }
    }

    #[test]
    fn the_first_service_by_name_has_a_disputed_port_and_the_other_is_told() {
        let ports = [wish(443, 8443, "b"), wish(443, 9443, "a"), wish(80, 80, "b"), wish(80, 80, "a")].into();
        let plan = plan(&Wishes { ports, ..Wishes::default() });
        assert_eq!(plan.mappings, [(port(80), 80), (port(443), 9443)].into());
        assert_eq!(plan.openings, [(port(80), "a".into()), (port(9443), "a".into())].into());
        assert_eq!(
            plan.conflicts,
            ["\"b\" and \"a\" both wish 443/tcp of the router, for different ports; \"a\" has it"]
        );
    }

    #[test]
    fn a_name_waits_for_the_ports_of_its_service() {
        let name = |name: &str, kind| NameWish {
            name: name.into(),
            kind,
            service: "web".into(),
            is_optional: false,
        };
        let names = [name("w.example.org", NameKind::A), name("w.example.org", NameKind::Cname)].into();
        let ports = [wish(443, 443, "web"), wish(25, 25, "mail")].into();
        let plan = plan(&Wishes { ports, names, ..Wishes::default() });
        assert_eq!(plan.names, [(("w.example.org".into(), NameKind::A), [port(443)].into())].into());
        assert_eq!(plan.conflicts.len(), 1);
    }

    #[test]
    fn a_plan_loses_what_the_next_one_has_not() {
        let of = |ports: &[u16]| {
            let ports = ports.iter().map(|number| wish(*number, *number, "a")).collect();
            plan(&Wishes { ports, ..Wishes::default() })
        };
        assert!(!of(&[80]).loses(&of(&[80, 443])) && of(&[80, 443]).loses(&of(&[443])));
        assert!(of(&[80]).loses(&of(&[])) && !of(&[]).loses(&of(&[80])));
    }

    #[test]
    fn nothing_wished_is_nothing_planned() {
        assert_eq!(plan(&Wishes::default()), Plan::default());
    }
}
