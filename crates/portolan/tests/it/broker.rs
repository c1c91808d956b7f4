//! Connections as descriptors, from a real daemon.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use sys::pass::Passing as _;

use crate::support::{Daemon, PROGRAM, clean};

struct Host {
    daemon: Daemon,
    socket: String,
    _folder: tempfile::TempDir,
}

/// A daemon with a broker of its own, and a service that repeats.
fn host() -> Host {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("broker.sock").to_str().unwrap().to_owned();
    let daemon = Daemon::dev(&["--set", &format!("broker.socket={socket}")]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut to = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut stream, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    daemon.say(&["register", "echo", "--port", &port, "--address", "127.0.0.1"]);
    Host { daemon, socket, _folder: folder }
}

impl Host {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        clean(command.args(arguments)).env("PORTOLAN_BROKER", &self.socket);
        command
    }
}

/// What a program that passes a connection on leaves on its standard output.
fn passed(mut command: Command) -> OwnedFd {
    let (here, there) = UnixStream::pair().unwrap();
    let status = command.stdin(Stdio::null()).stdout(OwnedFd::from(there)).status().unwrap();
    assert!(status.success());
    let mut byte = [7; 8];
    let packet = here.as_fd().receive(&mut byte).unwrap();
    assert_eq!((packet.length, packet.descriptors.len()), (1, 1), "one byte, one descriptor");
    packet.descriptors.into_iter().next().unwrap()
}

#[test]
fn the_connection_is_passed_on_and_outlives_the_daemon() {
    let host = host();
    let by_name = TcpStream::from(passed(host.command(&["connect", "echo", "--fdpass"])));
    let by_ssh = TcpStream::from(passed(host.command(&["ssh-proxy", "echo.svc.internal", "22"])));
    drop(host);
    for mut stream in [by_name, by_ssh] {
        stream.write_all(b"still here").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "still here");
    }
}

#[test]
fn standard_input_and_output_are_joined_to_the_service() {
    let host = host();
    for arguments in [&["connect", "echo"][..], &["ssh-proxy", "echo", "22"]] {
        let mut child = host.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"there and back").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"there and back"[..]));
    }
}

#[test]
fn refusals_have_exit_codes() {
    let host = host();
    let code =
        |arguments: &[&str]| host.command(arguments).stdin(Stdio::null()).output().unwrap().status.code();
    assert_eq!(code(&["connect", "nobody"]), Some(3));
    assert_eq!(code(&["connect", "nobody", "--fdpass"]), Some(3));
    assert_eq!(code(&["connect", "echo", "--fdpass"]), Some(2), "standard output is no Unix socket");
    assert_eq!(code(&["connect", "echo", "--broker", "/nowhere/broker.sock"]), Some(5));
    assert_eq!(code(&["ssh-proxy", "-oProxyCommand=x", "22"]), Some(2));
    let _ = &host.daemon;
}
