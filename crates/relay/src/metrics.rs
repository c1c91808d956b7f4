//! What the data threads count.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::limit::Full;

/// Toward the client, or toward the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Direction {
    /// From client to server.
    Sent,
    /// From server to client.
    Received,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Bytes {
    direction: Direction,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLimit {
    limit: Full,
}

/// Counters of all data threads. Handles are resolved once, so that counting is one atomic addition.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Attempts to connect that failed.
    pub connect_failures: Counter,
    /// Requests sent again, to another endpoint or over another connection.
    pub retries: Counter,
    /// Requests that were not sent again although they might have been: too many had been.
    pub retries_refused: Counter,
    /// Endpoints left alone for a while because they answered badly.
    pub ejections: Counter,
    /// Connections turned away by a limit.
    refused_connections: Family<ByLimit, Counter>,
    /// Accepting failed (no descriptors, no memory).
    pub accept_failures: Counter,
    /// Connections and sessions that live.
    pub open: Gauge,
    /// Bytes that wait for slow readers, all threads together.
    pub buffered: Gauge,
    /// Bytes relayed by the TCP pump from client to server.
    pub sent: Counter<u64, AtomicU64>,
    /// Bytes relayed by the TCP pump from server to client.
    pub received: Counter<u64, AtomicU64>,
    /// Of these, bytes that the kernel moved.
    pub spliced: Counter,
    /// TLS handshakes with clients that went well.
    pub handshakes: Counter,
    /// Those that did not: no common ground, a bad certificate, no time.
    pub handshakes_failed: Counter,
    /// Clients turned away because too many handshakes were in progress.
    pub handshakes_refused: Counter,
    /// Handshakes in progress.
    pub handshakes_now: Gauge,
    /// Certificates or authorities in files that could not be read again.
    pub tls_reload_failures: Counter,
    /// UDP sessions begun.
    pub udp_sessions: Counter,
    /// Datagrams relayed, either way.
    pub datagrams: Counter,
    /// Datagrams dropped: no session, or a full socket.
    pub datagrams_dropped: Counter,
}

impl Metrics {
    /// Counters, listed in `registry` under `relay_…`.
    pub fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        let bytes: Family<Bytes, Counter> = Family::default();
        let metrics = Metrics {
            sent: bytes.get_or_create_owned(&Bytes { direction: Direction::Sent }),
            received: bytes.get_or_create_owned(&Bytes { direction: Direction::Received }),
            ..metrics
        };
        let registry = registry.sub_registry_with_prefix("relay");
        let failures = metrics.connect_failures.clone();
        registry.register("connect_failures", "Attempts to connect to an endpoint that failed", failures);
        registry.register("retries", "Requests sent again", metrics.retries.clone());
        let refused = metrics.retries_refused.clone();
        registry.register("retries_refused", "Requests not sent again: the budget was spent", refused);
        let ejections = metrics.ejections.clone();
        registry.register("ejections", "Endpoints left alone for a while: they answered badly", ejections);
        let refused = metrics.refused_connections.clone();
        registry.register("refused_connections", "Connections turned away by a limit", refused);
        let buffered = metrics.buffered.clone();
        registry.register("buffered_bytes", "Bytes in our memory that wait for slow readers", buffered);
        let failures = metrics.accept_failures.clone();
        registry.register("accept_failures", "Accepting a connection failed", failures);
        registry.register("open", "Connections and sessions that live", metrics.open.clone());
        registry.register("bytes", "Bytes relayed by the TCP pump", bytes);
        registry.register("spliced_bytes", "Of these, moved by the kernel", metrics.spliced.clone());
        metrics.register_tls(registry);
        registry.register("udp_sessions", "UDP sessions begun", metrics.udp_sessions.clone());
        registry.register("datagrams", "Datagrams relayed", metrics.datagrams.clone());
        let dropped = metrics.datagrams_dropped.clone();
        registry.register("datagrams_dropped", "Datagrams without a session or a free socket", dropped);
        metrics
    }

    /// Counts a connection that was turned away.
    pub fn refused(&self, limit: Full) {
        self.refused_connections.get_or_create(&ByLimit { limit }).inc();
    }

    fn register_tls(&self, registry: &mut Registry) {
        let failed = self.handshakes_failed.clone();
        registry.register(
            "tls_handshakes",
            "TLS handshakes with clients that went well",
            self.handshakes.clone(),
        );
        registry.register("tls_handshakes_failed", "TLS handshakes with clients that failed", failed);
        let refused = self.handshakes_refused.clone();
        registry.register(
            "tls_handshakes_refused",
            "Clients turned away: too many handshakes at once",
            refused,
        );
        let now = self.handshakes_now.clone();
        registry.register("tls_handshakes_in_progress", "TLS handshakes in progress", now);
        let failures = self.tls_reload_failures.clone();
        registry.register("tls_reload_failures", "Certificate files that could not be read again", failures);
    }
}
