//! Messages in one order: by the command line, a Unix socket and a FIFO, over a daemon that is killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::support::{Daemon, PROGRAM, eventually};

fn subscriber(api: &str, count: usize) -> Child {
    Command::new(PROGRAM)
        .args(["subscribe", "orders", "--from", "1", "--numbered", "--count", &count.to_string()])
        .env("PORTOLAN_ADDR", api)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn every_line_comes_once_and_in_one_order_while_the_daemon_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::serve(folder.path(), &[]);
    let api = daemon.api();
    let listen = format!("api.listen={api}");
    let mut subscriber = subscriber(&api, 400);
    let mut publisher = Command::new(PROGRAM)
        .args(["publish", "orders", "--timeout", "30s"])
        .env("PORTOLAN_ADDR", &api)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = publisher.stdin.take().unwrap();
    let mut answers = BufReader::new(publisher.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    for number in 1..=400 {
        writeln!(lines, "line {number}").unwrap();
        if number % 2 == 0 {
            // At most two on their way, so that the kill meets some of each kind.
            acknowledged.push(answers.next().unwrap().unwrap());
        }
        if number % 150 == 0 {
            daemon.signal(Signal::KILL);
            daemon.ended();
            daemon = Daemon::serve(folder.path(), &["--set", &listen]);
        }
    }
    drop(lines);
    acknowledged.extend(answers.map(Result::unwrap));
    assert!(publisher.wait().unwrap().success());
    let expected: Vec<_> = (1..=400).map(|number| number.to_string()).collect();
    assert_eq!(acknowledged, expected, "each is acknowledged with its number");
    let out = subscriber.stdout.take().unwrap();
    let seen: Vec<_> = BufReader::new(out).lines().map(Result::unwrap).collect();
    let expected: Vec<_> = (1..=400).map(|number| format!("{number} line {number}")).collect();
    assert_eq!(seen, expected);
    assert!(subscriber.wait().unwrap().success());
}

#[test]
fn programs_without_http_use_a_socket_and_a_fifo() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, fifo) = (folder.path().join("topics.sock"), folder.path().join("orders.fifo"));
    let set_socket = format!("topics.socket={}", socket.display());
    let set_fifo = format!("topics.fifos=[{{ path = \"{}\", topic = \"orders\" }}]", fifo.display());
    let daemon = Daemon::dev(&["--set", &set_socket, "--set", &set_fifo]);
    daemon.logged("taking lines for topics");
    daemon.logged("publishing the lines of a FIFO");

    let mut reading = UnixStream::connect(&socket).unwrap();
    reading.write_all(b"subscribe orders 1\n").unwrap();
    let mut seen = BufReader::new(reading.try_clone().unwrap()).lines();
    let mut writing = UnixStream::connect(&socket).unwrap();
    writing.write_all(b"publish orders\nfirst\nsecond\n").unwrap();
    let mut answers = BufReader::new(writing.try_clone().unwrap()).lines();
    assert_eq!([(); 2].map(|()| answers.next().unwrap().unwrap()), ["1", "2"]);
    std::fs::write(&fifo, "third\n").unwrap();
    assert_eq!([(); 3].map(|()| seen.next().unwrap().unwrap()), ["1 5 first", "2 6 second", "3 5 third"]);

    writing.write_all(&vec![b'x'; 600 << 10]).unwrap();
    let refused = eventually("a refusal", || answers.next()).unwrap();
    assert!(refused.starts_with("error: a line is larger than"), "{refused}");
    let mut odd = UnixStream::connect(&socket).unwrap();
    odd.write_all(b"hello\n").unwrap();
    let said = BufReader::new(odd).lines().next().unwrap().unwrap();
    assert!(said.starts_with("error: the first line is"), "{said}");
}
