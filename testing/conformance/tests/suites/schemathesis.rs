//! Schemathesis, that makes requests from our OpenAPI document: no request is an error of the server's own.

use std::path::Path;
use std::process::Command;

use portolan_conformance::{Daemon, need};

/// Requests for each operation of the document.
const EXAMPLES: &str = "20";

#[test]
fn nothing_that_it_asks_is_our_error() {
    need!(peers::all_suites());
    let python = need!(peers::python(&["schemathesis"]));
    let daemon = need!(Daemon::start());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/schemathesis_run.py");
    let output = Command::new(python).arg(script).args([&daemon.url(""), EXAMPLES]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success(), "{out}{err}\n{}", daemon.said());
}
