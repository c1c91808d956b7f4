//! Who may reach what: an operator's wishes in the order in which they are asked. The first that matches a
//! connection decides about it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::model::Index;
use crate::validate::Invalid;

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// May connect.
    Allow,
    /// May not.
    Deny,
}

impl Action {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Allow => "allow",
            Action::Deny => "deny",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which way a connection goes, seen from the host that judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From another host to a service of this one.
    In,
    /// From a program on this host.
    Out,
}

impl Direction {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

/// Addresses that share their first bits, shown as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Network {
    /// First address; bits beyond the prefix are 0. Never an IPv4 address mapped into IPv6.
    pub address: IpAddr,
    /// How many bits are shared.
    pub prefix: u8,
}

impl Network {
    /// The network of `address` that shares `prefix` bits; `None` when the address has fewer.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Network> {
        let (address, prefix) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(v4)) => (IpAddr::V4(v4), prefix.checked_sub(96)?),
            (_, address) => (address, prefix),
        };
        let address = match address {
            IpAddr::V4(v4) if prefix <= 32 => {
                IpAddr::V4((u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).into())
            }
            IpAddr::V6(v6) if prefix <= 128 => IpAddr::V6(
                (u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).into(),
            ),
            _ => return None,
        };
        Some(Network { address, prefix })
    }

    /// Reads `10.0.0.0/8`, or one address.
    pub fn parse(text: &str) -> Option<Network> {
        match text.split_once('/') {
            Some((address, prefix)) => Network::new(address.parse().ok()?, prefix.parse().ok()?),
            None => {
                let address: IpAddr = text.parse().ok()?;
                Network::new(address, if address.is_ipv4() { 32 } else { 128 })
            }
        }
    }

    /// True when `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && Network::new(address, self.prefix) == Some(*self)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Whose connections a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Everybody's.
    Any,
    /// Whoever proved this name: a SPIFFE id in full, or the name that it ends with, or one that this host's
    /// configuration gives to a user.
    Identity(Arc<str>),
    /// Programs of this user, on the host that judges.
    Uid(u32),
    /// Whoever comes from there.
    Network(Network),
    /// Programs on this node.
    Node(Arc<str>),
    /// The other side is this host: by the name that its certificate proves, else by the name or address that a
    /// URI leads to.
    Host {
        /// Name or address, in lower case.
        name: Arc<str>,
        /// Only at this port.
        #[serde(default)]
        port: Option<u16>,
    },
}

impl Source {
    /// Reads what `Display` writes: `any` or `*`, `uid:1000`, `node:NAME`, `host:NAME` or `host:NAME:PORT`, a
    /// network like `10.0.0.0/8` or an address, else a name or a SPIFFE id.
    ///
    /// # Errors
    /// [`Invalid`] with the rule that is broken.
    pub fn parse(text: &str) -> Result<Source, Invalid> {
        let broken = |rule: &str| Err(Invalid::new("source", text, rule));
        if text == "any" || text == "*" {
            return Ok(Source::Any);
        }
        if let Some(network) = Network::parse(text) {
            return Ok(Source::Network(network));
        }
        let source = match text.split_once(':') {
            Some(("uid", uid)) => match uid.parse() {
                Ok(uid) => Source::Uid(uid),
                Err(_) => return broken("after uid: stands a user's number"),
            },
            Some(("node", node)) => Source::Node(node.into()),
            Some(("host", rest)) => host(rest),
            Some(("spiffe", _)) | None => Source::Identity(text.into()),
            Some(_) => {
                return broken(
                    "it is none of any, uid:NUMBER, node:NAME, host:NAME[:PORT], a network, a name or a SPIFFE id",
                );
            }
        };
        source.validate().map(|()| source)
    }

    /// Checks names and sizes.
    ///
    /// # Errors
    /// [`Invalid`] with the rule that is broken.
    pub fn validate(&self) -> Result<(), Invalid> {
        let (what, name) = match self {
            Source::Any | Source::Uid(_) => return Ok(()),
            Source::Network(network) => {
                return match Network::new(network.address, network.prefix) == Some(*network) {
                    true => Ok(()),
                    false => {
                        Err(Invalid::new("network", &network.to_string(), "it has bits beyond its prefix"))
                    }
                };
            }
            Source::Identity(name) => ("identity", name),
            Source::Node(name) => ("node name", name),
            Source::Host { name, .. } => ("host name", name),
        };
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '"' | '\'' | '\\' | '*');
        if name.is_empty() || name.len() > 512 {
            return Err(Invalid::new(what, name, "it needs 1 to 512 characters"));
        }
        match name.chars().find(|c| !is_plain(*c)) {
            Some(bad) => Err(Invalid::new(what, name, format!("{bad:?} is not allowed in it"))),
            None => Ok(()),
        }
    }
}

fn host(text: &str) -> Source {
    let split = text.rsplit_once(':').filter(|(name, _)| !name.contains(':') || name.ends_with(']'));
    let (name, port) = match split.and_then(|(name, port)| Some((name, port.parse().ok()?))) {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase().into();
    Source::Host { name, port }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Any => f.write_str("any"),
            Source::Identity(name) => f.write_str(name),
            Source::Uid(uid) => write!(f, "uid:{uid}"),
            Source::Network(network) => network.fmt(f),
            Source::Node(name) => write!(f, "node:{name}"),
            Source::Host { name, port: None } => write!(f, "host:{name}"),
            Source::Host { name, port: Some(port) } if name.contains(':') => {
                write!(f, "host:[{name}]:{port}")
            }
            Source::Host { name, port: Some(port) } => write!(f, "host:{name}:{port}"),
        }
    }
}

/// Where a rule was written, shown as `rules.toml:14`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// File, or another word for where.
    pub file: Arc<str>,
    /// Line, from 1; 0 when there are none.
    #[serde(default)]
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// What stands for every service.
pub const ANY_SERVICE: &str = "*";

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intention {
    /// By which it is replaced and removed; see [`Intention::default_id`].
    pub id: Arc<str>,
    /// What it says.
    pub action: Action,
    /// Whose connections it is about.
    pub source: Source,
    /// Only connections that come, or routes that leave, by this: `tcp`, `tls`, `http`, `udp`, `unix`, `ws` …
    #[serde(default)]
    pub scheme: Option<Arc<str>>,
    /// Only connections that go this way.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// To which service, [`ANY_SERVICE`] for every one. Names are told apart without regard to case.
    pub service: Arc<str>,
    /// For people.
    #[serde(default)]
    pub note: Arc<str>,
    /// Labels, for the programs that wrote it.
    #[serde(default)]
    pub meta: Labels,
    /// Where it was written.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// When it was made, in Unix milliseconds. Set when it is applied, as are the three that follow.
    #[serde(default)]
    pub created_ms: u64,
    /// When it last changed.
    #[serde(default)]
    pub updated_ms: u64,
    /// Index of its creation.
    #[serde(default)]
    pub create_index: Index,
    /// Index of its last change.
    #[serde(default)]
    pub modify_index: Index,
}

impl Intention {
    /// A rule without conditions beyond source and service, with its default id.
    pub fn new(action: Action, source: Source, service: &str) -> Intention {
        let mut intention = Intention {
            id: "".into(),
            action,
            source,
            scheme: None,
            direction: None,
            service: service.into(),
            note: "".into(),
            meta: Labels::default(),
            origin: None,
            created_ms: 0,
            updated_ms: 0,
            create_index: 0,
            modify_index: 0,
        };
        intention.id = intention.default_id();
        intention
    }

    /// `source,service` with `/scheme` and `/direction` where they matter: a second rule about the same
    /// connections replaces the first.
    pub fn default_id(&self) -> Arc<str> {
        let mut id = format!("{},{}", self.source, self.service.to_ascii_lowercase());
        let direction = self.direction.map(Direction::as_str);
        for part in [self.scheme.as_deref(), direction].into_iter().flatten() {
            id.push('/');
            id.push_str(part);
        }
        id.into()
    }
}

impl fmt::Display for Intention {
    /// `deny uid:1000 to db, by tls, in`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = if &*self.service == ANY_SERVICE { "any" } else { &self.service };
        write!(f, "{} {} to {service}", self.action, self.source)?;
        self.scheme.iter().try_for_each(|scheme| write!(f, ", by {scheme}"))?;
        self.direction.iter().try_for_each(|way| write!(f, ", {}", way.as_str()))
    }
}

/// Where a rule goes among the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Where a rule of that id stands already, else behind all others.
    #[default]
    Keep,
    /// Before all others.
    First,
    /// Behind all others.
    Last,
    /// Before the rule of that id.
    Before(Arc<str>),
    /// Behind the rule of that id.
    After(Arc<str>),
}

/// Wishes about rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntentionCommand {
    /// Adds a rule, or replaces the one of its id.
    Put {
        /// The rule.
        intention: Box<Intention>,
        /// Where it goes.
        #[serde(default)]
        place: Place,
        /// Only if the rule's modify index is that (0: only if there is none of that id).
        #[serde(default)]
        cas: Option<Index>,
    },
    /// Takes a rule away.
    Remove {
        /// Its id.
        id: Arc<str>,
        /// Only if its modify index is that.
        #[serde(default)]
        cas: Option<Index>,
    },
    /// Puts a whole list in the place of the one there is.
    Replace {
        /// In order.
        intentions: Vec<Intention>,
        /// Only if the index of the rules is that.
        #[serde(default)]
        cas: Option<Index>,
    },
}
