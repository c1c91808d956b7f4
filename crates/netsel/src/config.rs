//! The six settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use portolan::{Addresses, config::Config};

/// Settings of a server, with the seed's names and defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetSelConfig {
    /// Where programs register. Default `0.0.0.0:9000`.
    pub registry_addr: SocketAddr,
    /// The TCP proxy: a service's name, then bytes. Default `0.0.0.0:8080`.
    pub tcp_proxy_addr: SocketAddr,
    /// The HTTP proxy. Default `0.0.0.0:8081`.
    pub http_proxy_addr: SocketAddr,
    /// DNS, UDP and TCP. Default `127.0.0.1:5353`.
    pub dns_addr: SocketAddr,
    /// Seconds between two looks for services that stopped to send heartbeats. Default 30.
    pub health_check_interval: u64,
    /// Seconds after its last heartbeat that a service is removed, at the next look. Default 60.
    pub max_heartbeat_age: u64,
}

impl Default for NetSelConfig {
    fn default() -> Self {
        let anywhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        NetSelConfig {
            registry_addr: anywhere(9000),
            tcp_proxy_addr: anywhere(8080),
            http_proxy_addr: anywhere(8081),
            dns_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 5353)),
            health_check_interval: 30,
            max_heartbeat_age: 60,
        }
    }
}

impl NetSelConfig {
    /// A node that answers on these addresses and on no others.
    pub(crate) fn node(&self) -> Config {
        let mut config = Config::default();
        // These settings are code, written by whoever wants the server to be reached from elsewhere.
        config.node.open_beyond_loopback = true;
        config.api.listen = Vec::new();
        config.dns.listen = vec![self.dns_addr];
        config.proxy.named = vec![self.tcp_proxy_addr];
        config.proxy.http.listen = vec![self.http_proxy_addr];
        config.netsel.listen = Some(self.registry_addr);
        config.netsel.lease = Duration::from_secs(self.max_heartbeat_age);
        config.health.sweep_interval = Duration::from_secs(self.health_check_interval);
        config
    }

    /// The same settings with the addresses that a node really answers on.
    pub(crate) fn at(&self, addresses: &Addresses) -> NetSelConfig {
        let first = |list: &[SocketAddr], configured| list.first().copied().unwrap_or(configured);
        NetSelConfig {
            registry_addr: first(&addresses.netsel, self.registry_addr),
            tcp_proxy_addr: first(&addresses.tcp_proxy, self.tcp_proxy_addr),
            http_proxy_addr: first(&addresses.http_proxy, self.http_proxy_addr),
            dns_addr: first(&addresses.dns, self.dns_addr),
            ..*self
        }
    }
}
