//! A real Consul and our daemon, asked the same.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use peers::Running;
use portolan_conformance::{Daemon, need};

/// Longest that Consul takes to elect itself.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn sessions_locks_transactions_and_events_are_answered_alike() {
    let consul = need!(peers::tool("consul"));
    let python = need!(peers::python(&[]));
    let daemon = need!(Daemon::start());
    let [http, dns, server, lan, wan] = [(); 5].map(|()| peers::reserve_port().unwrap());
    let config = format!(
        r#"{{"bind_addr": "127.0.0.1", "log_level": "warn", "ports": {{"http": {http}, "dns": {dns},
            "server": {server}, "serf_lan": {lan}, "serf_wan": {wan}, "grpc": -1}}}}"#
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("consul.json");
    std::fs::write(&file, config).unwrap();
    let mut real =
        Running::start(Command::new(consul).args(["agent", "-dev", "-config-file"]).arg(&file)).unwrap();
    let leads = || {
        let url = format!("http://127.0.0.1:{http}/v1/health/service/consul");
        let answer = Command::new("curl").args(["-s", &url]).output();
        answer.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains("serfHealth"))
    };
    real.wait_until(PATIENCE, "Consul's own registration", leads).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/beside_consul.py");
    let ports = [http.to_string(), daemon.api.to_string()];
    let output = Command::new(python).arg(script).args(ports).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success(), "{out}{err}\n{}", daemon.said());
}
