//! What is counted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Call {
    pub(crate) protocol: &'static str,
    pub(crate) verb: &'static str,
    pub(crate) result: &'static str,
}

/// Requests by protocol, verb and result. Labels come from fixed sets: a caller cannot add a series.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    requests: Family<Call, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        let help = "Requests to GOST's discovery, by protocol, verb and result";
        registry.register("gost_requests", help, metrics.requests.clone());
        metrics
    }

    pub(crate) fn count(&self, protocol: &'static str, verb: &'static str, is_ok: bool) {
        let result = if is_ok { "ok" } else { "refused" };
        self.requests.get_or_create(&Call { protocol, verb, result }).inc();
    }
}

/// The verb of a request, from a fixed set.
pub(crate) fn verb(method: &str, path: &str) -> &'static str {
    match (method, path.rsplit('/').next().unwrap_or("")) {
        ("POST", name @ ("Register" | "Renew" | "Deregister" | "Get" | "GetRule" | "SetRule")) => {
            match name {
                "Register" => "register",
                "Renew" => "renew",
                "Deregister" => "deregister",
                "Get" => "get",
                "GetRule" => "get_rule",
                _ => "set_rule",
            }
        }
        (method, _) => match (method, path.starts_with("/ingress")) {
            ("GET", true) => "get_rule",
            ("PUT", true) => "set_rule",
            ("GET", false) => "get",
            ("POST", false) => "register",
            ("PUT", false) => "renew",
            ("DELETE", false) => "deregister",
            _ => "other",
        },
    }
}
