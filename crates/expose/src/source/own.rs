//! Wishes of our own catalog and of the configuration, for the services of one node.
//!
//! Here health counts: an instance that fails its checks wishes nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use catalog::exposure::ExposureDef;
use catalog::{Index, Instance, Snapshot, Status};
use state::{Drain, Publisher, Reader};
use store::View;

use super::Said;
use super::household::{self, Household};
use crate::tags;
use crate::wish::{
    Complaint, DoorWish, Missing, NameKind, NameWish, Port, PortPair, PortWish, Protocol, SiteWish, Waiting,
    Wishes, srv,
};

/// Label of a registration with the ports that it wishes, with commas between: `443:8443/tcp, 80`.
pub const PORTS: &str = "expose";
/// Label of a registration with the public names that it wishes, with commas between.
pub const NAMES: &str = "expose-name";

/// What is read of the catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The node whose instances count.
    pub node: Arc<str>,
    /// Wishes beside the catalog's.
    pub fixed: Vec<ExposureDef>,
    /// What registrations say in labels and tags counts too.
    pub registrations: bool,
    /// Where this node's proxy serves the world; nowhere when absent.
    pub front: Option<FrontPorts>,
    /// The home that this node is in, where others are behind the same router.
    pub site: Option<Arc<str>>,
}

/// Ports of this node's public listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontPorts {
    /// HTTPS.
    pub https: u16,
    /// HTTP, which answers whoever verifies a name and sends others on to HTTPS.
    pub http: Option<u16>,
}

/// Where the world looks for HTTPS and HTTP.
const HTTPS: Port = Port { protocol: Protocol::Tcp, number: 443 };
const HTTP: Port = Port { protocol: Protocol::Tcp, number: 80 };

/// Follows the catalog until the drain starts.
pub async fn run(config: Config, mut views: Reader<View>, said: Publisher<Said>, drain: Drain) {
    let mut seen = None;
    loop {
        let view = views.now();
        let mark = mark(&config, &view);
        if seen.as_ref() != Some(&mark) {
            let own = sys::host::addresses().unwrap_or_default();
            let wishes = wishes(&config, &view, &own);
            said.publish_if_changed(Said { wishes: Some(Arc::new(wishes)), ..Said::default() });
            seen = Some(mark);
        }
        tokio::select! {
            () = drain.started() => return,
            view = views.next() => if view.is_none() { return },
        }
    }
}

/// Moves whenever the wishes may have changed: most commands do not concern them.
fn mark(config: &Config, snapshot: &Snapshot) -> Vec<Index> {
    let here = snapshot.node(&config.node).map_or(0, |node| node.touched_index);
    let services = all(config, snapshot).map(|def| snapshot.service_index(&def.service));
    let household = Household::of(config.site.as_ref(), snapshot);
    let others = household.nodes().map(|node| node.touched_index);
    [snapshot.tables().exposures, here].into_iter().chain(services).chain(others).collect()
}

fn all<'a>(config: &'a Config, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a ExposureDef> {
    config.fixed.iter().chain(snapshot.exposures().map(|exposure| &exposure.def))
}

/// What is wished of a node whose own addresses are these.
pub fn wishes(config: &Config, snapshot: &Snapshot, own: &[IpAddr]) -> Wishes {
    let site = config.site.as_ref();
    let siblings = household::siblings(site, &config.node, snapshot).collect();
    let neighbours = household::neighbours(site, &config.node, snapshot);
    let mut wishes = Wishes { siblings, neighbours, ..Wishes::default() };
    for def in all(config, snapshot) {
        add(config, snapshot, own, def, &mut wishes);
    }
    if config.registrations {
        registered(config, snapshot, own, &mut wishes);
    }
    wishes
}

fn add(config: &Config, snapshot: &Snapshot, own: &[IpAddr], def: &ExposureDef, wishes: &mut Wishes) {
    let wait = |on: Missing, why: String| Waiting {
        service: def.service.clone(),
        ports: def.ports.clone(),
        names: def.names.clone(),
        on,
        why,
    };
    match choose(config, snapshot, own, def) {
        Ok(Chosen::Elsewhere) => {
            if def.https
                && let Err(why) = serve(config, def, wishes)
            {
                return wishes.waiting.push(wait(Missing::Front, why));
            }
            for pair in &def.ports {
                // The port is this node's own, since the service is somewhere else.
                let internal = pair.internal.unwrap_or(pair.external.number);
                let (external, service) = (pair.external, def.service.clone());
                let port = Port { number: internal, ..external };
                wishes.doors.insert(DoorWish { port, service: service.clone() });
                wishes.ports.insert(PortWish { external, internal, service });
            }
            name(&def.names, &def.service, wishes);
        }
        Ok(Chosen::Here(instance)) => {
            if def.https
                && let Err(why) = serve(config, def, wishes)
            {
                return wishes.waiting.push(wait(Missing::Front, why));
            }
            for pair in &def.ports {
                match pair.internal.unwrap_or(instance.def.port) {
                    0 => wishes.waiting.push(wait(
                        Missing::Service,
                        format!("it is registered without a port: wish {}:PORT", pair.external.number),
                    )),
                    internal => drop(wishes.ports.insert(PortWish {
                        external: pair.external,
                        internal,
                        service: def.service.clone(),
                    })),
                }
            }
            name(&def.names, &def.service, wishes);
        }
        Err((on, why)) => wishes.waiting.push(wait(on, why)),
    }
}

/// By HTTPS under its names.
fn serve(config: &Config, def: &ExposureDef, wishes: &mut Wishes) -> Result<(), String> {
    let Some(front) = config.front else {
        return Err(
            "this node serves nothing to the world: set proxy.public.tls, and proxy.public.http".into()
        );
    };
    let ports = [(HTTPS, Some(front.https)), (HTTP, front.http)];
    for (external, internal) in ports.into_iter().filter_map(|(port, internal)| Some((port, internal?))) {
        wishes.ports.insert(PortWish { external, internal, service: def.service.clone() });
    }
    let site = |name: &Arc<str>| SiteWish { name: name.clone(), service: def.service.clone() };
    wishes.sites.extend(def.names.iter().map(site));
    Ok(())
}

/// Both kinds of address; the second where there is one. The name of a service says port and host, and its host gets the
/// addresses.
fn name(names: &[Arc<str>], service: &Arc<str>, wishes: &mut Wishes) {
    for name in names {
        let host = srv(name).map(|(_, host)| Arc::from(host));
        if host.is_some() {
            let (name, service) = (name.clone(), service.clone());
            wishes.names.insert(NameWish { name, kind: NameKind::Srv, service, is_optional: false });
        }
        let name = host.as_ref().unwrap_or(name);
        for (kind, is_optional) in [(NameKind::A, false), (NameKind::Aaaa, true)] {
            let (name, service) = (name.clone(), service.clone());
            wishes.names.insert(NameWish { name, kind, service, is_optional });
        }
    }
}

/// What stands behind a wish.
enum Chosen<'a> {
    /// An instance on this node.
    Here(&'a Arc<Instance>),
    /// Instances on other nodes, reached over the mesh.
    Elsewhere,
}

/// The instance that is exposed: the first on this node that does not fail; where this node was named, one anywhere.
fn choose<'a>(
    config: &Config,
    snapshot: &'a Snapshot,
    own: &[IpAddr],
    def: &ExposureDef,
) -> Result<Chosen<'a>, (Missing, String)> {
    if !def.via.is_empty() && def.via != config.node {
        return Err((Missing::Service, format!("node \"{}\" exposes it", def.via)));
    }
    let missing = |why: String| (Missing::Service, why);
    let service = snapshot
        .service(&def.service)
        .ok_or_else(|| missing(format!("no service \"{}\" is registered", def.service)))?;
    let healthy = |instance: &&Arc<Instance>| snapshot.health(instance) != Status::Critical;
    let household = Household::of(config.site.as_ref(), snapshot);
    if def.via.is_empty()
        && let Some(why) = household.other(&config.node, snapshot, def)
    {
        return Err((Missing::Turn, why));
    }
    // Who has a home's HTTPS has it for the services of all its nodes.
    let is_named = !def.via.is_empty() || (def.https && household.has(&config.node));
    let is_meant = |node: &str| node != &*config.node && (!def.via.is_empty() || household.has(node));
    let is_elsewhere =
        is_named && service.iter().any(|instance| is_meant(&instance.node) && healthy(&instance));
    let mut here: Vec<_> = service.iter().filter(|instance| instance.node == config.node).collect();
    if here.is_empty() && is_elsewhere {
        return Ok(Chosen::Elsewhere);
    }
    if here.is_empty() && is_named {
        let why = service.iter().next().map_or_else(String::new, |instance| failing(snapshot, instance));
        return Err((Missing::Health, why));
    }
    if here.is_empty() {
        let elsewhere: BTreeSet<&str> = service.iter().map(|instance| &*instance.node).collect();
        let nodes = elsewhere.into_iter().collect::<Vec<_>>().join(", ");
        return Err(missing(format!("its instances are on {nodes}, and each node exposes its own")));
    }
    here.retain(|instance| lives_here(&instance.def.address, own));
    if here.is_empty() {
        return Err(missing("its address is none of this host's".into()));
    }
    match here.iter().find(|instance| healthy(instance)) {
        Some(instance) => Ok(Chosen::Here(instance)),
        None if is_elsewhere => Ok(Chosen::Elsewhere),
        None => Err((Missing::Health, failing(snapshot, here[0]))),
    }
}

/// No address means the node's own; a name may lead here as well as elsewhere.
fn lives_here(address: &str, own: &[IpAddr]) -> bool {
    address.parse().map_or(true, |address: IpAddr| {
        own.contains(&address) || address.is_loopback() || address.is_unspecified()
    })
}

fn failing(snapshot: &Snapshot, instance: &Instance) -> String {
    let nodes = snapshot.node(&instance.node).map_or(&[][..], |node| &node.checks);
    let mut checks = instance.checks.iter().chain(nodes);
    let bad = checks.find(|check| check.status == Status::Critical);
    let said = bad.map_or_else(String::new, |check| {
        let output: String = check.output.chars().take(120).collect();
        format!(": check \"{}\" is critical: {output}", check.def.id)
    });
    format!("no instance passes{said}")
}

/// What registrations on this node say of themselves.
fn registered(config: &Config, snapshot: &Snapshot, own: &[IpAddr], wishes: &mut Wishes) {
    let Some(node) = snapshot.node(&config.node) else { return };
    for instance in node.instances.values() {
        let label = |wanted: &str| instance.def.meta.iter().find(|(key, _)| &***key == wanted);
        let read = label(PORTS).map(|(_, text)| read_ports(text));
        let names = label(NAMES).map_or_else(Vec::new, |(_, text)| {
            words(text).filter_map(|word| catalog::exposure::public_name(word).ok()).collect()
        });
        match read {
            Some(Ok((ports, https))) => {
                let service = instance.def.service.clone();
                let def = ExposureDef { service, ports, names, via: "".into(), https };
                match def.validate() {
                    Ok(()) => add(config, snapshot, own, &def, wishes),
                    Err(error) => wishes.complaints.push(Complaint {
                        service: instance.def.id.clone(),
                        tag: format!("{PORTS}={}", label(PORTS).map_or("", |(_, text)| text)),
                        column: 1,
                        why: error.to_string(),
                    }),
                }
            }
            Some(Err((column, why))) => wishes.complaints.push(Complaint {
                service: instance.def.id.clone(),
                tag: format!("{PORTS}={}", label(PORTS).map_or("", |(_, text)| text)),
                column,
                why,
            }),
            None => {}
        }
        if snapshot.health(instance) != Status::Critical {
            instance.def.tags.iter().for_each(|tag| tags::take(&instance.def.id, tag, wishes));
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// Ports with commas between, and whether `https` is among them; what is wrong, with its column.
fn read_ports(text: &str) -> Result<(Vec<PortPair>, bool), (usize, String)> {
    let parse = |word: &str| {
        let at = word.as_ptr() as usize - text.as_ptr() as usize;
        let column = PORTS.len() + 2 + text[..at].chars().count();
        word.parse().map_err(|error: catalog::validate::Invalid| (column, error.rule))
    };
    let https = words(text).any(|word| word == "https");
    let ports = words(text).filter(|word| *word != "https").map(parse).collect::<Result<_, _>>()?;
    Ok((ports, https))
}

/// The ports of a wish as the plan names them, for showing what waits.
pub fn external(waiting: &Waiting) -> impl Iterator<Item = (Port, u16)> {
    // HTTPS names no port of its own.
    let https = waiting.ports.is_empty().then_some((HTTPS, 0));
    waiting.ports.iter().map(|pair| (pair.external, pair.internal.unwrap_or(0))).chain(https)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_ports_and_what_is_wrong_with_its_column() {
        let (ports, https) = read_ports("443:8443, https, 53/udp").unwrap();
        assert!(https);
        let shown: Vec<_> = ports.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["443:8443/tcp", "53/udp"]);
        assert_eq!(read_ports("443, x").unwrap_err().0, "expose=443, x".find('x').map_or(0, |_| 13));
    }
}
