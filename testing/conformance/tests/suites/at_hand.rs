//! Clients that no registry hands out in a form that is built in minutes: they are asked where a host has them.
//!
//! Traefik needs modules that Go's proxy does not have (`go-acme/lego/v5`), Fabio's and Nomad's are not there at all, and
//! no Debian has any of the three.

use std::process::Command;

use peers::Running;
use portolan_conformance::{Daemon, LIMIT, Web, need};
use serde_json::{Value, json};

/// What a request to a proxy is answered.
fn page(port: u16, host: &str, path: &str) -> String {
    let (host, url) = (format!("Host: {host}"), format!("http://127.0.0.1:{port}{path}"));
    let output = Command::new("curl").args(["-s", "-m", "5", "-H", &host, &url]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Starts a proxy and waits until it leads to what is registered, and no more when it is critical.
fn leads(daemon: &Daemon, mut proxy: Command, port: u16, (host, path): (&str, &str)) {
    let web = Web::start("harbour").unwrap();
    let service = json!({ "Name": "web", "Address": "127.0.0.1", "Port": web.port,
        "Tags": [format!("urlprefix-{path}")], "Check": { "TTL": "1h", "Status": "passing" } });
    daemon.register(&service).unwrap();
    let mut proxy = Running::start(&mut proxy).unwrap();
    let is_there = || page(port, host, path).contains("harbour");
    proxy.wait_until(LIMIT, "the way to the service", is_there).unwrap();
    daemon.put("/v1/agent/check/fail/service:web", "").unwrap();
    proxy.wait_until(LIMIT, "the way to be gone", || !is_there()).unwrap();
}

#[test]
fn traefik_leads_to_what_is_registered() {
    let traefik = need!(peers::tool("traefik"));
    let daemon = need!(Daemon::start());
    let port = peers::reserve_port().unwrap();
    let mut command = Command::new(traefik);
    command.args([
        format!("--entrypoints.web.address=127.0.0.1:{port}"),
        format!("--providers.consulcatalog.endpoint.address={}", daemon.address()),
        "--providers.consulcatalog.refreshinterval=1s".to_owned(),
    ]);
    leads(&daemon, command, port, ("web", "/"));
}

#[test]
fn fabio_leads_to_what_is_registered() {
    let fabio = need!(peers::tool("fabio"));
    let daemon = need!(Daemon::start());
    let [port, ui] = [(); 2].map(|()| peers::reserve_port().unwrap());
    let mut command = Command::new(fabio);
    command.args(["-registry.consul.addr", &daemon.address(), "-registry.consul.register.enabled=false"]);
    command.args(["-proxy.addr", &format!("127.0.0.1:{port}"), "-ui.addr", &format!("127.0.0.1:{ui}")]);
    leads(&daemon, command, port, ("web", "/shop"));
}

#[test]
fn nomad_registers_itself_and_passes() {
    let nomad = need!(peers::tool("nomad"));
    let daemon = need!(Daemon::start());
    let mut agent = Command::new(nomad);
    agent.args(["agent", "-dev", "-consul-address", &daemon.address()]);
    let mut agent = Running::start(&mut agent).unwrap();
    let passes = |name: &str| {
        let all = daemon.get(&format!("/v1/health/service/{name}?passing"));
        all.is_ok_and(|all| all.as_array().is_some_and(|all: &Vec<Value>| !all.is_empty()))
    };
    agent.wait_until(LIMIT, "its services", || passes("nomad") && passes("nomad-client")).unwrap();
}
