//! What the HTTP face is handed.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use consul::{Text, own};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use lease::{Leases, PassOn};
use prometheus_client::registry::Registry;
use route::{Facts, OpenVirtual, Routes};
use state::Reader;
use store::Store;

use crate::metrics::Metrics;

/// Everything that the HTTP face reads, writes and asks.
pub struct Inputs {
    /// Commands go in, snapshots come out.
    pub store: Store,
    /// Deadlines of this node's leases and TTL checks.
    pub leases: Arc<Leases>,
    /// Brings renewals and reports to the node that keeps the deadline.
    pub pass_on: Arc<dyn PassOn>,
    /// What this host observed of its virtual addresses.
    pub facts: Reader<Facts>,
    /// Where every name leads, and who may follow.
    pub routes: Reader<Routes>,
    /// Opens a virtual address when a client asks for it.
    pub open_virtual: Arc<dyn OpenVirtual>,
    /// Who answers.
    pub node: Identity,
    /// What clients may ask of the daemon as a whole.
    pub control: Arc<dyn Control>,
    /// The cluster that this node belongs to, or could.
    pub cluster: Arc<dyn Cluster>,
    /// How what shall be reachable from outside stands on this node.
    pub exposure: Arc<dyn Exposure>,
    /// Where the HTTP proxy leads URLs.
    pub web: Arc<dyn Web>,
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

    /// Resolves once what a reload has begun is done.
    fn settled(&self) -> Answering<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Begins to leave, as SIGTERM does. Returns at once.
    fn leave(&self);

    /// What must hold before others may rely on this node, for `/readyz`.
    fn conditions(&self) -> Vec<Condition>;
}

/// A boxed future that borrows.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The cluster that this node belongs to, or could: who is in it, how it does, and what operators wish of it.
pub trait Cluster: Send + Sync {
    /// Everybody who was admitted. Empty when this node is alone.
    fn members(&self) -> Vec<own::Member>;

    /// How this node does, and with `all` every other member that answers in time.
    fn status(&self, all: bool) -> Answering<'_, own::ClusterStatus>;

    /// Secrets to join with that can still be used. Nothing of the list is secret.
    fn tokens(&self) -> Vec<own::TokenEntry>;

    /// Roots of the cluster's authority; nothing where there is no cluster.
    fn roots(&self) -> Option<consul::connect::Roots> {
        None
    }

    /// Makes a key for a service, and a certificate for it.
    ///
    /// # Errors
    /// [`Refused`]: there is no cluster, or this node does not sign for it.
    fn certify(&self, service: &str) -> Result<Certified, Refused> {
        Err(Refused::Conflict(format!("certify the service {service:?}: this node is alone")))
    }

    /// Carries out what an operator wishes. Answers with the JSON for the client.
    ///
    /// # Errors
    /// [`Refused`], when nothing came of it.
    fn carry_out(&self, wish: Wish) -> Answering<'_, Result<serde_json::Value, Refused>>;
}

/// A key with its certificate, made for a service.
pub struct Certified {
    /// What the client is given; its indexes are set by whoever gives it.
    pub leaf: consul::connect::Leaf,
    /// When it is time for another, in Unix milliseconds.
    pub renew_at_ms: u64,
}

/// What an operator may wish of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Make this node the first of a cluster.
    Init(own::InitRequest),
    /// Make this node part of the cluster that a token is of.
    Join(own::JoinRequest),
    /// Make a token that others can join with.
    CreateToken(own::TokenRequest),
    /// Let nobody join with this one any more.
    RevokeToken(Text),
    /// Take another node out for good.
    Remove(Text),
    /// Take this node out for good, and end it.
    Leave,
    /// Believe nobody who shows this public key, by its hash.
    Deny(Text),
    /// Take that back.
    Allow(Text),
    /// Let another root sign.
    RotateRoot,
}

/// Why nothing came of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It cannot be meant: 400.
    Wrong(String),
    /// There is no such thing: 404.
    Unknown(String),
    /// It does not go with how things are: 409.
    Conflict(String),
    /// Not now: 503.
    Unavailable(String),
}

/// A node that is alone and stays so.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Cluster for Alone {
    fn members(&self) -> Vec<own::Member> {
        Vec::new()
    }

    fn status(&self, _: bool) -> Answering<'_, own::ClusterStatus> {
        Box::pin(std::future::ready(own::ClusterStatus::default()))
    }

    fn tokens(&self) -> Vec<own::TokenEntry> {
        Vec::new()
    }

    fn carry_out(&self, _: Wish) -> Answering<'_, Result<serde_json::Value, Refused>> {
        let why = "this node keeps nothing on disk, and cannot be part of a cluster".to_owned();
        Box::pin(std::future::ready(Err(Refused::Conflict(why))))
    }
}

/// How what shall be reachable from outside stands on this node.
pub trait Exposure: Send + Sync {
    /// Every chain, link by link. Answers from memory.
    fn exposures(&self) -> consul::exposure::Exposures;

    /// Hears what the operator says of a firewall of ours: `confirm` or `try`.
    ///
    /// # Errors
    /// [`Refused`]: there is none on trial.
    fn firewall(&self, word: &str) -> Result<(), Refused> {
        Err(Refused::Conflict(format!("{word} the firewall: this node has none of its own")))
    }
}

/// A node that knows nothing of routers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unexposed;

/// Where the HTTP proxy leads what it is asked for.
pub trait Web: Send + Sync {
    /// The service behind `host` and `path`, and what decides that, in words; an empty name where a client is sent elsewhere.
    ///
    /// # Errors
    /// Why such a request is refused or led nowhere.
    fn lead(&self, routes: &Routes, host: &str, path: &str) -> Result<(Arc<str>, String), String>;
}

impl Web for Alone {
    fn lead(&self, _: &Routes, _: &str, _: &str) -> Result<(Arc<str>, String), String> {
        Err("this node has no HTTP proxy".to_owned())
    }
}

impl Exposure for Unexposed {
    fn exposures(&self) -> consul::exposure::Exposures {
        consul::exposure::Exposures::default()
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
