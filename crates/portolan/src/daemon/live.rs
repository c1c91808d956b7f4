//! Settings that a running node can change.

use std::sync::Arc;

use route::Routes;
use state::{Publisher, Reader};

use crate::config::Config;

/// Keys below `proxy.` that the proxy reads only when it starts: its sockets, and limits counted since then.
const PROXY_AT_START: [&str; 11] = [
    "proxy.named",
    "proxy.tcp",
    "proxy.udp",
    "proxy.http.listen",
    "proxy.tls.listen",
    "proxy.public.tls",
    "proxy.public.http",
    "proxy.max_connections",
    "proxy.max_connections_per_address",
    "proxy.max_udp_sessions",
    "proxy.max_udp_sessions_per_address",
];

/// Where the faces that can change read their settings.
pub(crate) struct Live {
    proxy: Publisher<proxy::Config>,
}

impl Live {
    pub(crate) fn new(config: &Config) -> Live {
        Live { proxy: state::channel(proxy_config(config)).0 }
    }

    pub(crate) fn proxy(&self) -> Reader<proxy::Config> {
        self.proxy.reader()
    }

    /// Where that leads URLs.
    pub(crate) fn web(&self) -> Arc<dyn api::Web> {
        Arc::new(Web(self.proxy()))
    }

    /// True when a change of this key takes effect at once.
    pub(crate) fn covers(key: &str) -> bool {
        let is_at_start = PROXY_AT_START.contains(&key);
        key == "logging.level" || (key.starts_with("proxy.") && !is_at_start)
    }

    /// Hands the new settings out.
    pub(crate) fn publish(&self, config: &Config) {
        self.proxy.publish_if_changed(proxy_config(config));
    }
}

/// What the proxy does by its configuration of now.
struct Web(Reader<proxy::Config>);

impl api::Web for Web {
    fn lead(&self, routes: &Routes, host: &str, path: &str) -> Result<(Arc<str>, String), String> {
        let way = proxy::explain(&self.0.now().http, routes, host, path)?;
        Ok((way.service, way.why))
    }
}

/// The proxy may take as long to finish as the whole node.
fn proxy_config(config: &Config) -> proxy::Config {
    proxy::Config { drain: config.node.drain_timeout, ..config.proxy.clone() }
}
