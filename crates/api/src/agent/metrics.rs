//! `agent/metrics`: for Prometheus with `format=prometheus`, else in the JSON shape of Consul's telemetry.

use serde_json::json;

use crate::Api;
use crate::http::{Answer, Failure, Parts};
use crate::metrics::text::{self, Kind};
use crate::probes::exposition;

pub(crate) fn show(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    match parts.query.given("format") {
        Some("prometheus") => exposition(api, false),
        Some("openmetrics") => exposition(api, true),
        Some(other) => Err(Failure::bad_request(format!("no metrics format {other:?}, only \"prometheus\""))),
        None => telemetry(api, parts),
    }
}

/// Counters and gauges as of now; Consul's ten-second windows (rate, mean, deviation) are not kept.
fn telemetry(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let written = exposition(api, true)?.body;
    let (mut gauges, mut counters) = (Vec::new(), Vec::new());
    for sample in text::samples(&String::from_utf8_lossy(&written)) {
        let labels: serde_json::Map<_, _> =
            sample.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        match sample.kind {
            Kind::Counter => counters.push(json!({
                "Name": sample.name, "Count": sample.value, "Sum": sample.value, "Labels": labels,
            })),
            Kind::Gauge => {
                gauges.push(json!({ "Name": sample.name, "Value": sample.value, "Labels": labels }));
            }
            Kind::Other => {}
        }
    }
    let telemetry =
        json!({ "Timestamp": "", "Gauges": gauges, "Points": [], "Counters": counters, "Samples": [] });
    Answer::json_as(&telemetry, parts.query.has("pretty"))
}
