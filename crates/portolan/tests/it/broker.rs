//! Connections as descriptors, from a real daemon.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sys::pass::Passing as _;

use crate::support::{Daemon, PROGRAM, clean, eventually};

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

fn root() -> &'static std::path::Path {
    std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A process that is asked to leave when dropped: `run` takes its command along then, and would not when killed.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// What the command says once it succeeds; a service that has just begun may not be known yet.
fn in_the_end(what: &str, mut command: impl FnMut() -> Command) -> String {
    eventually(what, || {
        let output = command().stdin(Stdio::null()).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    })
}

#[test]
fn pong_is_spoken_in_c_and_in_python_over_sockets_that_were_handed_over() {
    let host = host();
    let folder = tempfile::tempdir().unwrap();
    let in_c = folder.path().join("pong");
    let compiled = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-I", "crates/client/c", "-o"])
        .arg(&in_c)
        .args(["examples/pong/pong.c", "crates/client/c/portolan.c"])
        .current_dir(root())
        .status();
    let has_python =
        Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !compiled.is_ok_and(|status| status.success()) || !has_python {
        println!("skipped: no C compiler or no python3");
        return;
    }
    let python = ["python3".to_owned(), root().join("examples/pong/pong.py").to_str().unwrap().to_owned()];
    let programs = [vec![in_c.to_str().unwrap().to_owned()], python.to_vec()];
    let api = host.daemon.api();
    for (number, service) in programs.iter().enumerate() {
        let name = format!("pong{number}");
        let mut run = host.command(&["run", &name, "--listen", "--api", &api, "--quiet", "--"]);
        let _service = Running(run.args(service).arg("serve").spawn().unwrap());
        for client in &programs {
            let ask = |to: &str| {
                let mut command = Command::new(&client[0]);
                clean(command.args(&client[1..]).arg(to))
                    .env_remove("IPC_NETWORK")
                    .env("PORTOLAN_BROKER", &host.socket);
                command
            };
            assert_eq!(in_the_end(&name, || ask(&name)), "pong\n", "{client:?} asks {service:?}");
            let by_map = || {
                let mut command = ask("other");
                command.env("IPC_NETWORK", format!("other {name}"));
                command
            };
            assert_eq!(in_the_end("the map is honoured", by_map), "pong\n");
            let refused = ask("nobody").output().unwrap();
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && said.contains("no service named \"nobody\""), "{said}");
        }
    }
}

#[test]
fn a_command_with_a_socket_of_systemds_is_offered_without_a_port_of_its_own() {
    let host = host();
    let service = root().join("examples/pong/pong.py");
    let mut run = host.command(&["run", "--listen", "--unix", "pong", "--quiet", "--"]);
    run.env("PORTOLAN_BROKER", &host.socket).arg("python3").arg(&service).arg("serve");
    let Ok(child) = run.spawn() else { return println!("skipped: the command does not start") };
    let running = Running(child);
    let ask = || {
        let mut command = Command::new("python3");
        clean(command.arg(&service).arg("pong"))
            .env_remove("IPC_NETWORK")
            .env("PORTOLAN_BROKER", &host.socket);
        command
    };
    if ask().output().is_err() {
        return println!("skipped: no python3");
    }
    assert_eq!(in_the_end("the offer", ask), "pong\n");
    // The descriptor is of a Unix socket: no port was in between.
    let found = host.daemon.say(&["explain", "pong", "--output", "json"]);
    assert!(found.contains("pong-offered-"), "{found}");
    drop(running);
    eventually("it is withdrawn with the command", || {
        (!host.daemon.say(&["services", "--output", "json"]).contains("pong")).then_some(())
    });
}

#[test]
fn inetd_services_are_run_for_each_connection() {
    let host = host();
    let api = host.daemon.api();
    let mut run = host.command(&["run", "cat", "--inetd", "--api", &api, "--quiet", "--", "cat"]);
    let _service = Running(run.spawn().unwrap());
    let answer = in_the_end("the service", || {
        let mut command = Command::new("sh");
        clean(&mut command).env("PORTOLAN_BROKER", &host.socket).env("PROGRAM", PROGRAM);
        command.args(["-c", "echo there and back | \"$PROGRAM\" connect cat"]);
        command
    });
    assert_eq!(answer, "there and back\n");
}

#[test]
fn a_port_and_a_socket_are_forwarded_to_a_service() {
    let host = host();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    for place in ["0", path.to_str().unwrap()] {
        let mut forward = host.command(&["forward", place, "echo"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let out = forward.stdout.take().unwrap();
        let _forward = Running(forward);
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).unwrap();
        let at = said.trim().strip_prefix("listening on ").unwrap();
        let mut heard = [0; 5];
        if place == "0" {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(b"hello").unwrap();
            stream.read_exact(&mut heard).unwrap();
        } else {
            let mut stream = UnixStream::connect(at).unwrap();
            stream.write_all(b"hello").unwrap();
            stream.read_exact(&mut heard).unwrap();
        }
        assert_eq!(&heard, b"hello");
    }
}
