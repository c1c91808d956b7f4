//! PyPI's py-consul, unmodified.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::path::Path;
use std::process::Command;

use portolan_conformance::{Daemon, need};

#[test]
fn it_registers_reports_finds_and_keeps_keys() {
    let python = need!(peers::python(&["consul"]));
    let daemon = need!(Daemon::start());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/py_consul.py");
    let output = Command::new(python).arg(script).arg(daemon.api.to_string()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("all of it"), "{out}{err}\n{}", daemon.said());
}
