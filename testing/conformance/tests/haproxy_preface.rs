//! HAProxy tells us who connects, and we tell HAProxy: with every option that its header has, both versions.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::process::Command;

use peers::Running;
use portolan_conformance::{Daemon, LIMIT, need};
use serde_json::json;

/// Before us: clients in, PROXY header out. Behind us: PROXY header in, and the client's address as an answer.
fn configuration(ports: &[(u16, u16, &str)], behind: u16) -> String {
    let mut text = format!(
        "
global
    maxconn 100
defaults
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend behind
    mode http
    bind 127.0.0.1:{behind} accept-proxy
    http-request return status 200 content-type text/plain lf-string \"%[src] %[dst_port]\"
"
    );
    for (number, (before, ours, send)) in ports.iter().enumerate() {
        text += &format!(
            "listen before-{number}\n    mode tcp\n    bind 127.0.0.1:{before}\n    server us 127.0.0.1:{ours} {send}\n"
        );
    }
    text
}

#[test]
fn the_client_is_known_through_both() {
    let haproxy = need!(peers::tool("haproxy"));
    let port = || peers::reserve_port().unwrap();
    let sends = ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"];
    let ports: Vec<(u16, u16, &str)> =
        sends.iter().flat_map(|send| [(port(), port(), *send), (port(), port(), *send)]).collect();
    let behind = port();
    let listeners = ports.iter().enumerate().map(|(number, (_, ours, _))| {
        let version = ["v1", "v2"][number % 2];
        format!(
            "{{ listen = \"127.0.0.1:{ours}\", service = \"web\", accept_proxy = [\"127.0.0.1\"], send_proxy = \"{version}\" }}"
        )
    });
    let listeners = format!("[{}]", listeners.collect::<Vec<_>>().join(", "));
    let daemon = need!(Daemon::start_with(&[("PORTOLAN_PROXY__TCP", &listeners)]));
    daemon.register(&json!({ "ID": "web", "Name": "web", "Port": behind, "Address": "127.0.0.1" })).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, configuration(&ports, behind)).unwrap();
    let mut running = Running::start(Command::new(haproxy).arg("-db").arg("-f").arg(&file)).unwrap();
    for (before, ..) in &ports {
        let url = format!("http://127.0.0.1:{before}/");
        let answer = || {
            let output = Command::new("curl")
                .args(["-sSf", "-m", "5", "--interface", "127.0.0.9", &url])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let expected = format!("127.0.0.9 {before}");
        running.wait_until(LIMIT, "the client's own address", || answer() == expected).unwrap();
    }
}
