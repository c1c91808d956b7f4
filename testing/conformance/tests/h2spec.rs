//! h2spec, the conformance suite of HTTP/2, against the HTTP proxy.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::process::Command;

use portolan_conformance::{Daemon, Web, need};
use serde_json::json;

/// What it finds and we mean: a listener that also speaks HTTP/1.1 answers a bad preface as HTTP/1.1, with 400, before
/// it closes.
const MEANT: [&str; 1] = ["2: Sends invalid connection preface"];

#[test]
fn the_proxy_conforms_to_http_2_and_hpack() {
    let h2spec = need!(peers::tool("h2spec"));
    let daemon = need!(Daemon::start_with(&[("PORTOLAN_PROXY__HTTP__PATH_SERVICES", "true")]));
    // It reads requests to their ends: an answer to the first half of one ends what the second half is to show.
    let patient = Web::start("patient").unwrap();
    daemon.register(&json!({ "Name": "patient", "Port": patient.port })).unwrap();
    let port = daemon.http.to_string();
    let arguments = ["--host", "127.0.0.1", "--port", &port, "--path", "/patient", "--timeout", "10"];
    let output = Command::new(h2spec).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let counts = said.lines().rfind(|line| line.contains(" tests, ")).unwrap_or_else(|| panic!("{said}"));
    assert!(counts.contains("145 tests") && counts.contains("0 skipped"), "{said}");
    let failures = said.split_once("Failures:").map_or("", |(_, failures)| failures);
    let failed: Vec<&str> = failures.lines().filter_map(|line| line.trim().strip_prefix("× ")).collect();
    assert_eq!(failed, MEANT, "{failures}");
}
