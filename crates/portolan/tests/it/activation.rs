//! Sockets that a service manager opened, and services that programs offer by one.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use client::broker::Broker;
use consul::broker::Socket;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Daemon, FREE_PORTS, PROGRAM, clean, eventually, http};

/// Asked to leave when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A daemon that is handed this socket by this name, as systemd does it.
fn activated(name: &str, socket: OwnedFd, data: &std::path::Path) -> Running {
    let mut command = Command::new(PROGRAM);
    command.args(["activated", name, "--", PROGRAM, "serve"]).args(FREE_PORTS);
    command.args(["--set", "storage.segment_size=8MiB", "--data-dir"]).arg(data);
    Running(clean(&mut command).stdin(socket).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn programs_ask_before_the_daemon_runs_and_their_socket_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.sock");
    let listener = sys::pass::listen_seqpacket(&path, 0o600).unwrap();
    let early = Broker::at(&path).unwrap().within(Duration::from_secs(60)).unwrap();
    let asking = std::thread::spawn(move || early.list());
    let daemon = activated("broker", listener.try_clone().unwrap(), &folder.path().join("data"));
    asking.join().unwrap().unwrap();
    drop(daemon);
    assert!(path.exists(), "it is the service manager's");
    let _daemon = activated("broker", listener, &folder.path().join("data"));
    let late = Broker::at(&path).unwrap().within(Duration::from_secs(60)).unwrap();
    late.list().unwrap();
}

#[test]
fn the_api_is_where_the_service_manager_listens() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _daemon = activated("api", listener.into(), &folder.path().join("data"));
    let answer = eventually("an answer", || http(address, "localhost", "/readyz").ok());
    assert_eq!(answer.0, 200, "{}", answer.1);
}

#[test]
fn a_program_is_a_service_for_as_long_as_it_stays() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("broker.sock");
    let daemon = Daemon::dev(&["--set", &format!("broker.socket={}", socket.display())]);
    let program = Broker::at(&socket).unwrap();
    let listener = UnixListener::bind(folder.path().join("service.sock")).unwrap();
    let (offered, made) = program.offer("lent", Some(listener.as_fd())).unwrap();
    assert!(&*offered.service == "lent" && made.is_none());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"lent to you");
        }
    });
    // By a descriptor of the program's own.
    let other = Broker::at(&socket).unwrap();
    let (descriptor, connected) = eventually("the service is known", || other.connect("lent").ok());
    assert_eq!((connected.socket, connected.relayed), (Socket::Unix, false));
    let mut said = String::new();
    UnixStream::from(descriptor).read_to_string(&mut said).unwrap();
    assert_eq!(said, "lent to you");
    // By its port, where everybody else is led.
    let found = daemon.say(&["instances", "lent", "--output", "json"]);
    assert!(found.contains(&*offered.instance), "{found}");
    let resolved = daemon.say(&["resolve", "lent"]);
    let address =
        resolved.lines().find_map(|line| line.split_whitespace().find_map(|word| word.parse().ok()));
    let address: std::net::SocketAddr = address.unwrap_or_else(|| panic!("no address in {resolved:?}"));
    let mut said = String::new();
    std::net::TcpStream::connect(address).unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "lent to you");
    drop(program);
    eventually("the service is gone", || other.connect("lent").err());
    let _ = daemon.api();
}
