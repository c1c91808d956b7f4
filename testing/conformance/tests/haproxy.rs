//! HAProxy with `server-template` and `resolvers` follows our SRV answers.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::collections::BTreeSet;
use std::process::Command;

use peers::Running;
use portolan_conformance::{Daemon, LIMIT, Web, need};
use serde_json::json;

fn configuration(dns: u16, port: u16) -> String {
    format!(
        "
global
    maxconn 100
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    option redispatch
    retries 3
resolvers portolan
    nameserver dns1 127.0.0.1:{dns}
    accepted_payload_size 8192
    resolve_retries 3
    timeout resolve 500ms
    timeout retry 500ms
    hold valid 500ms
    hold nx 500ms
    hold obsolete 500ms
frontend in
    bind 127.0.0.1:{port}
    default_backend web
backend web
    balance roundrobin
    server-template web 1-5 _web._tcp.service.consul resolvers portolan init-addr none check inter 500ms
"
    )
}

/// Who answers, over several requests.
fn answering(port: u16) -> BTreeSet<String> {
    let once = |_| {
        let url = format!("http://127.0.0.1:{port}/");
        let output = Command::new("curl").args(["-sSf", "-m", "5", &url]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    (0..6).map(once).collect::<Option<_>>().unwrap_or_default()
}

#[test]
fn it_follows_srv_answers() {
    let haproxy = need!(peers::tool("haproxy"));
    let daemon = need!(Daemon::start());
    let register = |id: &str, web: &Web| {
        daemon
            .register(&json!({ "ID": id, "Name": "web", "Port": web.port, "Address": "127.0.0.1",
                "Check": { "CheckID": format!("ttl-{id}"), "TTL": "300s", "Status": "passing" } }))
            .unwrap();
    };
    let (one, two) = (Web::start("one").unwrap(), Web::start("two").unwrap());
    register("web-1", &one);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("haproxy.cfg");
    let port = peers::reserve_port().unwrap();
    std::fs::write(&file, configuration(daemon.dns, port)).unwrap();
    let mut running = Running::start(Command::new(haproxy).arg("-db").arg("-f").arg(&file)).unwrap();
    let only = |name: &str| BTreeSet::from([name.to_owned()]);
    running.wait_until(LIMIT, "the first instance", || answering(port) == only("one")).unwrap();

    register("web-2", &two);
    let both = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
    running.wait_until(LIMIT, "both instances", || answering(port) == both).unwrap();

    daemon.put("/v1/agent/check/fail/ttl-web-1", "").unwrap();
    running.wait_until(LIMIT, "the failed one to go", || answering(port) == only("two")).unwrap();
}
