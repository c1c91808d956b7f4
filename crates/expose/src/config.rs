//! Settings.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::wish::Port;

/// How exposure is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How often everything is looked at and renewed although nothing changed.
    pub refresh: Duration,
    /// How long a router shall hold a mapping that is not renewed.
    pub lease: Duration,
    /// What routers show beside our mappings; how we know them again.
    pub description: String,
    /// Address of ours that mappings lead to; else the one that faces the router.
    pub private_ip: Option<Ipv4Addr>,
    /// Mappings at the router.
    pub mappings: bool,
    /// Pinholes for IPv6.
    pub pinholes: bool,
    /// The address that the world sees, where the router cannot know it.
    pub public: Option<Ipv4Addr>,
    /// Servers outside that tell what they see, `host:port`: RFC 8489. Without any, routers are believed.
    pub stun: Vec<String>,
    /// Ports of this host at which clients inside find what the world finds at the router's, although ours are others.
    pub inside: BTreeSet<Port>,
    /// Why nobody looks after this host's firewall; `None` when somebody does.
    pub unguarded: Option<String>,
    /// File that remembers which names were shown, for a run after one that was killed.
    pub journal: Option<std::path::PathBuf>,
    /// What was mapped is left to its lease at the end, as the original does, instead of removed.
    pub leave: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            refresh: Duration::from_secs(60),
            lease: Duration::from_secs(300),
            description: "portolan".into(),
            private_ip: None,
            mappings: true,
            pinholes: true,
            public: None,
            stun: Vec::new(),
            inside: BTreeSet::new(),
            unguarded: None,
            journal: None,
            leave: false,
        }
    }
}
