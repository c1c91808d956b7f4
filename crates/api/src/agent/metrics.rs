//! `agent/metrics`: for Prometheus with `format=prometheus`, else in the JSON shape of Consul's telemetry.

use std::time::{SystemTime, UNIX_EPOCH};

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
                // Clients read a whole number there.
                "Name": sample.name, "Count": sample.value as u64, "Sum": sample.value, "Labels": labels,
            })),
            Kind::Gauge => {
                gauges.push(json!({ "Name": sample.name, "Value": sample.value, "Labels": labels }));
            }
            Kind::Other => {}
        }
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let telemetry = json!({
        "Timestamp": written_as_go(since_epoch.as_secs()),
        "Gauges": gauges, "Points": [], "Counters": counters, "Samples": [],
    });
    Answer::json_as(&telemetry, parts.query.has("pretty"))
}

/// A Unix time as Go prints one in UTC, which is how Consul writes this field.
fn written_as_go(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = consul::instant::date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

#[cfg(test)]
mod tests {
    use super::written_as_go;

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(written_as_go(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(written_as_go(951_827_696), "2000-02-29 12:34:56 +0000 UTC");
        assert_eq!(written_as_go(1_704_067_199), "2023-12-31 23:59:59 +0000 UTC");
        assert_eq!(written_as_go(4_107_542_400), "2100-03-01 00:00:00 +0000 UTC");
    }
}
