//! The configuration: every crate owns its section, this file only lists them.
//!
//! One loader serves start, `check-config`, `config show` and reload. TOML and JSON are read through the same
//! types; a flag wins over the environment, that over the file, that over the default.

mod acl;
mod layers;
mod load;
mod parse;
mod problem;
mod rules;
mod sections;
mod tree;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::listeners::Addresses;

pub use acl::Acl;
pub use layers::Origin;
pub(crate) use load::load_over;
pub use load::{Flag, LoadError, Loaded, Setting, Sources, load};
pub use problem::{ProblemData, Problems};
pub use rules::Rule;
pub use sections::{Carried, Cluster, EtcdOrder, LogFormat, Logging, Node, Storage};

/// Everything that the daemon can be told. `Config::default()` is a working node on loopback.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This node: its name, its address, where its data is.
    pub node: Node,
    /// What is written about what happens.
    pub logging: Logging,
    /// The log on disk.
    pub storage: Storage,
    /// The HTTP API.
    pub api: api::Config,
    /// Who may do what.
    pub acl: Acl,
    /// Health checks and leases.
    pub health: health::Config,
    /// Names.
    pub dns: dns::Config,
    /// Listeners that lead to services.
    pub proxy: proxy::Config,
    /// The threads that move bytes.
    pub relay: relay::Config,
    /// Virtual addresses on this host.
    pub hostnet: hostnet::Config,
    /// GOST's service discovery.
    pub gost: gost::Config,
    /// Links to other nodes, once this one belongs to a cluster.
    pub mesh: mesh::Config,
    /// How this node takes part in a cluster.
    pub cluster: Cluster,
    /// Containers of this host as services.
    pub containers: containers::Config,
    /// NetSel's byte protocol.
    pub netsel: api::netsel::Config,
    /// Connections for local programs.
    pub broker: broker::Config,
    /// Services for clients on other hosts.
    pub gateway: broker::gateway::Config,
    /// Who may reach what on this node, asked before the rules of the cluster.
    pub rules: Vec<Rule>,
    /// Messages of local programs.
    pub topics: api::topics::Config,
    /// Whether and how this node makes services reachable from outside.
    pub exposure: expose::Settings,
    /// Certificates for public names.
    pub acme: expose::acme::Acme,
    /// What shall be reachable from outside, beside what the registry says.
    pub expose: Vec<expose::Wish>,
    /// Consuls whose services wish to be reachable too.
    pub consul: Vec<expose::source::consul::Settings>,
    /// Who keeps public names.
    pub public_dns: Vec<expose::NameSettings>,
    /// How ports are opened in this host's firewall.
    pub firewall: hostnet::firewall::Config,
}

impl Config {
    /// Names the ports that the kernel chose where 0 was asked for: a node that starts again answers where it did.
    pub(crate) fn keep_ports(&mut self, found: &Addresses) {
        // Both list the faces in the same order.
        let mut found = found.iter();
        self.for_each_listener(|address| {
            if let Some((_, found)) = found.next() {
                address.set_port(found.port());
            }
        });
    }

    /// Every address that something listens on, to be changed.
    pub(crate) fn for_each_listener(&mut self, mut change: impl FnMut(&mut SocketAddr)) {
        self.api.listen.iter_mut().for_each(&mut change);
        self.dns.listen.iter_mut().for_each(&mut change);
        self.proxy.named.iter_mut().for_each(&mut change);
        self.proxy.http.listen.iter_mut().for_each(&mut change);
        self.proxy.tls.listen.iter_mut().for_each(&mut change);
        let (tcp, udp) = (self.proxy.tcp.iter_mut(), self.proxy.udp.iter_mut());
        tcp.chain(udp).for_each(|listener| change(&mut listener.listen));
        self.gost.listen.iter_mut().for_each(&mut change);
        self.netsel.listen.iter_mut().for_each(&mut change);
        self.gateway.listen.iter_mut().for_each(&mut change);
        self.gateway.listen_tls.iter_mut().for_each(&mut change);
        let incoming = &mut self.broker.incoming;
        incoming.tcp.iter_mut().chain(&mut incoming.tls).for_each(&mut change);
    }
}
