//! What is counted.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::wire::writer::rcode::BADCOOKIE;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Path {
    transport: &'static str,
    path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    rcode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Counters of this face. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    fast: Counter,
    slow: Counter,
    tcp: Counter,
    codes: [Counter; RCODES.len()],
    truncated: Counter,
    dropped: Family<Reason, Counter>,
    malformed: Counter,
    slipped: Counter,
    opened: Family<OutcomeLabel, Counter>,
    forwarded: Family<OutcomeLabel, Counter>,
    pub(crate) tcp_connections: Gauge,
    tcp_closed: Family<Reason, Counter>,
    zone_index: Gauge<u64, AtomicU64>,
    zone_services: Gauge<u64, AtomicU64>,
    projection: Histogram,
}

/// Response codes that have a counter of their own, by number; the last one is for the rest.
const RCODES: [&str; 9] =
    ["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "badvers", "badcookie", "other"];
const BADVERS: u16 = 16;

/// Why a datagram got no answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dropped {
    /// No query, or too short to answer.
    Unanswerable,
    /// Longer than any query.
    Oversized,
    /// Too much is waiting already.
    Overload,
    /// The kernel did not take the answer.
    NotSent,
    /// The client's network had its share.
    RateLimited,
}

/// Why a TCP connection ended that the client had not closed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Closed {
    TooMany,
    TooManyFromAddress,
    Idle,
    Oversized,
    NotReading,
}

impl Metrics {
    /// Counters registered with `registry` under the prefix `dns`.
    pub fn register(registry: &mut Registry) -> Metrics {
        let registry = registry.sub_registry_with_prefix("dns");
        let (queries, codes) = (Family::<Path, Counter>::default(), Family::<Code, Counter>::default());
        let of_path = |transport, path| queries.get_or_create(&Path { transport, path }).clone();
        let metrics = Metrics {
            fast: of_path("udp", "fast"),
            slow: of_path("udp", "slow"),
            tcp: of_path("tcp", "slow"),
            codes: RCODES.map(|rcode| codes.get_or_create(&Code { rcode }).clone()),
            truncated: Counter::default(),
            dropped: Family::default(),
            malformed: Counter::default(),
            slipped: Counter::default(),
            opened: Family::default(),
            forwarded: Family::default(),
            tcp_connections: Gauge::default(),
            tcp_closed: Family::default(),
            zone_index: Gauge::default(),
            zone_services: Gauge::default(),
            projection: Histogram::new([0.0001, 0.001, 0.01, 0.1, 1.0]),
        };
        registry.register("queries", "Queries read, by transport and path", queries);
        registry.register("responses", "Answers given, by response code", codes);
        registry.register("truncated", "Answers that were cut short", metrics.truncated.clone());
        registry.register("dropped", "Datagrams without an answer, by reason", metrics.dropped.clone());
        registry.register("malformed", "Queries that could not be read", metrics.malformed.clone());
        let slipped = metrics.slipped.clone();
        registry.register("slipped", "Clients beyond their rate that were told how to come back", slipped);
        registry.register("virtual_opened", "Virtual addresses asked to be opened", metrics.opened.clone());
        registry.register("forwarded", "Queries passed on to other servers", metrics.forwarded.clone());
        registry.register("tcp_connections", "TCP connections open", metrics.tcp_connections.clone());
        registry.register("tcp_closed", "TCP connections cut off, by reason", metrics.tcp_closed.clone());
        registry.register("zone_index", "Log index that answers are from", metrics.zone_index.clone());
        registry.register("zone_services", "Services in the zone", metrics.zone_services.clone());
        registry.register_with_unit(
            "zone_projection",
            "Time to bring the zone up to date",
            Unit::Seconds,
            metrics.projection.clone(),
        );
        metrics
    }

    pub(crate) fn drop_one(&self, why: Dropped) {
        let reason = match why {
            Dropped::Unanswerable => "unanswerable",
            Dropped::Oversized => "oversized",
            Dropped::Overload => "overload",
            Dropped::NotSent => "not_sent",
            Dropped::RateLimited => "rate_limited",
        };
        self.dropped.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn tcp_query(&self) {
        self.tcp.inc();
    }

    pub(crate) fn closed(&self, why: Closed) {
        let reason = match why {
            Closed::TooMany => "too_many",
            Closed::TooManyFromAddress => "too_many_from_address",
            Closed::Idle => "idle",
            Closed::Oversized => "oversized",
            Closed::NotReading => "not_reading",
        };
        self.tcp_closed.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn answered(&self, code: u16, truncated: bool) {
        let mut tally = Tally::default();
        tally.answered(code, truncated);
        tally.flush(self);
    }

    pub(crate) fn opened(&self, is_open: bool) {
        let outcome = if is_open { "open" } else { "impossible" };
        self.opened.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// `from_cache` is `None` when there was no answer.
    pub(crate) fn forwarded(&self, from_cache: Option<bool>) {
        let outcome = match from_cache {
            Some(true) => "cached",
            Some(false) => "answered",
            None => "failed",
        };
        self.forwarded.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn projected(&self, index: u64, services: usize, took: std::time::Duration) {
        self.zone_index.set(index);
        self.zone_services.set(services as u64);
        self.projection.observe(took.as_secs_f64());
    }
}

/// Counts of one batch, kept by one thread, so that threads do not share a cache line for every packet.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    fast: u64,
    slow: u64,
    slipped: u64,
    truncated: u64,
    codes: [u64; RCODES.len()],
}

impl Tally {
    /// An answer of the fast path; `slips` when it only says how to come back.
    pub(crate) fn fast(&mut self, code: u16, truncated: bool, slips: bool) {
        self.fast += 1;
        self.slipped += u64::from(slips);
        self.answered(code, truncated);
    }

    /// The same of the slow path.
    pub(crate) fn slow(&mut self, code: u16, truncated: bool, slips: bool) {
        self.slow += 1;
        self.slipped += u64::from(slips);
        self.answered(code, truncated);
    }

    /// A query of the slow path whose answer is not there yet.
    pub(crate) fn slow_later(&mut self) {
        self.slow += 1;
    }

    pub(crate) fn answered(&mut self, code: u16, truncated: bool) {
        let at = match code {
            0..=5 => usize::from(code),
            BADVERS => 6,
            BADCOOKIE => 7,
            _ => 8,
        };
        self.codes[at] += 1;
        self.truncated += u64::from(truncated);
    }

    /// Adds everything to the shared counters and starts anew.
    pub(crate) fn flush(&mut self, metrics: &Metrics) {
        const FORMERR: usize = 1;
        let tally = std::mem::take(self);
        let add = |counter: &Counter, count: u64| {
            if count > 0 {
                counter.inc_by(count);
            }
        };
        add(&metrics.fast, tally.fast);
        add(&metrics.slow, tally.slow);
        add(&metrics.slipped, tally.slipped);
        add(&metrics.truncated, tally.truncated);
        add(&metrics.malformed, tally.codes[FORMERR]);
        metrics.codes.iter().zip(tally.codes).for_each(|(counter, count)| add(counter, count));
    }
}
