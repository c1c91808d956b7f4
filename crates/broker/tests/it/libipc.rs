//! Programs of libipc's, both generations: their bytes come from an implementation in Python that shares nothing
//! with ours.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use consul::broker::{Operation, ProblemKind, Request, Socket};
use portolan_broker::{Config, Libipc};

use crate::harness::{Harness, echo, eventually};

const GENERATIONS: [&str; 2] = ["c", "zig"];

fn python(arguments: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python/libipc.py");
    let mut command = Command::new("python3");
    command.arg(script).args(arguments);
    command
}

fn is_there() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: no python3");
    }
    found
}

/// A running script; its port where it has one. Killed when dropped, with what it forked: they end with their
/// connections.
struct Running(Child, u16);

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let mut child = python(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.strip_prefix("listening").unwrap().trim();
        Running(child, port.parse().unwrap_or(0))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Host {
    harness: Harness,
    folders: tempfile::TempDir,
}

fn host(default_route: Option<&str>) -> Host {
    let folders = tempfile::tempdir().unwrap();
    let folder = |name: &str| Some(folders.path().join(name));
    let config = Config {
        libipc: Libipc { c: folder("c"), zig: folder("zig") },
        default_route: default_route.map(str::to_owned),
        ..Config::default()
    };
    let harness = Harness::with(config, std::sync::Arc::new(relay::TcpDial));
    Host { harness, folders }
}

impl Host {
    fn folder(&self, generation: &str) -> String {
        self.folders.path().join(generation).to_str().unwrap().to_owned()
    }

    fn run(&self, what: &str, generation: &str, service: &str, network: &str, words: &str) -> Output {
        let folder = self.folder(generation);
        python(&[what, generation, &folder, service, network, words]).output().unwrap()
    }

    fn says(&self, what: &str, generation: &str, service: &str, network: &str) -> String {
        let output = self.run(what, generation, service, network, "there and back");
        assert!(output.status.success(), "{generation}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_lead_where_ipc_network_says_and_absent_ones_to_the_service_here() {
    if !is_there() {
        return;
    }
    let host = host(None);
    for generation in GENERATIONS {
        let folder = host.folder(generation);
        let _pongd = Running::start(&["service", generation, &folder, "pongd"]);
        for network in [
            "pongd unix:///pongd",
            "pongd unix://pongd ;authd tls://user@passwd:example.com:9000/authd",
            "authd tls://user@passwd:example.com:9000/authd ; pongd unix:///pongd",
            "pongd pongd",
            "authd tls://user@passwd:example.com:9000/authd",
            "",
        ] {
            assert_eq!(host.says("client", generation, "pongd", network), "THERE AND BACK", "{network:?}");
        }
        assert_eq!(host.says("client", generation, "other", "other unix:///pongd"), "THERE AND BACK");
    }
    host.harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_routes_greet_tcpd_and_plain_ones_do_not() {
    if !is_there() {
        return;
    }
    let host = host(None);
    let tcpd = Running::start(&["tcpd", "pongd"]);
    let plain = echo();
    for generation in GENERATIONS {
        let network = format!("pongd tcp://127.0.0.1:{}/pongd", tcpd.1);
        assert_eq!(host.says("raw", generation, "pongd", &network), "there and back");
        let network = format!("web tcp://{plain}");
        assert_eq!(host.says("raw", generation, "web", &network), "there and back");
        let wrong = format!("pongd tcp://127.0.0.1:{}/otherd", tcpd.1);
        assert!(
            !host.run("raw", generation, "pongd", &wrong, "x").status.success(),
            "it admits to no otherd"
        );
    }
    host.harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_services_are_found_too_and_the_default_route_takes_the_rest() {
    if !is_there() {
        return;
    }
    let tcpd = Running::start(&["tcpd", "unheard-of"]);
    let host = host(Some(&format!("tcp://127.0.0.1:{}", tcpd.1)));
    host.harness.register("web", echo());
    for generation in GENERATIONS {
        assert_eq!(host.says("raw", generation, "web", "pongd unix:///pongd"), "there and back");
        assert_eq!(host.says("raw", generation, "unheard-of", ""), "there and back");
    }
    host.harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemes_that_nobody_here_speaks_are_the_local_services_business() {
    if !is_there() {
        return;
    }
    let host = host(None);
    let uri = "gopher://user@passwd:example.com:70/authd";
    for generation in GENERATIONS {
        let name = if generation == "c" { "gopherd" } else { "gopher" };
        let _speaks = Running::start(&["protocol", generation, &host.folder(generation), name]);
        assert_eq!(host.says("client", generation, "authd", &format!("authd {uri}")), uri);
    }
    let output = host.run("client", "c", "authd", "authd ftp://example.com/authd", "x");
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing here speaks"), "{output:?}");
    host.harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_keeps_its_datagrams_apart() {
    let host = host(None);
    let there = UdpSocket::bind("127.0.0.1:0").unwrap();
    let name = format!("udp://{}", there.local_addr().unwrap());
    let (reply, descriptor) = host.harness.program().connect(&name);
    assert_eq!(reply.connected.unwrap().socket, Socket::Udp);
    let here = UdpSocket::from(descriptor.unwrap());
    here.send(b"one").unwrap();
    here.send(b"two").unwrap();
    let mut bytes = [0; 64];
    assert_eq!(there.recv(&mut bytes).unwrap(), 3);
    assert_eq!((there.recv(&mut bytes).unwrap(), &bytes[..3]), (3, &b"two"[..]));
    host.harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_protocol_honours_the_map_and_says_what_is_wrong_with_a_uri() {
    let host = host(None);
    let address = echo();
    let program = host.harness.program();
    let ask = |name: &str, network: &str| {
        let network = Some(network.to_owned());
        program.ask(&Request { network, ..Request::about(Operation::Connect, name) })
    };
    let (reply, descriptor) = ask("web", &format!("web tcp://{address}"));
    assert_eq!(&*reply.connected.unwrap().to, format!("tcp://{address}"));
    assert!(descriptor.is_some());
    for (uri, kind) in [
        ("tcp://host/a/b", ProblemKind::Malformed),
        ("tcp://127.0.0.1", ProblemKind::Malformed),
        ("unix:///../broker.sock", ProblemKind::Malformed),
        ("unix:///nobody", ProblemKind::Unknown),
        ("quic://other/web", ProblemKind::Unsupported),
        ("tls://user@passwd:127.0.0.1:1/web", ProblemKind::Malformed),
        ("tcp://127.0.0.1:1/web", ProblemKind::Unreachable),
    ] {
        let problem = ask("web", &format!("web {uri}")).0.error.unwrap();
        assert_eq!(problem.kind, kind, "{uri}: {problem}");
        assert!(!problem.message.contains("passwd"), "{problem}");
    }
    host.harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_led_out_of_the_folder() {
    let host = host(None);
    let outside = host.folders.path().join("outside.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&outside).unwrap();
    let folder = host.folder("zig");
    std::os::unix::fs::symlink(&outside, Path::new(&folder).join("innocent")).unwrap();
    for name in ["innocent", "ipc"] {
        let (reply, descriptor) = host.harness.program().connect(&format!("unix:///{name}"));
        assert!(reply.error.is_some() && descriptor.is_none(), "{name}: {reply:?}");
    }
    host.harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_frames_and_giant_ones_come_to_nothing() {
    let host = host(None);
    for (generation, socket) in [("c", "network"), ("zig", "ipc")] {
        let path = Path::new(&host.folder(generation)).join(socket);
        for bytes in [
            &b"\x03\xff\xff\xff\xff\x03"[..],
            b"\0\xff\xff\xff",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x02\0\0\0\x01\0x",
        ] {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(bytes).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(!answer.ends_with(b"ok"), "{bytes:?}");
        }
        let mut gone = UnixStream::connect(&path).unwrap();
        gone.write_all(b"\0\0").unwrap();
    }
    eventually("those who vanish are forgotten", || host.harness.count("broker_callers") == 0);
    host.harness.stop().await;
}
