//! One daemon, asked from its own host and from others over real interfaces.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use portolan_netns::http::{Request, ask};
use portolan_netns::{Daemon, Host, LIMIT, Lab, Link, Load, Start, dns, need};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

/// A daemon on the first host whose name server and proxies others may use.
fn open_daemon<'a>(lab: &'a Lab, folder: &std::path::Path) -> Result<Start<'a>, portolan_netns::Missing> {
    let address = lab.hosts[0].address;
    Ok(Start::new(&lab.hosts[0], folder.join("data"))?
        .set("node.open_beyond_loopback=true")
        .set(format!("dns.listen=127.0.0.1:8600,{address}:8600"))
        .set(format!("proxy.http.listen=127.0.0.1:8081,{address}:8081"))
        .set(format!("proxy.named=127.0.0.1:8080,{address}:8080")))
}

/// Answers one HTTP request after the other on a host, for as long as the test runs.
fn web(host: &Host, port: u16, name: &'static str) {
    let listener = host.enter(|| TcpListener::bind((host.address, port)).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // One read is one small request.
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{name}", name.len());
        }
    });
}

fn resolve(host: &Host, server: Ipv4Addr, name: &str) -> Vec<Ipv4Addr> {
    let ask = || dns::ask((server, 8600).into(), SECOND, name).map_or(Vec::new(), |said| said.addresses);
    host.enter(ask)
}

fn register(daemon: &Daemon, address: Ipv4Addr, port: u16) {
    let definition = json!({ "Name": "web", "Address": address, "Port": port });
    daemon.put("/v1/agent/service/register", &definition.to_string()).unwrap();
}

#[test]
fn a_name_leads_each_host_to_what_it_can_reach() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    let folder = tempfile::tempdir().unwrap();
    let daemon = need!(open_daemon(&lab, folder.path())).run().unwrap();
    let [a, b, c] = &lab.hosts[..] else { panic!("three hosts") };
    web(b, 80, "from b");
    register(&daemon, b.address, 80);

    // On the daemon's own host the name is the service's virtual address; elsewhere that would be the asker's
    // own loopback, so it is the instance.
    let here = |host: &Host, server| {
        daemon
            .eventually("an address", |_| {
                Some(resolve(host, server, "web.svc.internal")).filter(|found| !found.is_empty())
            })
            .unwrap()
    };
    let local = here(a, Ipv4Addr::LOCALHOST);
    assert!(local.len() == 1 && local[0].octets()[..2] == [127, 77], "{local:?}");
    assert_eq!(here(c, a.address), [b.address]);
    assert_eq!(here(b, a.address), [b.address]);

    // And both lead there.
    let get = |host: &Host, to: SocketAddr, name: &str| {
        host.enter(|| ask(to, LIMIT, &Request { host: Some(name), ..Request::new("GET", "/") })).unwrap().body
    };
    assert_eq!(get(a, (local[0], 80).into(), "web"), "from b");
    assert_eq!(get(c, (a.address, 8081).into(), "web"), "from b");
}

#[test]
fn an_instance_behind_a_cut_is_left_out_and_comes_back() {
    let lab = need!(Lab::new(&["a", "b"]));
    let folder = tempfile::tempdir().unwrap();
    let daemon = need!(open_daemon(&lab, folder.path())).run().unwrap();
    let [a, b] = &lab.hosts[..] else { panic!("two hosts") };
    web(b, 80, "from b");
    let definition = json!({ "Name": "web", "Address": b.address, "Port": 80,
        "Check": { "TCP": format!("{}:80", b.address), "Interval": "200ms", "Timeout": "200ms" } });
    daemon.put("/v1/agent/service/register", &definition.to_string()).unwrap();
    let passing = |daemon: &Daemon| {
        let found = daemon.get("/v1/health/service/web?passing").unwrap();
        found.as_array().unwrap().len()
    };
    daemon.eventually("it to pass", |daemon| (passing(daemon) == 1).then_some(())).unwrap();

    lab.switch.set(1, 0, Link::CUT);
    daemon.eventually("it to fail", |daemon| (passing(daemon) == 0).then_some(())).unwrap();
    let served = || a.enter(|| dns::ask("127.0.0.1:8600".parse().unwrap(), SECOND, "web.service.consul"));
    let gone = |_: &Daemon| served().is_ok_and(|said| said.addresses.is_empty()).then_some(());
    daemon.eventually("its name to lead nowhere", gone).unwrap();

    lab.switch.heal();
    let back = |_: &Daemon| served().is_ok_and(|said| said.addresses == [b.address]).then_some(());
    daemon.eventually("its name to lead there again", back).unwrap();
}

#[test]
fn what_was_acknowledged_outlives_a_killed_daemon() {
    let lab = need!(Lab::new(&["a"]));
    let folder = tempfile::tempdir().unwrap();
    let start = need!(Start::new(&lab.hosts[0], folder.path().join("data")));
    let daemon = start.run().unwrap();
    for number in 0..50 {
        daemon.put(&format!("/v1/kv/k/{number}"), &number.to_string()).unwrap();
    }
    daemon.kill();
    let daemon = start.run().unwrap();
    let keys = daemon.get("/v1/kv/k/?keys").unwrap();
    assert_eq!(keys.as_array().unwrap().len(), 50);
}

#[test]
fn one_node_is_one_copy_also_when_it_is_killed() {
    let lab = need!(Lab::new(&["a"]));
    let folder = tempfile::tempdir().unwrap();
    let start = need!(Start::new(&lab.hosts[0], folder.path().join("data")));
    let mut daemon = start.run().unwrap();
    let load = Load::start(&lab.hosts, None, 4);
    for _ in 0..3 {
        let goal = load.written() + 200;
        daemon.eventually("200 writes", |_| (load.written() >= goal).then_some(())).unwrap();
        daemon.kill();
        daemon = start.run().unwrap();
    }
    let history = load.finish();
    assert!(history.len() > 600, "{}", history.len());
    linear::check_keys(&linear::Register, history, linear::DEFAULT_BOUND).unwrap();
}
