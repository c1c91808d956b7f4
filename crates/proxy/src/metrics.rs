//! What the proxy counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use route::Denial;

use crate::http::Refusal;

/// Where connections come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Entry {
    Named,
    Service,
    Virtual,
    Http,
    Tls,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEntry {
    entry: Entry,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: Refusal,
}

/// Why a request was answered by the proxy itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Miss {
    UnknownService,
    NoEndpoint,
    Forbidden,
    Circle,
    OtherScheme,
    Unreachable,
    Failed,
    TimedOut,
    /// Too many requests for the route's rate.
    Limited,
    Named,
    Broken,
    Header,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByMiss {
    reason: Miss,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClass {
    code: &'static str,
}

/// Counters. Those of the hot path are resolved once.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) named: Counter,
    pub(crate) service: Counter,
    pub(crate) by_virtual_ip: Counter,
    pub(crate) http: Counter,
    pub(crate) tls: Counter,
    /// Answers by the first digit of their status, from `1xx`.
    answers: [Counter; 5],
    refused: Family<ByReason, Counter>,
    missed: Family<ByMiss, Counter>,
    pub(crate) upgrades: Counter,
    pub(crate) slow_readers: Counter,
    pub(crate) hasty_clients: Counter,
    pub(crate) log_dropped: Counter,
    pub(crate) http2_errors: Counter,
}

impl Metrics {
    /// Counters, listed in `registry` under `proxy_…`.
    pub fn register(registry: &mut Registry) -> Metrics {
        let connections: Family<ByEntry, Counter> = Family::default();
        let answers: Family<ByClass, Counter> = Family::default();
        let entry = |entry| connections.get_or_create_owned(&ByEntry { entry });
        let metrics = Metrics {
            named: entry(Entry::Named),
            service: entry(Entry::Service),
            by_virtual_ip: entry(Entry::Virtual),
            http: entry(Entry::Http),
            tls: entry(Entry::Tls),
            answers: ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .map(|code| answers.get_or_create_owned(&ByClass { code })),
            refused: Family::default(),
            missed: Family::default(),
            upgrades: Counter::default(),
            slow_readers: Counter::default(),
            hasty_clients: Counter::default(),
            log_dropped: Counter::default(),
            http2_errors: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("proxy");
        registry.register("connections", "Connections taken, by kind of listener", connections);
        registry.register("answers", "HTTP answers, by class of status", answers);
        let refused = metrics.refused.clone();
        registry.register("refused_requests", "Malformed or oversized requests turned away", refused);
        let help = "Connections and requests without an endpoint, or that an endpoint failed";
        registry.register("failures", help, metrics.missed.clone());
        registry.register("upgrades", "Connections that left HTTP", metrics.upgrades.clone());
        let slow = metrics.slow_readers.clone();
        registry.register("slow_readers", "Connections closed because the client did not read", slow);
        let hasty = metrics.hasty_clients.clone();
        registry.register("hasty_clients", "HTTP/2 connections closed: too many requests given up", hasty);
        let dropped = metrics.log_dropped.clone();
        registry.register(
            "access_log_dropped",
            "Lines of the access log that the disk was too slow for",
            dropped,
        );
        let errors = metrics.http2_errors.clone();
        registry.register("http2_errors", "HTTP/2 connections that broke the protocol or its limits", errors);
        metrics
    }

    pub(crate) fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&ByReason { reason }).inc();
    }

    pub(crate) fn missed(&self, reason: Miss) {
        self.missed.get_or_create(&ByMiss { reason }).inc();
    }

    pub(crate) fn denied(&self, denial: &Denial) {
        self.missed(match denial {
            Denial::UnknownService { .. } => Miss::UnknownService,
            Denial::NoEndpoint { .. } => Miss::NoEndpoint,
            Denial::Forbidden { .. } => Miss::Forbidden,
            Denial::Circle { .. } => Miss::Circle,
            Denial::OtherScheme { .. } => Miss::OtherScheme,
        });
    }

    pub(crate) fn answered(&self, status: http::StatusCode) {
        if let Some(counter) = self.answers.get(usize::from(status.as_u16() / 100).wrapping_sub(1)) {
            counter.inc();
        }
    }
}
