//! The sections that belong to the root: the node itself, its logging, its storage.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[node]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Name of this node. Unset: the one kept in the data directory, else the host's name.
    pub name: Option<String>,
    /// Datacenter that Consul's clients are told, and that stands in Consul's names.
    pub datacenter: String,
    /// Address that other hosts reach this one at. Unset: loopback while every listener is on loopback, else
    /// the address that the default route leaves from.
    pub address: Option<IpAddr>,
    /// Labels of this node, for Consul's clients.
    pub meta: BTreeMap<String, String>,
    /// Id of this node while nothing of it is kept, from whoever composes the daemon: no key of its own.
    #[serde(skip)]
    pub id: Option<String>,
    /// Trust domain of an authority that this node has while it is alone, likewise.
    #[serde(skip)]
    pub authority: Option<String>,
    /// Where everything durable is kept.
    pub data_dir: PathBuf,
    /// Say yes in words: listeners beyond loopback may be open to everybody who can send a packet.
    pub open_beyond_loopback: bool,
    /// How long a stopping node waits for what is in progress.
    #[serde(with = "state::units::duration")]
    pub drain_timeout: Duration,
    /// Threads for control work (API, health, log). Data threads are counted apart.
    pub control_threads: usize,
}

impl Default for Node {
    fn default() -> Self {
        Node {
            name: None,
            datacenter: "dc1".into(),
            address: None,
            meta: BTreeMap::new(),
            id: None,
            authority: None,
            data_dir: default_data_dir(),
            open_beyond_loopback: false,
            drain_timeout: Duration::from_secs(10),
            control_threads: 2,
        }
    }
}

/// `/var/lib/portolan` for root, else the user's own state folder.
fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/var/lib/portolan".into();
    }
    let from = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = from("XDG_STATE_HOME").or_else(|| Some(from("HOME")?.join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("portolan")
}

/// `[logging]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a list by module: `info,portolan_dns=debug`. `RUST_LOG`
    /// stands for it in the environment.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Logging {
    fn default() -> Self {
        Logging { level: "info".into(), format: LogFormat::Auto }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// A checkpoint is saved once this much was appended since the last.
    #[serde(with = "state::units::size")]
    pub checkpoint_size: u64,
    /// Size of one file of the log, allocated in advance.
    #[serde(with = "state::units::size")]
    pub segment_size: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Storage { checkpoint_size: 64 << 20, segment_size: 64 << 20 }
    }
}

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Servers that vote, at most: the first that were admitted. The others follow, and one of them takes the place
    /// of a voter that is removed. An odd number; 7 is the most.
    pub voters: usize,
    /// Who carries the cluster's order: the same on all of its nodes, from `init` on.
    pub order: Carried,
    /// The etcd that does, if it does.
    pub etcd: EtcdOrder,
    /// When a node that fell silent is taken for dead.
    pub life: cluster::life::Config,
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            voters: 3,
            order: Carried::Servers,
            etcd: EtcdOrder::default(),
            life: cluster::life::Config::default(),
        }
    }
}

/// Who carries the order of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carried {
    /// Its own servers, who agree on it among themselves.
    Servers,
    /// An etcd that is there anyway.
    Etcd,
}

impl Carried {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Carried::Servers => "servers",
            Carried::Etcd => "etcd",
        }
    }
}

/// `[cluster.etcd]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdOrder {
    /// Client addresses of its members: `https://host:port`, or `http://host:port` without TLS.
    pub endpoints: Vec<String>,
    /// What all keys begin with. Each cluster has its own.
    pub prefix: String,
    /// Authorities that etcd's certificates are checked by (PEM). Unset: the system's.
    pub ca_file: Option<PathBuf>,
    /// This node's certificate, where etcd asks for one (PEM).
    pub cert_file: Option<PathBuf>,
    /// The certificate's key (PEM).
    pub key_file: Option<PathBuf>,
    /// A user of etcd's, where its own authentication is switched on.
    pub user: Option<String>,
    /// File that holds the user's password.
    pub password_file: Option<PathBuf>,
}

impl Default for EtcdOrder {
    fn default() -> Self {
        EtcdOrder {
            endpoints: Vec::new(),
            prefix: "/portolan/".into(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            user: None,
            password_file: None,
        }
    }
}
