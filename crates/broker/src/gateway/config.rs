//! Settings of the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relay::tls::CertificateFiles;
use serde::{Deserialize, Serialize};

/// `[gateway]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients come without TLS; nowhere when empty. 9480 is the usual port.
    pub listen: Vec<SocketAddr>,
    /// Where clients come with TLS; nowhere when empty. 9443 is the usual port.
    pub listen_tls: Vec<SocketAddr>,
    /// Let clients in from other hosts that prove nothing; the rules know them by their address. Otherwise such a client
    /// is asked for a token and gets nothing without.
    pub anonymous: bool,
    /// Names below these domains are services: `web.svc.internal` is `web`.
    pub domains: Vec<Arc<str>>,
    /// Pages of these origins (`https://app.example.com`) may open WebSockets. A browser says from where it comes; other
    /// clients say nothing, and are let in.
    pub origins: Vec<Arc<str>>,
    /// Certificates to show. None: those of `proxy.tls`, and those obtained for public names.
    pub certificates: Vec<CertificateFiles>,
    /// Authorities in a PEM file that vouch for clients. One that shows a bad certificate is turned away; one that shows
    /// none has to prove itself otherwise.
    pub client_ca: Option<PathBuf>,
    /// Pre-shared keys of clients, as `portolan psk create` writes them. Who proves one is known by its identity; a
    /// certificate has to be shown all the same, and may be anybody's.
    pub keys: Option<PathBuf>,
    /// Clients whose certificate has one URI `spiffe://<this>/…` are known by it. Unset: the cluster's id.
    pub client_domain: Option<Arc<str>>,
    /// Connections at a time, of all clients.
    pub max_connections: usize,
    /// Of these, how many from one address.
    pub max_connections_per_address: usize,
    /// TLS handshakes at a time.
    pub max_handshakes: usize,
    /// How long a client may take to say what it wants, the handshake included.
    #[serde(with = "state::units::duration")]
    pub handshake_timeout: Duration,
    /// How long a connection may stay quiet before it is cut; zero means for ever.
    #[serde(with = "state::units::duration")]
    pub idle_timeout: Duration,
    /// How often a WebSocket client is asked whether it is there; one that says nothing for twice as long is cut. Zero
    /// means never.
    #[serde(with = "state::units::duration")]
    pub ping_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            anonymous: false,
            domains: ["svc.internal", "service.consul", "virtual.consul"].map(Arc::from).into(),
            origins: Vec::new(),
            certificates: Vec::new(),
            client_ca: None,
            keys: None,
            client_domain: None,
            max_connections: 10_000,
            max_connections_per_address: 1000,
            max_handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::ZERO,
            ping_interval: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// How long a connection may stay quiet.
    pub(crate) fn idle(&self) -> Option<Duration> {
        (!self.idle_timeout.is_zero()).then_some(self.idle_timeout)
    }
}
