//! Floods of HTTP/2 by Python's h2: who sends them is thrown out or heard out, and others are answered meanwhile.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::path::Path;
use std::process::Command;

use portolan_conformance::{Daemon, Web, need};
use serde_json::json;

/// What each is called in the script, and whether nobody may go on with it.
const FLOODS: [(&str, bool); 6] = [
    ("rapid_reset", true),
    ("made_you_reset", true),
    ("continuation", true),
    ("settings", false),
    ("pings", false),
    ("windows", false),
];

#[test]
fn others_are_answered_and_floods_come_to_an_end() {
    let python = need!(peers::python(&["h2"]));
    let daemon = need!(Daemon::start());
    let web = Web::start("hello").unwrap();
    daemon.register(&json!({ "Name": "web", "Port": web.port, "Address": "127.0.0.1" })).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/h2_floods.py");
    for (name, must_end) in FLOODS {
        let mut command = Command::new(&python);
        command.arg(&script).args([&daemon.http.to_string(), "web", name]);
        let output = command.output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {said}{complaint}");
        println!("{name}: {said}");
        let ended = said.starts_with("ended ");
        assert!(ended || (!must_end && said.trim_end() == "answered 200"), "{name}: {said}");
    }
}
