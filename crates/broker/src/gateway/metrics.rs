//! What the gateway counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProtocol {
    protocol: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: String,
}

/// Counters.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    opened: Family<ByProtocol, Counter>,
    refused: Family<ByReason, Counter>,
    /// Clients that are connected.
    pub(super) clients: Gauge,
}

impl Metrics {
    /// Counters, listed in `registry` under `gateway_…`.
    pub fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        let registry = registry.sub_registry_with_prefix("gateway");
        registry.register(
            "connections",
            "Connections and requests that were let through, by protocol",
            metrics.opened.clone(),
        );
        registry.register("refusals", "Those that were not, by reason", metrics.refused.clone());
        registry.register("clients", "Clients that are connected", metrics.clients.clone());
        metrics
    }

    pub(super) fn opened(&self, protocol: &str) {
        self.opened.get_or_create(&ByProtocol { protocol: protocol.to_owned() }).inc();
    }

    pub(super) fn refused(&self, reason: &str) {
        self.refused.get_or_create(&ByReason { reason: reason.to_owned() }).inc();
    }
}
