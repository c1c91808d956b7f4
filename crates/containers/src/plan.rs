//! What shall be registered, given the containers that run. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use consul::Text;
use consul::register::{CheckRegistration, ServiceRegistration};

use crate::config::Config;
use crate::engine::{Binding, Container};
use crate::labels::Said;

mod check;

/// Key of `Meta` that says from which container an instance is. Its presence makes an instance ours.
pub const OWNER: &str = "container-id";

/// What shall be registered, and what could not be understood.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// By instance id.
    pub services: BTreeMap<String, ServiceRegistration>,
    /// For the log and for people.
    pub problems: BTreeSet<Problem>,
}

/// Something a container asks for that is not done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Its name.
    pub container: String,
    /// What is wrong, as a sentence.
    pub what: String,
}

/// A port of a container and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    /// Inside the container.
    exposed: u16,
    is_udp: bool,
    /// None for every address of the host.
    address: Option<IpAddr>,
    port: u16,
}

impl Plan {
    /// Reads what the containers say; `host` is the first part of ids.
    pub fn of(containers: &[Container], host: &str, config: &Config) -> Plan {
        let mut plan = Plan::default();
        for container in containers {
            plan.add(container, host, config);
        }
        plan
    }

    fn add(&mut self, container: &Container, host: &str, config: &Config) {
        let name = container.name.trim_start_matches('/').to_owned();
        let said = said_by(container);
        let ports = ports(container, &said, config.internal);
        let several = ports.len() > 1;
        for port in ports {
            let keys = said.of(port.exposed);
            if keys.get("ignore").is_some_and(|value| !value.is_empty()) {
                continue;
            }
            let mut problem = |what: String| self.problems.insert(Problem { container: name.clone(), what });
            let mut service = match keys.get("name").filter(|name| !name.is_empty()) {
                Some(name) => (*name).to_owned(),
                None => of_image(&container.config.image),
            };
            if several && !said.is_of(port.exposed, "name") {
                service = format!("{service}-{}", port.exposed);
            }
            if !config.allows(&service) {
                problem(format!(
                    "it asks for service \"{service}\", which containers.services does not allow"
                ));
                continue;
            }
            let udp = if port.is_udp { ":udp" } else { "" };
            let own = format!("{host}:{name}:{}{udp}", port.exposed);
            let id = keys.get("id").filter(|id| !id.is_empty()).map_or(own, |id| (*id).to_owned());
            let (checks, misread) = check::read(&keys, &port);
            misread.into_iter().for_each(|what| {
                problem(what);
            });
            let registration = registration(&id, service, &port, &keys, container, checks);
            if self.services.insert(id.clone(), registration).is_some() {
                problem(format!(
                    "another container has the id \"{id}\", too: the last of them is registered"
                ));
            }
        }
    }
}

fn registration(
    id: &str,
    service: String,
    port: &Port,
    keys: &BTreeMap<&str, &str>,
    container: &Container,
    checks: Vec<CheckRegistration>,
) -> ServiceRegistration {
    let mut tags: Vec<Text> = list(keys.get("tags").copied().unwrap_or_default());
    if port.is_udp {
        tags.push("udp".into());
    }
    let is_own = |key: &str| matches!(key, "name" | "id" | "tags" | "ignore") || key.starts_with("check_");
    let mut meta: consul::Labels = keys
        .iter()
        .filter(|(key, _)| !is_own(key) && !key.is_empty())
        .map(|(key, value)| (Text::from(*key), Text::from(*value)))
        .collect();
    meta.insert(OWNER.into(), container.id.chars().take(12).collect::<String>().into());
    ServiceRegistration {
        id: id.into(),
        name: service.into(),
        tags,
        address: port.address.map_or_else(Text::default, |address| address.to_string().into()),
        port: port.port,
        meta,
        checks,
        ..ServiceRegistration::default()
    }
}

/// Words between commas, without the spaces around them.
fn list(text: &str) -> Vec<Text> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Text::from).collect()
}

fn said_by(container: &Container) -> Said {
    let environment = container.config.env.iter().flatten().filter_map(|pair| pair.split_once('='));
    let labels = container.config.labels.iter().flatten();
    Said::read(environment.chain(labels.map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// `registry.example/team/web:1.2` is "web".
fn of_image(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    let name = last.split(['@', ':']).next().unwrap_or_default();
    name.to_owned()
}

fn ports(container: &Container, said: &Said, internal: bool) -> Vec<Port> {
    let on_host = container.host_config.network_mode == "host";
    let exposed = || {
        let listed = container.config.exposed_ports.iter().flatten().map(|(port, _)| port);
        let published = container.network_settings.ports.iter().flatten().map(|(port, _)| port);
        listed.chain(published).collect::<BTreeSet<_>>().into_iter().filter_map(|text| spelled(text))
    };
    if on_host {
        // Podman shows no exposed ports there; what is said of a port by its number stands for them.
        let named = said.ports().filter(|port| *port != 0).map(|port| (port, false));
        let ports: BTreeSet<_> = exposed().chain(named).collect();
        let at = |(exposed, is_udp)| Port { exposed, is_udp, address: None, port: exposed };
        return ports.into_iter().map(at).collect();
    }
    if internal {
        let Some(address) = own_address(container) else { return Vec::new() };
        let at = |(exposed, is_udp)| Port { exposed, is_udp, address: Some(address), port: exposed };
        return exposed().map(at).collect();
    }
    let published = container.network_settings.ports.iter().flatten();
    let one = |(text, bindings): (&String, &Option<Vec<Binding>>)| {
        let (exposed, is_udp) = spelled(text)?;
        let (address, port) = bound(bindings.as_deref()?)?;
        Some(Port { exposed, is_udp, address, port })
    };
    published.filter_map(one).collect()
}

/// `80/tcp`: the port, and whether it is UDP's. Other protocols are none of ours.
fn spelled(text: &str) -> Option<(u16, bool)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_udp = match protocol {
        "tcp" => false,
        "udp" => true,
        _ => return None,
    };
    port.parse().ok().filter(|port| *port != 0).map(|port| (port, is_udp))
}

/// Of several addresses the first, IPv4 before IPv6: they lead to the same place.
fn bound(bindings: &[Binding]) -> Option<(Option<IpAddr>, u16)> {
    let read = |binding: &Binding| {
        let port = binding.host_port.parse().ok().filter(|port| *port != 0)?;
        let address = match binding.host_ip.as_str() {
            "" => None,
            text => Some(text.parse::<IpAddr>().ok()?),
        };
        Some((address, port))
    };
    let found =
        bindings.iter().filter_map(read).min_by_key(|(address, _)| address.is_some_and(|ip| ip.is_ipv6()));
    found.map(|(address, port)| (address.filter(|ip| !ip.is_unspecified()), port))
}

fn own_address(container: &Container) -> Option<IpAddr> {
    let network = &container.network_settings;
    let named = network.networks.iter().flatten().map(|(_, endpoint)| endpoint.ip_address.as_str());
    std::iter::once(network.ip_address.as_str()).chain(named).find_map(|text| text.parse().ok())
}

#[cfg(test)]
mod tests;
