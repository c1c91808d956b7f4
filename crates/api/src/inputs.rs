//! What the HTTP face is handed.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use lease::Leases;
use prometheus_client::registry::Registry;
use route::{Facts, OpenVirtual};
use state::Reader;
use store::Store;

use crate::metrics::Metrics;

/// Everything that the HTTP face reads, writes and asks.
pub struct Inputs {
    /// Commands go in, snapshots come out.
    pub store: Store,
    /// Deadlines of this node's leases and TTL checks.
    pub leases: Arc<Leases>,
    /// What this host observed of its virtual addresses.
    pub facts: Reader<Facts>,
    /// Opens a virtual address when a client asks for it.
    pub open_virtual: Arc<dyn OpenVirtual>,
    /// Who answers.
    pub node: Identity,
    /// What clients may ask of the daemon as a whole.
    pub control: Arc<dyn Control>,
    /// Who may change something.
    pub access: Arc<dyn Access>,
    /// Every metric of the daemon, for `/metrics`.
    pub exposition: Arc<dyn Exposition>,
    /// This face's own metrics, registered with the others by whoever made them.
    pub metrics: Metrics,
    /// Other faces that have paths on this port (GOST's discovery).
    pub guests: Vec<Arc<dyn Guest>>,
}

/// What a guest answers.
pub type GuestReply = http::Response<BoxBody<Bytes, Infallible>>;

/// A face that answers some paths of this port. Its requests have passed the guard against web pages, and,
/// unless it asks for a token of its own, the judgement of who may change something.
pub trait Guest: Send + Sync {
    /// True when a path is the guest's.
    fn serves(&self, path: &str) -> bool;

    /// True when the guest asks every caller for a token of its own.
    fn asks_by_itself(&self) -> bool;

    /// Answers a request from `caller`.
    fn handle(
        &self,
        request: http::Request<Incoming>,
        caller: IpAddr,
    ) -> Pin<Box<dyn Future<Output = GuestReply> + Send + '_>>;
}

/// The node that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Node name.
    pub name: Arc<str>,
    /// Node id, a UUID.
    pub id: Arc<str>,
    /// Address that others reach this host at.
    pub address: Arc<str>,
    /// Datacenter that clients are told. Consul's default is `dc1`.
    pub datacenter: Arc<str>,
    /// True when the node votes.
    pub is_server: bool,
    /// Port that members are told: the mesh's.
    pub mesh_port: u16,
    /// Version of this daemon.
    pub version: &'static str,
    /// Source revision of this daemon; empty when unknown.
    pub revision: &'static str,
}

/// What clients may ask of the daemon as a whole.
pub trait Control: Send + Sync {
    /// Reads the configuration again, as SIGHUP does.
    ///
    /// # Errors
    /// A sentence for the client: what is wrong, where.
    fn reload(&self) -> Result<(), String>;

    /// Begins to leave, as SIGTERM does. Returns at once.
    fn leave(&self);

    /// What must hold before others may rely on this node, for `/readyz`.
    fn conditions(&self) -> Vec<Condition>;
}

/// How requests are judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Whoever reaches a listener may do everything: a node before `init`.
    #[default]
    Open,
    /// As `Open`, but what `Enforce` would refuse is logged.
    Observe,
    /// Changes need an operator's token, or a local identity through the Unix socket.
    Enforce,
}

/// Who may change something, as the cluster has decided. Asked once for every request: answers come from
/// memory.
pub trait Access: Send + Sync {
    /// How requests are judged now.
    fn mode(&self) -> Mode;

    /// True when `token` is an operator's. Compares in constant time.
    fn is_operator(&self, token: &str) -> bool;
}

/// A node that is open to whoever reaches it, and has no tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAccess;

impl Access for OpenAccess {
    fn mode(&self) -> Mode {
        Mode::Open
    }

    fn is_operator(&self, _: &str) -> bool {
        false
    }
}

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its name, one word.
    pub name: &'static str,
    /// Nothing when it holds, else why it does not.
    pub problem: Option<String>,
}

/// Writes every metric in the OpenMetrics text format, ending with `# EOF`.
pub trait Exposition: Send + Sync {
    /// # Errors
    /// Only the writer's.
    fn write(&self, to: &mut String) -> fmt::Result;
}

impl Exposition for Registry {
    fn write(&self, to: &mut String) -> fmt::Result {
        prometheus_client::encoding::text::encode(to, self)
    }
}
