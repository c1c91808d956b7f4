//! Settings of the proxy.

mod fields;
mod route;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relay::proxy_header::Version;
use serde::{Deserialize, Serialize};

use crate::public::Public;
use crate::tls::config::Tls;
pub use fields::{By, FieldName, FieldRules, FieldValue};
pub use route::{HttpRoute, Rate, RouteOptions, Size, Span};

/// A TCP or UDP listener that leads to one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceListener {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Service that it leads to.
    pub service: Arc<str>,
    /// Peers whose connections begin with a PROXY header, each of them, and who are believed. TCP only.
    #[serde(default)]
    pub accept_proxy: Vec<IpAddr>,
    /// Tell the service who connects, by a PROXY header of this version. TCP only.
    #[serde(default)]
    pub send_proxy: Option<Version>,
}

impl ServiceListener {
    /// A plain one.
    pub fn new(listen: SocketAddr, service: impl Into<Arc<str>>) -> ServiceListener {
        ServiceListener { listen, service: service.into(), accept_proxy: Vec::new(), send_proxy: None }
    }
}

/// Settings of the HTTP listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where to listen; nowhere when empty.
    pub listen: Vec<SocketAddr>,
    /// Rules, tried before services are looked up by host name. The longest match wins.
    pub routes: Vec<HttpRoute>,
    /// Names below these domains are services: `web.svc.internal` is `web`.
    pub domains: Vec<Arc<str>>,
    /// Look the first segment of the path up as a service when nothing else matches, and take it off.
    pub path_services: bool,
    /// Peers whose connections begin with a PROXY header, each of them, and who are believed.
    pub accept_proxy: Vec<IpAddr>,
    /// Peers whose forwarding headers are believed and extended instead of replaced.
    pub trusted: Vec<IpAddr>,
    /// Most bytes of a request head.
    pub max_head_bytes: usize,
    /// Most header fields of a request.
    pub max_head_fields: usize,
    /// Largest request body; 0 means no limit.
    #[serde(with = "state::units::size")]
    pub max_body: u64,
    /// Most requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Most requests that a client may give up within a second on one HTTP/2 connection.
    pub max_resets: u32,
    /// Fewest bytes of a request body in a second, and of an answer that the client has not taken yet, measured over
    /// the time of `stall_timeout`; 0 means that one byte in that time is enough.
    pub min_rate: u64,
    /// A file to which a line of JSON is appended for each request. Opened anew when the configuration is read again.
    pub access_log: Option<PathBuf>,
    /// Serve plain HTTP/1.1 requests by hand. Off, hyper serves all of them: slower, and with the same answers.
    pub fast: bool,
    /// Longest time for a request head.
    #[serde(with = "state::units::duration")]
    pub head_timeout: Duration,
    /// Longest time without a byte of a request body, or without the client taking a byte of the answer.
    #[serde(with = "state::units::duration")]
    pub stall_timeout: Duration,
    /// Longest time between two requests on a connection.
    #[serde(with = "state::units::duration")]
    pub idle_timeout: Duration,
    /// Longest time until an endpoint begins to answer; 0 means no limit. gRPC has deadlines of its own.
    #[serde(with = "state::units::duration")]
    pub response_timeout: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            listen: vec![(Ipv4Addr::LOCALHOST, 8081).into()],
            routes: Vec::new(),
            domains: ["svc.internal", "service.consul", "virtual.consul"].map(Arc::from).into(),
            path_services: false,
            accept_proxy: Vec::new(),
            trusted: Vec::new(),
            max_head_bytes: 32 * 1024,
            max_head_fields: 100,
            max_body: 0,
            max_streams: 256,
            max_resets: 200,
            min_rate: 16,
            access_log: None,
            fast: true,
            head_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(120),
            response_timeout: Duration::from_secs(60),
        }
    }
}

/// Settings of the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients name a service in their first line (NetSel's form); nowhere when empty.
    pub named: Vec<SocketAddr>,
    /// TCP listeners.
    pub tcp: Vec<ServiceListener>,
    /// UDP listeners.
    pub udp: Vec<ServiceListener>,
    /// HTTP.
    pub http: Http,
    /// TLS.
    pub tls: Tls,
    /// Listeners for the world.
    pub public: Public,
    /// Most connections at once, in all.
    pub max_connections: usize,
    /// Most connections at once from one address.
    pub max_connections_per_address: usize,
    /// Longest time for the first line.
    #[serde(with = "state::units::duration")]
    pub name_timeout: Duration,
    /// A TCP connection on which nothing moves for so long is closed; 0 means never.
    #[serde(with = "state::units::duration")]
    pub tcp_idle_timeout: Duration,
    /// A UDP session ends after so long without a datagram.
    #[serde(with = "state::units::duration")]
    pub udp_idle_timeout: Duration,
    /// Most UDP sessions of one client address on one listener and data thread.
    pub max_udp_sessions_per_address: usize,
    /// Most UDP sessions in all.
    pub max_udp_sessions: usize,
    /// How long connections may go on when the daemon leaves. Not a key of its own: whoever composes the daemon
    /// sets it to the time that the whole node has.
    #[serde(skip)]
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            named: vec![(Ipv4Addr::LOCALHOST, 8080).into()],
            tcp: Vec::new(),
            udp: Vec::new(),
            http: Http::default(),
            tls: Tls::default(),
            public: Public::default(),
            max_connections: 65_536,
            max_connections_per_address: 16_384,
            name_timeout: Duration::from_secs(10),
            tcp_idle_timeout: Duration::from_secs(2 * 60 * 60),
            udp_idle_timeout: Duration::from_secs(60),
            max_udp_sessions_per_address: 1024,
            max_udp_sessions: 16_384,
            drain: Duration::from_secs(10),
        }
    }
}
