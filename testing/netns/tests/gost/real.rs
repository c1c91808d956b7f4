//! The real thing: two of GOST's servers share a tunnel, its client knows one of them, and visitors come by the
//! other.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use peers::Running;
use portolan_netns::{Daemon, Host, LIMIT, Lab, Missing, need};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client, Http};
use crate::start;

const TUNNEL: &str = "6be39003-f4fa-49e4-a6ef-1997684d160e";
const PLUGIN: ([u8; 4], u16) = ([127, 0, 0, 1], 8000);
const WEB: ([u8; 4], u16) = ([127, 0, 0, 1], 5678);
/// The other server's door for visitors.
const VISITORS: ([u8; 4], u16) = ([127, 0, 0, 1], 8430);
const PAGE: &str = "from behind the tunnel";

/// The binary, and a folder for the configurations that it is started with.
struct Gost<'a> {
    host: &'a Host,
    program: std::path::PathBuf,
    folder: TempDir,
}

impl<'a> Gost<'a> {
    fn find(host: &'a Host) -> Result<Gost<'a>, Missing> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&path).map(|place| place.join("gost")).find(|at| at.is_file());
        let program = program.ok_or_else(|| Missing("no gost binary on PATH".into()))?;
        let version = Command::new(&program).arg("-V").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        match version {
            Ok(version) if version.trim_start_matches("gost ").trim_start_matches('v').starts_with('3') => {
                Ok(Gost { host, program, folder: tempfile::tempdir().unwrap() })
            }
            other => Err(Missing(format!("the gost on PATH is not version 3: {other:?}"))),
        }
    }

    fn run(&self, name: &str, configuration: &Value) -> Running {
        // JSON is YAML.
        let file = self.folder.path().join(name).with_extension("yaml");
        std::fs::write(&file, configuration.to_string()).unwrap();
        Running::start(self.host.command(&self.program).arg("-C").arg(file)).unwrap()
    }

    /// A server for clients on one port and for visitors on the port below, with this plugin for discovery.
    fn server(&self, port: u16, plugin: &Value) -> Running {
        let visitors = format!("127.0.0.1:{}", port - 1);
        let metadata =
            json!({ "entrypoint": visitors, "ingress": "hosts", "sd": "portolan", "tunnel.ttl": "1s" });
        let configuration = json!({
            "services": [{
                "name": "tunnel",
                "addr": format!("127.0.0.1:{port}"),
                "handler": { "type": "tunnel", "metadata": metadata },
                "listener": { "type": "tcp" },
            }],
            "ingresses": [{ "name": "hosts", "rules": [{ "hostname": "example.local", "endpoint": TUNNEL }] }],
            "sds": [{ "name": "portolan", "plugin": plugin }],
            "log": { "level": "debug" },
        });
        let mut server = self.run(&format!("server-{port}"), &configuration);
        let listens = || self.host.enter(|| TcpStream::connect(&*visitors).is_ok());
        server.wait_until(LIMIT, "GOST to listen", listens).unwrap();
        server
    }

    /// A client of the server on this port that leads the tunnel to the web server.
    fn client(&self, port: u16) -> Running {
        let node = json!({
            "addr": format!("127.0.0.1:{port}"),
            "connector": { "type": "tunnel", "metadata": { "tunnel.id": TUNNEL } },
            "dialer": { "type": "tcp" },
        });
        let web = SocketAddr::from(WEB).to_string();
        let configuration = json!({
            "services": [{
                "name": "web",
                "addr": ":0",
                "handler": { "type": "rtcp" },
                "listener": { "type": "rtcp", "chain": "server" },
                "forwarder": { "nodes": [{ "name": "web", "addr": web }] },
            }],
            "chains": [{ "name": "server", "hops": [{ "name": "only", "nodes": [node] }] }],
        });
        self.run("client", &configuration)
    }
}

/// A web server of one page, for the rest of the test.
fn web(host: &Host) {
    let listener = host.enter(|| TcpListener::bind(SocketAddr::from(WEB))).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let length = PAGE.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{PAGE}");
            // A visitor that went away is no failure of this server.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

/// What a visitor of the other server gets. GOST leaves the connection open afterwards, whatever was asked, so the
/// end of it is no sign.
fn visit(host: &Host) -> io::Result<String> {
    host.enter(|| {
        let mut stream = TcpStream::connect(SocketAddr::from(VISITORS))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: example.local\r\n\r\n")?;
        let (mut answer, mut chunk) = (String::new(), [0; 4096]);
        loop {
            let length = stream.read(&mut chunk)?;
            answer.push_str(&String::from_utf8_lossy(&chunk[..length]));
            let is_refusal = answer.contains("\r\n\r\n") && !answer.starts_with("HTTP/1.1 200 ");
            if length == 0 || is_refusal || answer.ends_with(PAGE) {
                return Ok(answer);
            }
        }
    })
}

/// Until a visitor of the other server sees the page.
fn reaches(daemon: &Daemon, servers: &[&Running]) {
    let mut last = None;
    let seen = daemon.eventually("a visitor to see the page", |daemon| {
        let answer = visit(daemon.host);
        let seen = answer.as_ref().is_ok_and(|answer| answer.ends_with(PAGE));
        last = Some(answer);
        seen.then_some(())
    });
    let said = || servers.iter().map(|server| server.said()).collect::<Vec<_>>().join("\n---\n");
    assert!(seen.is_ok(), "{seen:?}\nlast: {last:?}\n{}", said());
}

/// Calls of this verb that the daemon has taken since it was started.
fn calls(daemon: &Daemon, kind: &str, verb: &str) -> u64 {
    let answer = daemon.ask(LIMIT, "GET", "/metrics", "").unwrap();
    let wanted = [format!("protocol=\"{kind}\""), format!("verb=\"{verb}\"")];
    let lines = answer.body.lines().filter(|line| line.starts_with("portolan_gost_"));
    let lines = lines.filter(|line| wanted.iter().all(|label| line.contains(label.as_str())));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// From the registration to the end of the server that made it.
fn failover(folder: &Path, kind: &str, plugin: &Value) {
    let lab = need!(Lab::new(&["a"]));
    let host = &lab.hosts[0];
    let gost = need!(Gost::find(host));
    let start = need!(start(&lab, folder)).set("gost.ttl=5s");
    let mut daemon = start.run().unwrap();
    let mut registry = Http::new(host, PLUGIN.into());
    web(host);
    let (mut near, far) = (gost.server(8421, plugin), gost.server(8431, plugin));
    let client = gost.client(8421);

    let entry = daemon.eventually("a registration", |_| registry.get(TUNNEL).ok()?.pop()).unwrap();
    assert_eq!((&entry["network"], &entry["address"]), (&json!("tcp"), &json!("127.0.0.1:8420")));
    reaches(&daemon, &[&near, &far, &client]);

    // Restarted, the daemon is told nothing again but renewals, here for longer than the entry's term.
    daemon.kill();
    daemon = start.run().unwrap();
    daemon.eventually("renewals", |daemon| (calls(daemon, kind, "renew") > 6).then_some(())).unwrap();
    assert_eq!(calls(&daemon, kind, "register"), 0);
    assert_eq!(registry.get(TUNNEL), Ok(vec![entry]));
    reaches(&daemon, &[&near, &far, &client]);

    // A server that is killed takes nothing back.
    near.kill();
    daemon.eventually("the entry to end", |_| (registry.get(TUNNEL) == Ok(vec![])).then_some(())).unwrap();
    assert_eq!(calls(&daemon, kind, "deregister"), 0);
    let refused = visit(host);
    assert!(refused.as_ref().is_ok_and(|answer| answer.contains(" 503 ")), "{refused:?}\n{}", far.said());

    // Its client comes back to the next server in its place, which is another node.
    let again = gost.server(8421, plugin);
    reaches(&daemon, &[&again, &far, &client]);
}

#[test]
fn a_visitor_of_the_other_server_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = json!({ "type": "http", "addr": "http://127.0.0.1:8000/sd", "timeout": "3s" });
    failover(folder.path(), "http", &plugin);
}

#[test]
fn a_visitor_of_the_other_server_over_grpc() {
    let folder = tempfile::tempdir().unwrap();
    failover(folder.path(), "grpc", &json!({ "type": "grpc", "addr": "127.0.0.1:8000" }));
}
