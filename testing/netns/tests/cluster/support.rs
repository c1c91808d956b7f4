//! What the scenarios have in common.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use portolan_netns::http::{Request, ask};
use portolan_netns::{Cluster, Daemon, Host, Lab, Load, Missing, dns};
use serde_json::{Value, json};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Names of hosts, as many as a scenario takes.
pub(crate) const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// The first hosts' daemons as one cluster.
pub(crate) fn formed<'a>(lab: &'a Lab, folder: &Path) -> Result<Cluster<'a>, Missing> {
    let mut cluster = Cluster::new(lab, folder, |_, start| start)?;
    cluster.form(3).unwrap();
    Ok(cluster)
}

/// Waits until each of these hosts' clients have had so many more writes acknowledged.
pub(crate) fn progress(cluster: &Cluster, load: &Load, hosts: &[usize], writes: u64) {
    for host in hosts {
        let goal = load.written_by(*host) + writes;
        let what = format!("{writes} writes by the clients of {}", NAMES[*host]);
        cluster.eventually(&what, || (load.written_by(*host) >= goal).then_some(())).unwrap();
    }
}

/// Ends the clients, and judges what they were told.
pub(crate) fn judge(load: Load) {
    let history = load.finish();
    let operations = history.len();
    match linear::check_keys(&linear::Register, history, linear::DEFAULT_BOUND) {
        Ok(keys) => println!("{operations} operations on {keys} keys are linearizable"),
        Err((key, verdict)) => panic!("{key}: {verdict:?}"),
    }
}

/// Answers every HTTP request with a name, for as long as the test runs.
pub(crate) fn web(host: &Host, port: u16) {
    let (listener, name) =
        (host.enter(|| TcpListener::bind((host.address, port)).unwrap()), host.name.clone());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // One read is one small request.
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{name}", name.len());
        }
    });
}

/// Registers `web-<host>` at the host's own daemon.
pub(crate) fn register(daemon: &Daemon) {
    let definition =
        json!({ "Name": format!("web-{}", daemon.host.name), "Address": daemon.host.address, "Port": 80 });
    daemon.put("/v1/agent/service/register", &definition.to_string()).unwrap();
}

/// Registers an instance at the daemon of a host, which may have joined a moment ago and not be known yet.
pub(crate) fn take_up(cluster: &Cluster, at: usize, name: &str, address: &str, port: u16) {
    let definition = json!({ "Name": name, "Address": address, "Port": port }).to_string();
    let put = || cluster.at(at).put("/v1/agent/service/register", &definition).ok();
    cluster.eventually("a registration is taken", put).unwrap();
}

/// Where a name leads on a host, in Consul's zone.
pub(crate) fn resolve(host: &Host, service: &str) -> Vec<Ipv4Addr> {
    let server: SocketAddr = ([127, 0, 0, 1], 8600).into();
    let name = format!("{service}.service.consul");
    host.enter(|| dns::ask(server, SECOND, &name)).map_or(Vec::new(), |said| said.addresses)
}

/// Who answers on a host for a name, through the proxy.
pub(crate) fn route(host: &Host, service: &str) -> Option<String> {
    let server: SocketAddr = ([127, 0, 0, 1], 8081).into();
    let request = Request { host: Some(service), ..Request::new("GET", "/") };
    host.enter(|| ask(server, 2 * SECOND, &request))
        .ok()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.body)
}

/// Waits until on all of these hosts the services of those lead to them, by name and by route.
pub(crate) fn all_reach(cluster: &Cluster, lab: &Lab, from: &[usize], to: &[usize]) {
    for on in from.iter().map(|at| &lab.hosts[*at]) {
        for of in to.iter().map(|at| &lab.hosts[*at]) {
            let service = format!("web-{}", of.name);
            let found = || (resolve(on, &service) == [of.address]).then_some(());
            cluster.eventually(&format!("{service} to resolve on {}", on.name), found).unwrap();
            let routed = || (route(on, &service).as_deref() == Some(&*of.name)).then_some(());
            cluster.eventually(&format!("{service} to be routed on {}", on.name), routed).unwrap();
        }
    }
}

/// The keys of a test, all there on all of these.
pub(crate) fn all_keep(cluster: &Cluster, on: &[usize], keys: usize) {
    let count = |answer: &Value| answer.as_array().is_some_and(|found| found.len() == keys);
    cluster.all_see(on, "/v1/kv/kept/?keys&stale", count).unwrap();
}

/// Writes keys through one of the daemons, numbered from `first`; the writes may have to wait for an election.
pub(crate) fn keep(cluster: &Cluster, by: usize, keys: std::ops::Range<usize>) {
    for number in keys {
        let put = || {
            let path = format!("/v1/kv/kept/{number:05}");
            let answer = cluster.at(by).ask(5 * SECOND, "PUT", &path, "x").ok()?;
            (answer.status == 200).then_some(())
        };
        cluster.eventually("a write to be acknowledged", put).unwrap();
    }
}
