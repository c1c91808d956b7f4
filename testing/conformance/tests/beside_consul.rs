//! A real Consul and our daemon, asked the same.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use peers::Running;
use portolan_conformance::{Daemon, need};

/// Longest that Consul takes to elect itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a script beside a Consul with this much more in its configuration, and our daemon with these variables.
fn beside(script: &str, more: &str, ready: &str, variables: &[(&str, &str)]) {
    let consul = need!(peers::tool("consul"));
    let python = need!(peers::python(&[]));
    let daemon = need!(Daemon::start_with(variables));
    let [http, dns, server, lan, wan] = [(); 5].map(|()| peers::reserve_port().unwrap());
    let config = format!(
        r#"{{"bind_addr": "127.0.0.1", "log_level": "warn", "ports": {{"http": {http}, "dns": {dns},
            "server": {server}, "serf_lan": {lan}, "serf_wan": {wan}, "grpc": -1}}{more}}}"#
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("consul.json");
    std::fs::write(&file, config).unwrap();
    let mut real =
        Running::start(Command::new(consul).args(["agent", "-dev", "-config-file"]).arg(&file)).unwrap();
    let (path, said) = ready.split_once(' ').unwrap();
    let leads = || {
        let url = format!("http://127.0.0.1:{http}{path}");
        let answer = Command::new("curl").args(["-s", &url]).output();
        answer.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains(said))
    };
    real.wait_until(PATIENCE, "Consul's leader", leads).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
    let ports = [http.to_string(), daemon.api.to_string()];
    let output = Command::new(python).arg(script).args(ports).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success(), "{out}{err}\n{}", daemon.said());
}

#[test]
fn sessions_locks_transactions_and_events_are_answered_alike() {
    beside("beside_consul.py", "", "/v1/health/service/consul serfHealth", &[]);
}

/// Field by field, with case, order and null.
#[test]
fn what_is_read_is_alike_field_by_field() {
    beside("beside_reads.py", "", "/v1/health/service/consul serfHealth", &[]);
}

#[test]
fn access_control_lists_are_answered_alike() {
    let on = r#", "primary_datacenter": "dc1", "acl": {"enabled": true, "default_policy": "deny"}"#;
    let ours = [("PORTOLAN_ACL__ENABLED", "true"), ("PORTOLAN_ACL__DEFAULT_POLICY", "deny")];
    // A refusal that is not "no leader" and not "not ready yet": nobody may look at tokens.
    beside("beside_consul_acl.py", on, "/v1/acl/tokens Permission denied", &ours);
}
