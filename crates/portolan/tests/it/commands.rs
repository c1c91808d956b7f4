//! Every command against a real daemon.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Daemon, PROGRAM, clean, eventually};

#[test]
fn instances_come_and_go() {
    let daemon = Daemon::dev(&["--node", "alpha"]);
    let args = ["register", "web", "--port", "8080", "--tag", "v1", "--meta", "owner=shop"];
    assert_eq!(daemon.say(&args), "registered web as instance web-8080\n");
    let services = daemon.say(&["services"]);
    assert!(services.lines().nth(1).unwrap().starts_with("web"), "{services}");
    let instances: Value = serde_json::from_str(&daemon.say(&["instances", "--output", "json"])).unwrap();
    assert_eq!(instances[0]["Service"]["ID"], "web-8080");
    assert_eq!(instances[0]["Service"]["Meta"]["owner"], "shop");
    assert_eq!(instances[0]["Node"]["Node"], "alpha");
    assert!(daemon.say(&["nodes"]).contains("alpha"));
    let resolved: Value = serde_json::from_str(&daemon.say(&["resolve", "web", "--output", "json"])).unwrap();
    assert_eq!((&resolved["Endpoints"][0]["Port"], &resolved["Registered"]), (&8080.into(), &1.into()));
    assert_eq!(daemon.cli(&["deregister", "nobody", "web-8080"]).status.code(), Some(6));
    assert_eq!(daemon.cli(&["deregister", "web-8080"]).status.code(), Some(3));
    assert_eq!(daemon.say(&["services", "--output", "jsonl"]), "");
}

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let daemon = Daemon::dev(&[]);
    let code = |arguments: &[&str]| daemon.cli(arguments).status.code();
    assert_eq!(code(&["resolve", "nobody"]), Some(3));
    assert_eq!(code(&["kv", "get", "nothing"]), Some(3));
    assert_eq!(code(&["register", "no spaces"]), Some(2));
    assert_eq!(code(&["no-such-command"]), Some(2));
    assert_eq!(code(&["services", "--api", "127.0.0.1:1"]), Some(5));
    assert_eq!(code(&["services", "--api", "ftp://x/"]), Some(2));
    let output = daemon.cli(&["resolve", "nobody", "--output", "json"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["exit"], error["error"].as_str().unwrap().contains("nobody")), (&3.into(), true));
}

#[test]
fn keys_are_set_compared_and_deleted() {
    let daemon = Daemon::dev(&[]);
    daemon.say(&["kv", "put", "app/a", "one"]);
    assert_eq!(daemon.say(&["kv", "get", "app/a"]), "one");
    let listed: Value =
        serde_json::from_str(&daemon.say(&["kv", "list", "app/", "--output", "json"])).unwrap();
    let index = listed[0]["ModifyIndex"].to_string();
    daemon.say(&["kv", "put", "app/a", "two", "--cas", &index]);
    assert_eq!(daemon.cli(&["kv", "put", "app/a", "three", "--cas", &index]).status.code(), Some(1));
    assert_eq!(daemon.say(&["kv", "get", "app/a"]), "two");
    let mut put = clean(Command::new(PROGRAM).args(["kv", "put", "app/b", "--api", &daemon.api()]))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    put.stdin.take().unwrap().write_all(b"from\0stdin").unwrap();
    assert!(put.wait().unwrap().success());
    assert_eq!(daemon.cli(&["kv", "get", "app/b"]).stdout, b"from\0stdin");
    daemon.say(&["kv", "delete", "app/", "--recurse"]);
    assert_eq!(daemon.say(&["kv", "list"]).lines().count(), 1, "only the heads of the columns are left");
}

#[test]
fn watch_shows_whole_states_as_they_change() {
    let daemon = Daemon::dev(&[]);
    for list in ["services", "instances"] {
        let mut watch = clean(Command::new(PROGRAM).args([list, "--watch", "--output", "jsonl"]))
            .args(["--api", &daemon.api()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut states = BufReader::new(watch.stdout.take().unwrap()).lines().map(|line| {
            let state: Value = serde_json::from_str(&line.unwrap()).unwrap();
            state["items"].as_array().unwrap().len()
        });
        assert_eq!(states.next(), Some(0), "{list}");
        daemon.say(&["register", "web", "--port", "80"]);
        assert!(states.any(|shown| shown == 1), "{list}");
        daemon.say(&["deregister", "web-80"]);
        assert!(states.any(|shown| shown == 0), "{list}");
        watch.kill().unwrap();
        watch.wait().unwrap();
    }
}

/// Answers one connection with what it heard, in capitals.
fn shouting_service() -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        stream.write_all(heard.to_uppercase().as_bytes()).unwrap();
    };
    (port, std::thread::spawn(serve))
}

#[test]
fn connect_joins_standard_input_and_output_to_a_service() {
    let daemon = Daemon::dev(&[]);
    let (port, service) = shouting_service();
    daemon.say(&["register", "echo", "--port", &port.to_string()]);
    let mut connect = clean(Command::new(PROGRAM).args(["connect", "echo", "--api", &daemon.api()]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    connect.stdin.take().unwrap().write_all(b"hello").unwrap();
    assert_eq!(connect.wait_with_output().unwrap().stdout, b"HELLO");
    service.join().unwrap();
    assert_eq!(daemon.cli(&["connect", "echo"]).status.code(), Some(5), "nobody listens there any more");
    assert_eq!(daemon.cli(&["connect", "nobody"]).status.code(), Some(3));
}

#[test]
fn the_virtual_address_and_both_proxies_reach_a_service() {
    let daemon = Daemon::dev(&[]);
    let reach = |first: &[u8], address: std::net::SocketAddr| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(first).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        heard
    };
    let (port, service) = shouting_service();
    daemon.say(&["register", "echo", "--port", &port.to_string()]);
    let resolved: Value =
        serde_json::from_str(&daemon.say(&["resolve", "echo", "--output", "json"])).unwrap();
    let address = &resolved["Virtual"];
    assert_eq!(address["Open"], true, "{resolved}");
    let address = format!("{}:{}", address["Address"].as_str().unwrap(), address["Port"]);
    assert_eq!(reach(b"", address.parse().unwrap()), "HELLO");
    service.join().unwrap();

    let (port, service) = shouting_service();
    daemon.say(&["register", "echo", "--id", "again", "--port", &port.to_string()]);
    daemon.say(&["deregister", resolved["Endpoints"][0]["ID"].as_str().unwrap()]);
    eventually("the proxy to know the second instance", || {
        let services = daemon.say(&["instances", "echo"]);
        (services.contains("again") && services.lines().count() == 2).then_some(())
    });
    assert_eq!(reach(b"echo\n", daemon.addresses["TCP proxy"]), "HELLO");
    service.join().unwrap();
}

/// `portolan run` around `sh -c script`, with its output captured.
fn run(daemon: &Daemon, arguments: &[&str], script: &str) -> std::process::Child {
    clean(Command::new(PROGRAM).args(["run", "job", "--api", &daemon.api()]).args(arguments))
        .args(["--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn run_registers_a_command_for_as_long_as_it_runs() {
    let daemon = Daemon::dev(&[]);
    let child = run(&daemon, &["--port", "auto"], "echo $PORT $PORTOLAN_SERVICE $PORTOLAN_INSTANCE; exit 7");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    let said = String::from_utf8(output.stdout).unwrap();
    let [port, service, instance] = said.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert_eq!((service, instance), ("job", &*format!("job-{port}")));
    assert_eq!(daemon.say(&["services", "--output", "jsonl"]), "", "it is gone with its command");
    let missing = daemon.cli(&["run", "job", "--", "/nonexistent/program"]);
    assert_eq!(missing.status.code(), Some(127));
    assert_eq!(daemon.cli(&["run", "job", "--api", "127.0.0.1:1", "--", "true"]).status.code(), Some(5));
}

#[test]
fn run_withdraws_first_and_passes_the_signal_on() {
    let daemon = Daemon::dev(&[]);
    let script = format!(
        "trap '{PROGRAM} services --output jsonl --api {}; exit 9' TERM; echo ready; while :; do sleep 0.05; done",
        daemon.api()
    );
    let mut child = run(&daemon, &["--port", "auto"], &script);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    assert!(daemon.say(&["services"]).contains("job"));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(lines.next(), None, "when the command heard of it, its name was gone");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(PROGRAM).args(["completions", shell]).output().unwrap();
        assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("deregister"));
    }
}
