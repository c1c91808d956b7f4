//! The page in a real browser: what it shows of services, and that names of others' making stay names.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::process::Command;
use std::time::Duration;

use portolan_conformance::{Daemon, LIMIT, need};
use serde_json::json;

/// The page at `room` after its scripts ran, as markup.
fn shown(chromium: &std::path::Path, daemon: &Daemon, room: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--timeout=5000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--dump-dom")
        .arg(daemon.url(&format!("/ui/#/{room}")))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Until everything that must be there is: the browser gives the page a few seconds, which a busy host may need.
fn shows(chromium: &std::path::Path, daemon: &Daemon, room: &str, expected: &[&str]) -> String {
    let mut last = String::new();
    let found = peers::until(LIMIT.max(Duration::from_secs(60)), "the page", || {
        last = shown(chromium, daemon, room);
        expected.iter().all(|text| last.contains(text)).then_some(())
    });
    assert!(found.is_ok(), "{room}: not all of {expected:?} in {last}");
    last
}

#[test]
fn it_shows_services_and_runs_nothing_of_what_they_are_called() {
    let daemon = need!(Daemon::start());
    let Ok(chromium) = peers::tool("chromium") else {
        return println!("skipped: no chromium on PATH; Debian's package `chromium` has it");
    };
    let evil = "<img src=x onerror=\"document.title='run'\">";
    daemon
        .register(&json!({ "Name": "web", "ID": "web-1", "Address": "10.0.0.1", "Port": 8080, "Tags": [evil],
            "Meta": { "note": evil }, "Check": { "CheckID": "c", "Name": evil, "TTL": "1h", "Status": "passing" } }))
        .unwrap();
    daemon.put("/v1/agent/check/fail/c", &format!("\"{evil}\"")).ok();
    daemon.put("/v1/kv/config/colour", evil).unwrap();

    let escaped = "&lt;img src=x";
    shows(&chromium, &daemon, "services", &[">web</a>", "127.77.", escaped]);
    let page =
        shows(&chromium, &daemon, "services/web", &["web-1", "10.0.0.1:8080", "web.svc.internal", escaped]);
    assert!(!page.contains("<img src=x"), "{page}");
    shows(&chromium, &daemon, "nodes", &["This node", "memory"]);
    let rule = json!({ "Action": "deny", "Source": "shop", "Service": "web", "Note": evil });
    daemon.put("/v1/portolan/rule", &rule.to_string()).unwrap();
    let page = shows(&chromium, &daemon, "rules", &["shop", "rules are not asked", escaped]);
    assert!(!page.contains("<img src=x"), "{page}");
    shows(&chromium, &daemon, "exposures", &["On this node", "Nothing is exposed"]);
    shows(&chromium, &daemon, "keys", &["config/"]);
    let page = shows(&chromium, &daemon, "keys/config%2Fcolour", &[escaped]);
    assert!(!page.contains("<img src=x") && !page.contains(">run<"), "{page}");
}
