//! The status as people and programs read it: a chain for every port, link by link from the inside out.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use consul::exposure::{Chain, Complaint, Exposures, Link, Problem};

use crate::acme::{self, Standing};
use crate::names::{Key, Rdata};
use crate::plan::Plan;
use crate::source::own::external;
use crate::status::{Grant, Grants, Status};
use crate::ways::no_router;
use crate::wish::{Missing, NameKind, Port, Protocol, Waiting, srv};

const HOLDS: &str = "holds";
const BROKEN: &str = "broken";
const WAITS: &str = "waiting";
const PLANNED: &str = "planned";
const NONE: &str = "none";

fn link(name: &str, state: &str, detail: impl AsRef<str>) -> Link {
    Link { link: name.into(), state: state.into(), detail: detail.as_ref().into() }
}

impl Status {
    /// For the API. A node that carries nothing out shows what it would.
    pub fn shown(&self, node: &str, enabled: bool) -> Exposures {
        let chain = |(service, port, internal): &(Arc<str>, Port, u16)| {
            self.chain(service, *port, *internal, enabled)
        };
        let waiting = self.waiting.iter().flat_map(|waiting| {
            external(waiting).map(move |(port, internal)| waits(waiting, port, internal))
        });
        let mut chains: Vec<Chain> = self.plan.chains.iter().map(chain).chain(waiting).collect();
        chains.sort_by(|a, b| a.service.cmp(&b.service));
        let all = self.mappings.iter().flatten().chain(&self.pinholes);
        let routers = all.flat_map(|grants| &grants.routers);
        let public: Vec<String> = self.public.iter().map(ToString::to_string).collect();
        Exposures {
            node: node.into(),
            enabled,
            public_address: public.join(", ").into(),
            verdict: self.verdict.as_ref().map(ToString::to_string).unwrap_or_default().into(),
            routers: routers.cloned().collect(),
            chains,
            problems: self.failures.iter().map(problem).collect(),
            complaints: self.complaints.iter().map(complaint).collect(),
            conflicts: self.plan.conflicts.iter().map(|text| text.as_str().into()).collect(),
            trouble: self.trouble.as_deref().unwrap_or_default().into(),
            names: self.names(),
            heard: self.is_heard,
        }
    }

    /// All that anybody wishes or that is shown still.
    fn names(&self) -> Vec<Arc<str>> {
        let kept = self.plan.names.keys().chain(self.shown.keys()).map(|(name, _)| name);
        let waiting = self.waiting.iter().flat_map(|waiting| &waiting.names);
        // The name of a service has one of its host below it.
        let hosts = waiting.clone().filter_map(|name| srv(name)).map(|(_, host)| Arc::from(host));
        let all: BTreeSet<Arc<str>> = kept.chain(waiting).cloned().chain(hosts).collect();
        all.into_iter().collect()
    }

    fn chain(&self, service: &Arc<str>, port: Port, internal: u16, enabled: bool) -> Chain {
        let inner = Port { number: internal, ..port };
        let mut links = vec![
            match (self.plan.doors.get(&inner), self.plan.barred.get(&inner)) {
                (_, Some(why)) => link("service", BROKEN, why),
                (Some(_), None) => link("service", HOLDS, "an instance is on another node, over the mesh"),
                (None, None) => link("service", HOLDS, "an instance is on this node"),
            },
            link("health", HOLDS, "no check fails"),
        ];
        links.extend(self.answer(port, internal));
        links.push(self.firewall_link(inner));
        match self.direct {
            Some(own) if port.number != internal => {
                links.push(link("mapping", BROKEN, no_router(own, internal)));
            }
            Some(own) => links.push(link("mapping", NONE, format!("{own} is this host's own and public"))),
            None => links.extend(self.mapping_links(port, internal)),
        }
        links.push(self.pinhole_link(inner));
        links.extend(self.sight_links(port));
        let names = names_of(&self.plan, service, port);
        links.extend(names.iter().map(|key| self.name_link(key)));
        links.extend(names.iter().filter_map(|key| self.inside_link(key)));
        links.extend(self.certificate_links(service, port));
        if !enabled {
            links.iter_mut().skip(2).for_each(|link| link.state = PLANNED.into());
        }
        let is_broken = links.iter().any(|link| &*link.state == BROKEN);
        let state = if !enabled {
            PLANNED
        } else if is_broken {
            BROKEN
        } else {
            "open"
        };
        let is_open = enabled && !is_broken;
        let url = if is_open { self.url(port, &names) } else { String::new() };
        Chain {
            service: service.clone(),
            port: port.to_string().into(),
            internal,
            state: state.into(),
            url: url.into(),
            links,
        }
    }

    /// On each way out. What is missing on one is no break while another one leads here.
    fn mapping_links(&self, port: Port, internal: u16) -> Vec<Link> {
        let Some(ways) = &self.mappings else { return vec![link("mapping", NONE, "none is asked for")] };
        let leads = |grants: &Grants| {
            let is_held = grants.held.contains_key(&port) && !grants.refused.contains_key(&port);
            is_held && grants.hidden.is_none()
        };
        let is_led = ways.iter().any(leads);
        let shown = ways.iter().map(|grants| {
            let mut shown = grant_link("mapping", Some(grants), port, internal);
            if let Some(why) = grants.hidden.as_ref().filter(|_| &*shown.state == HOLDS) {
                let detail = format!("{}; no name leads there: {why}", shown.detail);
                shown = link("mapping", BROKEN, detail);
            }
            if &*shown.state == BROKEN && is_led {
                shown.state = NONE.into();
            }
            shown
        });
        shown.collect()
    }

    /// What somebody elsewhere saw: at each address outside.
    fn sight_links(&self, port: Port) -> Vec<Link> {
        let here =
            self.sights.iter().filter(|(at, _)| at.port() == port.number && port.protocol == Protocol::Tcp);
        let several = |at: &SocketAddr| {
            if self.public.len() > 1 { format!(" at {}", at.ip()) } else { String::new() }
        };
        let shown = here.map(|(at, sight)| match &sight.outcome {
            Ok(()) => {
                link("outside", HOLDS, format!("node \"{}\" elsewhere gets in{}", sight.by, several(at)))
            }
            Err(why) => link(
                "outside",
                BROKEN,
                format!("node \"{}\" elsewhere does not get in{}: {why}", sight.by, several(at)),
            ),
        });
        shown.collect()
    }

    fn answer(&self, port: Port, internal: u16) -> Option<Link> {
        let answer = self.answers.get(&internal).filter(|_| port.protocol == Protocol::Tcp)?;
        Some(match answer {
            Ok(()) => link("answer", HOLDS, format!("port {internal} of this host answers")),
            Err(why) => link("answer", BROKEN, why),
        })
    }

    fn firewall_link(&self, port: Port) -> Link {
        let about = |one: &&state::Failure| one.attempted == port.let_in();
        let general = |one: &&state::Failure| !Port::is_about_one(&one.attempted);
        if self.plan.barred.contains_key(&port) {
            return link("firewall", WAITS, "closed");
        }
        let found = self.firewall.iter().find(about).or_else(|| self.firewall.iter().find(general));
        match found {
            None if self.unguarded.is_some() => {
                link("firewall", NONE, self.unguarded.as_deref().unwrap_or_default())
            }
            None => link("firewall", HOLDS, format!("lets {port} in")),
            Some(failure) => link("firewall", BROKEN, format!("{}: {}", failure.attempted, failure.cause)),
        }
    }

    /// One that leads to a shut door is no more than none, and no break either.
    fn pinhole_link(&self, inner: Port) -> Link {
        let shut = self.firewall.iter().find(|one| one.attempted == inner.let_in_by_ipv6());
        match grant_link("pinhole", self.pinholes.as_ref(), inner, inner.number) {
            Link { state, .. } if &*state == HOLDS && shut.is_some() => {
                let why = shut.map(|failure| format!("{}: {}", failure.attempted, failure.cause));
                link("pinhole", NONE, why.unwrap_or_default())
            }
            other => other,
        }
    }

    /// What a name leads to; nothing where that is not known.
    fn leads(&self, key: &Key) -> Option<&BTreeSet<Rdata>> {
        self.shown.get(key).filter(|values| !values.is_empty())
    }

    fn name_link(&self, key: &Key) -> Link {
        let (name, kind) = key;
        let kind = kind.word();
        let written = |values: &BTreeSet<Rdata>| values.iter().map(value).collect::<Vec<_>>().join(", ");
        match (self.leads(key), self.hidden.get(key)) {
            // What it leads to is not what it shall.
            (Some(values), Some(why)) => {
                link("dns", BROKEN, format!("{name} {kind} {}: {why}", written(values)))
            }
            (Some(values), None) => link("dns", HOLDS, format!("{name} {kind} {}", written(values))),
            (None, Some(why)) if self.plan.optional.contains(key) => {
                link("dns", NONE, format!("{name} {kind}: {why}"))
            }
            (None, Some(why)) => link("dns", BROKEN, format!("{name} {kind}: {why}")),
            (None, None) if self.plan.optional.contains(key) => link("dns", NONE, format!("{name} {kind}")),
            (None, None) => {
                link("dns", BROKEN, format!("{name} {kind}: nobody keeps public names ([[public_dns]])"))
            }
        }
    }

    /// For clients that the router does not lead round. One that is not answered is no break: many routers do.
    fn inside_link(&self, (name, kind): &Key) -> Option<Link> {
        let answer = self.inside.get(name).filter(|_| *kind == NameKind::A)?;
        Some(match answer {
            Ok(address) => link("inside", HOLDS, format!("{name} is {address} for clients in this home")),
            Err(why) => link("inside", NONE, format!("{name} is not answered in this home: {why}")),
        })
    }

    /// Of HTTPS: one for each name that is served.
    fn certificate_links(&self, service: &Arc<str>, port: Port) -> Vec<Link> {
        let is_https = (port.protocol, port.number) == (Protocol::Tcp, 443);
        let sites = self.plan.sites.iter().filter(|(_, behind)| is_https && *behind == service);
        let shown = sites.map(|(name, _)| {
            let (holds, detail) = certificate(name, self.certificates.get(name));
            link("certificate", if holds { HOLDS } else { BROKEN }, detail)
        });
        shown.collect()
    }

    fn url(&self, port: Port, names: &[&Key]) -> String {
        let named = names.iter().find(|key| self.leads(key).is_some()).map(|(name, _)| name.to_string());
        let Some(host) = named.or_else(|| self.public.first().map(ToString::to_string)) else {
            return String::new();
        };
        match (port.protocol, port.number) {
            (Protocol::Tcp, 443) => format!("https://{host}/"),
            (Protocol::Tcp, 80) => format!("http://{host}/"),
            (protocol, number) => format!("{protocol}://{host}:{number}"),
        }
    }
}

fn names_of<'a>(plan: &'a Plan, service: &str, port: Port) -> Vec<&'a Key> {
    let named = plan.named.get(service).into_iter().flatten();
    named.filter(|key| plan.names.get(*key).is_some_and(|ports| ports.contains(&port))).collect()
}

/// A certificate in words; false when there is none.
fn certificate(name: &str, standing: Option<&Standing>) -> (bool, String) {
    match standing {
        Some(Standing::Holds { by, until, trouble }) => {
            let left = until.map(|until| format!(", {} days left", (until - acme::now()).max(0) / 86_400));
            let trouble = trouble.as_ref().map(|why| format!("; it is not renewed: {why}"));
            (true, format!("{name}, by {by}{}{}", left.unwrap_or_default(), trouble.unwrap_or_default()))
        }
        Some(Standing::Missing(why)) => (false, format!("{name}: {why}")),
        None => (false, format!("{name}: not asked for before its name is shown")),
    }
}

fn value(value: &Rdata) -> String {
    match value {
        Rdata::A(v4) => v4.to_string(),
        Rdata::Aaaa(v6) => v6.to_string(),
        Rdata::Cname(name) => name.to_string(),
        Rdata::Srv { port, target, .. } => format!("{target}:{port}"),
        Rdata::Txt(text) => format!("\"{text}\""),
    }
}

/// A pinhole that is missing is no break: most homes have no router that gives any.
fn grant_link(name: &str, grants: Option<&Grants>, port: Port, internal: u16) -> Link {
    let Some(grants) = grants else { return link(name, NONE, "none is asked for") };
    let is_v4 = name == "mapping";
    match (grants.held.get(&port), grants.refused.get(&port)) {
        (Some(grant), Some(why)) if is_v4 => {
            link(name, BROKEN, format!("{why}; what was granted has {}", lease(grant)))
        }
        (Some(grant), _) => link(name, HOLDS, format!("{port} to {}, {}", target(grant), lease(grant))),
        (None, Some(why)) => link(name, if is_v4 { BROKEN } else { NONE }, why),
        (None, None) if is_v4 => link(name, PLANNED, format!("{port} to port {internal} of this host")),
        (None, None) => link(name, NONE, "no router gives any"),
    }
}

fn target(grant: &Grant) -> SocketAddr {
    (grant.client, grant.internal).into()
}

fn lease(grant: &Grant) -> String {
    match grant.left() {
        Some(left) => format!("{} s left, by {}", left.as_secs(), grant.router),
        None => format!("without an end, by {}", grant.router),
    }
}

fn waits(waiting: &Waiting, port: Port, internal: u16) -> Chain {
    let (service, health) = match waiting.on {
        Missing::Service => (link("service", BROKEN, &waiting.why), link("health", WAITS, "")),
        Missing::Turn => (link("service", NONE, &waiting.why), link("health", NONE, "")),
        Missing::Front => {
            (link("service", HOLDS, "an instance is there"), link("health", BROKEN, &waiting.why))
        }
        Missing::Health => {
            (link("service", HOLDS, "an instance is on this node"), link("health", BROKEN, &waiting.why))
        }
    };
    let mut links = vec![service, health];
    links.extend(["firewall", "mapping"].map(|name| link(name, WAITS, "closed")));
    links.extend(waiting.names.iter().map(|name| link("dns", WAITS, format!("{name} is not shown"))));
    Chain {
        service: waiting.service.clone(),
        port: port.to_string().into(),
        internal,
        state: WAITS.into(),
        url: "".into(),
        links,
    }
}

fn problem(failure: &state::Failure) -> Problem {
    Problem { attempted: failure.attempted.as_str().into(), cause: failure.cause.as_str().into() }
}

fn complaint(complaint: &crate::wish::Complaint) -> Complaint {
    Complaint {
        service: complaint.service.clone(),
        tag: complaint.tag.as_str().into(),
        column: complaint.column,
        why: complaint.why.as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wish::NameKind;

    #[test]
    fn every_name_is_told_that_somebody_wishes_also_without_a_port() {
        let key = |name: &str| (name.into(), NameKind::A);
        let mut status = Status::default();
        // As D53's tags alone wish it.
        status.plan.names.insert(key("tagged.example.org"), BTreeSet::new());
        status.shown.insert(key("late.example.org"), BTreeSet::new());
        status.waiting.push(Waiting {
            service: "mc".into(),
            ports: Vec::new(),
            names: vec!["_mc._tcp.game.example.org".into()],
            on: Missing::Service,
            why: String::new(),
        });
        let shown = status.shown("house", true);
        assert!(shown.chains.iter().all(|chain| &*chain.service == "mc") && !shown.heard);
        let names: Vec<&str> = shown.names.iter().map(|name| &**name).collect();
        assert_eq!(
            names,
            ["_mc._tcp.game.example.org", "game.example.org", "late.example.org", "tagged.example.org"]
        );
    }

    #[test]
    fn a_name_that_cannot_be_changed_does_not_hold() {
        let key: Key = ("www.example.org".into(), NameKind::A);
        let mut status = Status::default();
        status.shown.insert(key.clone(), [Rdata::A([45, 83, 0, 1].into())].into());
        assert_eq!(&*status.name_link(&key).state, HOLDS);
        status.hidden.insert(key.clone(), "the server answered REFUSED".into());
        let link = status.name_link(&key);
        assert_eq!(&*link.state, BROKEN);
        assert_eq!(&*link.detail, "www.example.org A 45.83.0.1: the server answered REFUSED");
        // Asked for, and not answered: nobody knows.
        status.shown.insert(key.clone(), BTreeSet::new());
        assert_eq!(&*status.name_link(&key).detail, "www.example.org A: the server answered REFUSED");
    }
}
