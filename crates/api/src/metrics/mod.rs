//! What is counted. Rows of the route table are known beforehand, so each has its counters in place: no
//! lookup and no lock on the way of a request, and no series that a client could invent.

pub(crate) mod text;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::routes::ROUTES;

/// Classes of status codes, by their first digit.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Upper bounds of the duration histogram, in microseconds.
const BOUNDS_US: [u64; 10] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// Why a request did not reach a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Addressed to a host name that is not ours, or sent by a page of another origin.
    Foreign,
    /// No such endpoint, or not with that method.
    Unknown,
    /// Path or query that cannot be decoded.
    Malformed,
    /// More connections than may be open.
    Crowded,
    /// Not allowed to change anything.
    Denied,
}

const REFUSALS: [(Refused, &str); 5] = [
    (Refused::Foreign, "foreign"),
    (Refused::Unknown, "unknown"),
    (Refused::Malformed, "malformed"),
    (Refused::Crowded, "crowded"),
    (Refused::Denied, "denied"),
];

/// Counters of the HTTP face. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    shared: Arc<Shared>,
    /// Connections that are open.
    pub connections: Gauge,
    /// Blocking queries that wait.
    pub blocking: Gauge,
}

#[derive(Debug)]
struct Shared {
    /// By row of the table, then class of status.
    requests: Vec<[AtomicU64; CLASSES.len()]>,
    refused: [AtomicU64; REFUSALS.len()],
    /// Requests by duration, the last for everything above the bounds.
    durations: [AtomicU64; BOUNDS_US.len() + 1],
    duration_us: AtomicU64,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            requests: ROUTES.iter().map(|_| Default::default()).collect(),
            refused: Default::default(),
            durations: Default::default(),
            duration_us: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Shows them under `api_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("api");
        registry.register("connections", "Connections that are open", self.connections.clone());
        registry.register("blocking_queries", "Blocking queries that wait", self.blocking.clone());
        registry.register_collector(Box::new(self.shared.clone()));
    }

    pub(crate) fn answered(&self, row: usize, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        if let Some(classes) = self.shared.requests.get(row) {
            classes[class].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts the time that a request took; not for those that waited on purpose.
    pub(crate) fn took(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        self.shared.durations[bucket].fetch_add(1, Ordering::Relaxed);
        self.shared.duration_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, why: Refused) {
        if let Some(at) = REFUSALS.iter().position(|(reason, _)| *reason == why) {
            self.shared.refused[at].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Collector for Shared {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_requests(&mut encoder)?;
        self.encode_refused(&mut encoder)?;
        self.encode_durations(&mut encoder)
    }
}

impl Shared {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests answered, by endpoint and class of status";
        let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for (route, classes) in ROUTES.iter().zip(&self.requests) {
            for (class, count) in CLASSES.iter().zip(classes) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels =
                        [("method", route.method.as_str()), ("route", route.pattern), ("code", *class)];
                    ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn encode_refused(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests and connections that reached no endpoint";
        let mut family = encoder.encode_descriptor("refused", help, None, MetricType::Counter)?;
        for ((_, reason), count) in REFUSALS.iter().zip(&self.refused) {
            let labels = [("reason", *reason)];
            ConstCounter::new(count.load(Ordering::Relaxed)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time from a request's head to its answer, without blocking queries";
        let kind = MetricType::Histogram;
        let mut to = encoder.encode_descriptor("request_duration", help, Some(&Unit::Seconds), kind)?;
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::MAX]);
        let counts = self.durations.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.duration_us.load(Ordering::Relaxed) as f64 / 1e6;
        to.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
    }
}
