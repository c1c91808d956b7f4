//! What is configured: `[exposure]`, each `[[expose]]` and each `[[public_dns]]`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use catalog::exposure::{ExposureDef, PortPair, WrittenPort, public_name};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// `[exposure]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Carry wishes out on this node: open its firewall, map ports at its router, show public names. Without
    /// it wishes are kept and shown, and nothing is touched.
    pub enabled: bool,
    /// What registrations say in their labels `expose` and `expose-name`, and in Diplonat's and D53's tags,
    /// counts too: whoever may register may expose.
    pub registrations: bool,
    /// How often everything is looked at although nothing changed.
    #[serde(with = "state::units::duration")]
    pub refresh: Duration,
    /// How long a router shall hold a mapping; it is renewed when half of that is over.
    #[serde(with = "state::units::duration")]
    pub lease: Duration,
    /// Make mappings at the router.
    pub mappings: bool,
    /// Ask for pinholes of IPv6.
    pub pinholes: bool,
    /// Address of this host that mappings lead to; the one that faces the router when there is none.
    pub private_address: Option<Ipv4Addr>,
    /// The address that the world sees, where no router can tell it: a static forward, a rented address.
    pub public_address: Option<Ipv4Addr>,
    /// Name of the home that this node is in, the same on all of its nodes behind one router: one at a time then has
    /// each port of it, and another takes over when that one's instance fails or it dies.
    pub site: Option<Site>,
    /// Ports of this host, like `443/tcp`, at which clients inside this home find what the world finds at the router's:
    /// a redirect of the host's firewall, a proxy. Ports that are the same on both sides need not be said.
    pub inside: Vec<WrittenPort>,
    /// STUN servers that are asked what the world sees, `host:port`; two tell more than one.
    pub stun: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            enabled: false,
            registrations: false,
            refresh: Duration::from_secs(60),
            lease: Duration::from_secs(7200),
            mappings: true,
            pinholes: true,
            private_address: None,
            public_address: None,
            site: None,
            inside: Vec::new(),
            stun: Vec::new(),
        }
    }
}

/// The name of a home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Site(Arc<str>);

impl Site {
    /// As it stands in the metadata of nodes.
    pub fn name(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl TryFrom<String> for Site {
    type Error = String;

    fn try_from(text: String) -> Result<Site, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match (1..=63).contains(&text.len()) && text.chars().all(plain) {
            true => Ok(Site(text.into())),
            false => Err(format!("{text:?} is no name of a home: 1 to 63 letters, digits, - _ and .")),
        }
    }
}

impl From<Site> for String {
    fn from(Site(name): Site) -> String {
        name.to_string()
    }
}

impl Settings {
    /// For [`crate::run`].
    pub fn config(&self) -> Config {
        Config {
            refresh: self.refresh,
            lease: self.lease,
            description: "portolan".into(),
            private_ip: self.private_address,
            mappings: self.mappings,
            pinholes: self.pinholes,
            public: self.public_address,
            stun: self.stun.clone(),
            inside: self.inside.iter().map(|WrittenPort(port)| *port).collect(),
            unguarded: None,
            journal: None,
            leave: false,
        }
    }
}

/// One of `[[expose]]`: a wish that stands in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenWish")]
pub struct Wish {
    /// Service by its name.
    pub service: Arc<str>,
    /// Ports, like `443:8443/tcp`.
    pub ports: Vec<PortPair>,
    /// Public names.
    pub names: Vec<Arc<str>>,
    /// By HTTPS under its names.
    pub https: bool,
    /// Node that shall expose it; each that has an instance when empty.
    pub via: Arc<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWish {
    service: Arc<str>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    https: bool,
    #[serde(default)]
    via: Arc<str>,
}

impl TryFrom<WrittenWish> for Wish {
    type Error = String;

    fn try_from(written: WrittenWish) -> Result<Wish, String> {
        let ports = written.ports.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        let ports = ports.map_err(|error: catalog::validate::Invalid| error.to_string())?;
        let name = |text: &String| public_name(text).map_err(|why| format!("public name \"{text}\": {why}"));
        let names = written.names.iter().map(name).collect::<Result<_, _>>()?;
        let WrittenWish { service, https, via, .. } = written;
        let wish = Wish { service, ports, names, https, via };
        wish.def().validate().map_err(|error| error.to_string())?;
        Ok(wish)
    }
}

impl Wish {
    /// As the catalog has it.
    pub fn def(&self) -> ExposureDef {
        let Wish { service, ports, names, https, via } = self.clone();
        ExposureDef { service, ports, names, via, https }
    }
}

/// One of `[[public_dns]]`: who keeps the names of some zones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum NameSettings {
    /// A name server that takes signed updates (RFC 2136): BIND, Knot, PowerDNS.
    Rfc2136(Rfc2136Settings),
    /// A provider with an API over HTTP, spoken to by a template.
    Http(HttpSettings),
    /// A program of one's own.
    Exec(ExecSettings),
}

/// See [`NameSettings::Http`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Zones that may be written, and no others.
    pub zones: Vec<String>,
    /// `gandi`, `cloudflare`, `desec`, `dyndns2`, or the path of a template.
    pub template: String,
    /// File with what proves to the provider that it is us.
    pub secret_file: PathBuf,
    /// Filled in where the template says so: `zone_id` for Cloudflare, `server` for dyndns2.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// See [`Rfc2136Settings::owner`].
    #[serde(default)]
    pub owner: Option<String>,
    /// How long others may remember a name; some providers take no less than an hour.
    #[serde(default = "minute", with = "state::units::duration")]
    pub ttl: Duration,
}

/// See [`NameSettings::Exec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecSettings {
    /// Zones that may be written, and no others.
    pub zones: Vec<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// See [`Rfc2136Settings::owner`].
    #[serde(default)]
    pub owner: Option<String>,
    /// Told to the program.
    #[serde(default = "minute", with = "state::units::duration")]
    pub ttl: Duration,
}

/// See [`NameSettings::Rfc2136`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rfc2136Settings {
    /// Zones that may be written, and no others.
    pub zones: Vec<String>,
    /// Where updates go, by TCP.
    pub server: SocketAddr,
    /// File with the key, as tsig-keygen prints it.
    pub key_file: PathBuf,
    /// Who we are to those who share the zone, for good; the node's name when there is none.
    #[serde(default)]
    pub owner: Option<String>,
    /// Owners whose names become ours as soon as we wish them: who we were before, or who left them behind.
    #[serde(default)]
    pub adopt: Vec<String>,
    /// Name of a group: nodes of it show the same names together, each with its own address. All of them say it.
    #[serde(default)]
    pub group: Option<String>,
    /// How long others may remember a name.
    #[serde(default = "minute", with = "state::units::duration")]
    pub ttl: Duration,
}

fn minute() -> Duration {
    Duration::from_secs(60)
}
