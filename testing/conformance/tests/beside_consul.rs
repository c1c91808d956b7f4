//! A real Consul and our daemon, asked the same.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::path::Path;
use std::process::Command;

use portolan_conformance::{Consul, Daemon, need};

/// Runs a script beside a Consul with this much more in its configuration, and our daemon with these variables.
fn beside(script: &str, more: &str, ready: (&str, &str), variables: &[(&str, &str)]) {
    let python = need!(peers::python(&[]));
    let daemon = need!(Daemon::start_with(variables));
    let real = need!(Consul::start(more, ready));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
    let ports = [real.http, daemon.api, real.dns, daemon.dns].map(|port| port.to_string());
    let output = Command::new(python).arg("-B").arg(script).args(ports).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success(), "{out}{err}\n{}", daemon.said());
}

/// Said as soon as Consul's own service is up.
const UP: (&str, &str) = ("/v1/health/service/consul", "serfHealth");

#[test]
fn sessions_locks_transactions_and_events_are_answered_alike() {
    beside("beside_consul.py", "", UP, &[]);
}

/// Field by field, with case, order and null.
#[test]
fn what_is_read_is_alike_field_by_field() {
    beside("beside_reads.py", "", UP, &[]);
}

#[test]
fn access_control_lists_are_answered_alike() {
    let on = r#", "primary_datacenter": "dc1", "acl": {"enabled": true, "default_policy": "deny"}"#;
    let ours = [("PORTOLAN_ACL__ENABLED", "true"), ("PORTOLAN_ACL__DEFAULT_POLICY", "deny")];
    // A refusal that is not "no leader" and not "not ready yet": nobody may look at tokens.
    beside("beside_consul_acl.py", on, ("/v1/acl/tokens", "Permission denied"), &ours);
}

#[test]
fn names_are_answered_alike() {
    beside("beside_dns.py", "", UP, &[]);
}
