//! What clients inside this home are answered for its public names, purely.
//!
//! Many routers lead nobody back in who dials their own address outside. So clients inside are told the host's address
//! there, where it has the same ports as the router has: a name says nothing of ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use catalog::exposure::Indoors;
use state::Publisher;
use sys::host::Network;

use crate::config::Config;
use crate::plan::Plan;
use crate::wish::{NameKind, Port, Protocol, Wishes};

/// What becomes of each name of this host: its address inside, or why there is none.
pub(crate) type Answers = BTreeMap<Arc<str>, Result<IpAddr, String>>;

/// Redirects, and nothing else.
const HTTP: Port = Port { protocol: Protocol::Tcp, number: 80 };

/// True when clients inside find at a port of the host what the world finds at the same port of the router.
pub(crate) fn is_same(port: Port, internal: u16, said: &BTreeSet<Port>) -> bool {
    port.number == internal || said.contains(&port)
}

/// The names of this host. `said` are ports of it that lead on as the router's do, by something that we do not know.
pub(crate) fn answers(plan: &Plan, own: Option<Ipv4Addr>, said: &BTreeSet<Port>) -> Answers {
    let Some(own) = own else { return Answers::new() };
    let named = plan.names.iter().filter(|((_, kind), ports)| *kind == NameKind::A && !ports.is_empty());
    let answer = |((name, _), ports): (&(Arc<str>, NameKind), &BTreeSet<Port>)| {
        let is_met = |port: &Port| *port != HTTP || !plan.sites.contains_key(name);
        let other = ports.iter().filter(|port| is_met(port)).find_map(|port| {
            let internal = *plan.mappings.get(port)?;
            (!is_same(*port, internal, said)).then_some((port, internal))
        });
        let answer = other.map_or(Ok(own.into()), |(port, internal)| {
            Err(format!(
                "{port} is port {internal} of this host; wish {internal}:{internal}/{}, or say exposure.inside where {port} answers here too",
                port.protocol
            ))
        });
        (name.clone(), answer)
    };
    named.map(answer).collect()
}

/// Tells those who answer.
pub(crate) struct Inside {
    told: Arc<Publisher<Indoors>>,
    /// This host's address, where the operator said it.
    private: Option<Ipv4Addr>,
    said: BTreeSet<Port>,
    answers: Answers,
}

impl Inside {
    pub(crate) fn new(told: Arc<Publisher<Indoors>>, config: &Config) -> Inside {
        Inside { told, private: config.private_ip, said: config.inside.clone(), answers: Answers::new() }
    }

    pub(crate) fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Whoever is inside needs no router: a name leads to this host as soon as its firewall lets in. Names that other nodes
    /// of the home have are told too. `outward` is the address that this host sends from.
    pub(crate) fn tell(&mut self, plan: &Plan, wishes: &Wishes, outward: Option<Ipv4Addr>) {
        let own = self.private.or(outward).filter(Ipv4Addr::is_private);
        self.answers = answers(plan, own, &self.said);
        let mut names = wishes.neighbours.clone();
        for (name, answer) in &self.answers {
            if let Ok(address) = answer {
                names.entry(name.clone()).or_default().insert(*address);
            }
        }
        let networks = homes(&sys::host::networks().unwrap_or_default());
        self.told.publish_if_changed(Indoors { networks, names });
    }

    /// Before a door closes its name leads there no longer.
    pub(crate) fn forget(&mut self, plan: &Plan) {
        let mut indoors = Indoors::clone(&self.told.now());
        self.answers.retain(|name, _| {
            let stays = plan.names.contains_key(&(name.clone(), NameKind::A));
            if !stays {
                indoors.names.remove(name);
            }
            stays
        });
        self.told.publish_if_changed(indoors);
    }
}

/// Networks of a home: those of interfaces that have a private address.
pub(crate) fn homes(networks: &[Network]) -> Vec<(IpAddr, u8)> {
    let is_private = |network: &&Network| matches!(network.address, IpAddr::V4(v4) if v4.is_private());
    let private: BTreeSet<&str> = networks.iter().filter(is_private).map(|one| &*one.interface).collect();
    let is_inside = |one: &&Network| match one.address {
        IpAddr::V4(v4) => v4.is_private(),
        // Everybody has these, also on other interfaces.
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    let homes = networks.iter().filter(|one| private.contains(&*one.interface)).filter(is_inside);
    homes.map(|one| (one.address, one.prefix)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;
    use crate::wish::{NameWish, PortWish, SiteWish};

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

    fn port(number: u16) -> Port {
        Port { protocol: Protocol::Tcp, number }
    }

    fn wishes(ports: &[(u16, u16)], name: &str) -> Wishes {
        let wish = |(external, internal): &(u16, u16)| PortWish {
            external: port(*external),
            internal: *internal,
            service: "web".into(),
        };
        let (name, service) = (name.into(), "web".into());
        let names = [NameWish { name, kind: NameKind::A, service, is_optional: false }].into();
        Wishes { ports: ports.iter().map(wish).collect(), names, ..Wishes::default() }
    }

    #[test]
    fn a_name_is_answered_where_all_its_ports_are_the_same_inside() {
        let asked = |ports: &[(u16, u16)], said: &[u16]| {
            let said = said.iter().map(|number| port(*number)).collect();
            let all = answers(&plan(&wishes(ports, "www.example.org")), Some(OWN), &said);
            all.get("www.example.org").cloned().unwrap()
        };
        assert_eq!(asked(&[(443, 443), (25, 25)], &[]), Ok(OWN.into()));
        assert_eq!(asked(&[(443, 8443)], &[443]), Ok(OWN.into()));
        let why = asked(&[(443, 8443), (25, 25)], &[25]).unwrap_err();
        assert!(why.starts_with("443/tcp is port 8443 of this host"), "{why}");
        assert!(answers(&plan(&wishes(&[(1, 1)], "a.example.org")), None, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn plain_http_of_a_site_is_not_missed() {
        let mut wishes = wishes(&[(443, 443), (80, 8880)], "www.example.org");
        let of = |wishes: &Wishes| answers(&plan(wishes), Some(OWN), &BTreeSet::new());
        assert!(of(&wishes)["www.example.org"].is_err());
        wishes.sites.insert(SiteWish { name: "www.example.org".into(), service: "web".into() });
        assert_eq!(of(&wishes)["www.example.org"], Ok(OWN.into()));
    }

    #[test]
    fn only_networks_beside_a_private_address_are_a_home() {
        let network = |interface: &str, address: &str, prefix| Network {
            interface: interface.into(),
            address: address.parse().unwrap(),
            prefix,
        };
        let networks = [
            network("eth0", "192.168.77.2", 24),
            network("eth0", "2a0d:db8:77::2", 64),
            network("eth0", "fe80::1", 64),
            network("wan0", "45.83.0.1", 24),
            network("wan0", "2a0d:db8:99::1", 64),
            network("ppp0", "100.64.0.2", 10),
        ];
        let inside = |text: &str| (text.parse().unwrap(), if text.contains(':') { 64 } else { 24 });
        assert_eq!(homes(&networks), [inside("192.168.77.2"), inside("2a0d:db8:77::2")]);
    }
}
