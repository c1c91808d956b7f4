//! What the broker counts.

use consul::broker::{Operation, ProblemKind};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Word(&'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    operation: Word,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: Word,
}

/// Counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: [Counter; 4],
    refused: Family<ByReason, Counter>,
    /// Programs that are connected.
    pub(crate) callers: Gauge,
    /// Descriptors handed over that lead to the other side without the daemon.
    pub(crate) handed: Counter,
    /// Of these, those that ended because the rules changed.
    pub(crate) ended: Counter,
    /// Connections whose bytes the daemon moves.
    pub(crate) relayed: Gauge,
    pub(crate) incoming: Gauge,
}

const OPERATIONS: [&str; 4] = ["connect", "offer", "list", "explain"];

impl Metrics {
    /// Counters, listed in `registry` under `broker_…`.
    pub fn register(registry: &mut Registry) -> Metrics {
        let requests: Family<ByOperation, Counter> = Family::default();
        let operation = |word| requests.get_or_create_owned(&ByOperation { operation: Word(word) });
        let metrics = Metrics {
            requests: OPERATIONS.map(operation),
            refused: Family::default(),
            callers: Gauge::default(),
            handed: Counter::default(),
            ended: Counter::default(),
            relayed: Gauge::default(),
            incoming: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("broker");
        registry.register("requests", "Requests of local programs, by what they want", requests);
        registry.register("refusals", "Requests that came to nothing, by reason", metrics.refused.clone());
        registry.register("callers", "Local programs that are connected", metrics.callers.clone());
        let help = "Connections handed over, out of which the daemon is";
        registry.register("handed_over", help, metrics.handed.clone());
        let help = "Connections that were handed over, and ended because the rules no longer allow them";
        registry.register("revoked", help, metrics.ended.clone());
        registry.register("relayed", "Connections whose bytes the daemon moves now", metrics.relayed.clone());
        let help = "Connections of other hosts that came by tcpd's greeting";
        registry.register("incoming", help, metrics.incoming.clone());
        metrics
    }

    pub(crate) fn asked(&self, operation: Operation) {
        self.requests[operation as usize].inc();
    }

    pub(crate) fn refused(&self, kind: ProblemKind) {
        let word = match kind {
            ProblemKind::Malformed => "malformed",
            ProblemKind::Version => "version",
            ProblemKind::Unknown => "unknown",
            ProblemKind::Unhealthy => "unhealthy",
            ProblemKind::Denied => "denied",
            ProblemKind::Unreachable => "unreachable",
            ProblemKind::Busy => "busy",
            ProblemKind::Unsupported => "unsupported",
            ProblemKind::Internal => "internal",
        };
        self.refused.get_or_create(&ByReason { reason: Word(word) }).inc();
    }
}
