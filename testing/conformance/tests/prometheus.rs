//! Debian's Prometheus finds our services by `consul_sd_configs` and drops one that fails its check.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::collections::BTreeSet;
use std::process::Command;

use peers::Running;
use portolan_conformance::{Daemon, LIMIT, Web, need};
use serde_json::{Value, json};

fn configuration(server: &str) -> String {
    format!(
        r#"
global: {{ scrape_interval: 1s, scrape_timeout: 1s }}
scrape_configs:
- job_name: consul
  consul_sd_configs:
  - {{ server: "{server}", refresh_interval: 1s }}
  relabel_configs:
  - {{ source_labels: [__meta_consul_service], regex: "web", action: keep }}
  - {{ source_labels: [__meta_consul_health], regex: "passing", action: keep }}
  - {{ source_labels: [__meta_consul_service_id], target_label: service_id }}
  - {{ source_labels: [__meta_consul_tags], target_label: tags }}
  - {{ source_labels: [__meta_consul_service_metadata_team], target_label: team }}
"#
    )
}

/// Service ids of the healthy targets.
fn up(prometheus: u16) -> BTreeSet<String> {
    let url = format!("http://127.0.0.1:{prometheus}/api/v1/targets?state=active");
    let output = Command::new("curl").args(["-sS", "-m", "5", &url]).output().unwrap();
    let Ok(answer) = serde_json::from_slice::<Value>(&output.stdout) else { return BTreeSet::new() };
    let targets = answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
    let healthy = targets.iter().filter(|target| target["health"] == "up");
    healthy.map(|target| target["labels"]["service_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_discovers_services_and_drops_the_one_that_fails() {
    let prometheus = need!(peers::tool("prometheus"));
    let daemon = need!(Daemon::start());
    let webs = ["web-1", "web-2"].map(|id| (id, Web::start(id).unwrap()));
    for (id, web) in &webs {
        let check = json!({ "CheckID": format!("ttl-{id}"), "TTL": "300s", "Status": "passing" });
        let meta = json!({ "team": "harbour" });
        daemon
            .register(&json!({ "ID": id, "Name": "web", "Port": web.port, "Address": "127.0.0.1",
                               "Tags": ["blue"], "Meta": meta, "Check": check }))
            .unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, configuration(&daemon.address())).unwrap();
    let port = peers::reserve_port().unwrap();
    let mut running = Running::start(
        Command::new(prometheus)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
    )
    .unwrap();
    let both = BTreeSet::from(["web-1".to_owned(), "web-2".to_owned()]);
    running.wait_until(LIMIT, "both targets", || up(port) == both).unwrap();

    daemon.put("/v1/agent/check/fail/ttl-web-2", "").unwrap();
    let one = BTreeSet::from(["web-1".to_owned()]);
    running.wait_until(LIMIT, "the failed one to go", || up(port) == one).unwrap();

    daemon.put("/v1/agent/check/pass/ttl-web-2", "").unwrap();
    running.wait_until(LIMIT, "it to come back", || up(port) == both).unwrap();

    daemon.put("/v1/agent/service/deregister/web-1", "").unwrap();
    let other = BTreeSet::from(["web-2".to_owned()]);
    running.wait_until(LIMIT, "the deregistered one to go", || up(port) == other).unwrap();
}

/// `promtool` judges our own metrics.
#[test]
fn our_metrics_are_well_formed() {
    let promtool = need!(peers::tool("promtool"));
    let daemon = need!(Daemon::start());
    for path in ["/metrics", "/v1/agent/metrics?format=prometheus"] {
        let check = format!("curl -sSf '{}' | '{}' check metrics", daemon.url(path), promtool.display());
        let output = Command::new("sh").args(["-c", &check]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{path}: {said}");
    }
}
