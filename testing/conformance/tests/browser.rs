//! The page in a real browser: what it shows of services, and that names of others' making stay names.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use portolan_conformance::{Browser, Daemon, LIMIT, need};
use serde_json::json;

/// The page at `room`, once everything that must be there is.
fn shows(browser: &mut Browser, daemon: &Daemon, room: &str, expected: &[&str]) -> String {
    browser.open(&daemon.url(&format!("/ui/#/{room}"))).unwrap();
    let mut last = String::new();
    let found = peers::until(LIMIT * 4, "the page", || {
        // Asked between two documents it cannot say.
        last = browser.shown().unwrap_or_else(|cause| cause.to_string());
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
    let browser = &mut Browser::start(&chromium).unwrap();
    let evil = "<img src=x onerror=\"document.title='run'\">";
    daemon
        .register(&json!({ "Name": "web", "ID": "web-1", "Address": "10.0.0.1", "Port": 8080, "Tags": [evil],
            "Meta": { "note": evil }, "Check": { "CheckID": "c", "Name": evil, "TTL": "1h", "Status": "passing" } }))
        .unwrap();
    daemon.put("/v1/agent/check/fail/c", &format!("\"{evil}\"")).ok();
    daemon.put("/v1/kv/config/colour", evil).unwrap();

    let escaped = "&lt;img src=x";
    shows(browser, &daemon, "services", &[">web</a>", "127.77.", escaped]);
    let page =
        shows(browser, &daemon, "services/web", &["web-1", "10.0.0.1:8080", "web.svc.internal", escaped]);
    assert!(!page.contains("<img src=x"), "{page}");
    shows(browser, &daemon, "nodes", &["This node", "memory"]);
    let rule = json!({ "Action": "deny", "Source": "shop", "Service": "web", "Note": evil });
    daemon.put("/v1/portolan/rule", &rule.to_string()).unwrap();
    let page = shows(browser, &daemon, "rules", &["shop", "rules are not asked", escaped]);
    assert!(!page.contains("<img src=x"), "{page}");
    shows(browser, &daemon, "exposures", &["On this node", "Nothing is exposed"]);
    shows(browser, &daemon, "keys", &["config/"]);
    let page = shows(browser, &daemon, "keys/config%2Fcolour", &[escaped]);
    assert!(!page.contains("<img src=x") && !page.contains(">run<"), "{page}");
}
