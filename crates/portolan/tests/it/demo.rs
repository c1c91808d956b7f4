//! The demo succeeds, fails when it should, and leaves nothing behind.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{PROGRAM, clean, eventually};

fn start() -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = clean(Command::new(PROGRAM).arg("demo"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

/// Name and pid of every service, from the line that names them.
fn services(stdout: &mut impl std::io::BufRead) -> Vec<(String, Pid)> {
    let line =
        stdout.lines().map(Result::unwrap).find(|line| line.contains("all pass their checks")).unwrap();
    let (_, list) = line.split_once("checks: ").unwrap();
    let service = |part: &str| {
        let (name, rest) = part.split_once(" (pid ").unwrap();
        let pid = rest.split(',').next().unwrap().parse().unwrap();
        (name.to_owned(), Pid::from_raw(pid).unwrap())
    };
    list.split("), ").map(service).collect()
}

fn all_gone(services: &[(String, Pid)]) {
    eventually("every service to be gone", || {
        services.iter().all(|(_, pid)| test_kill_process(*pid).is_err()).then_some(())
    });
}

#[test]
fn every_step_is_green() {
    let (mut child, mut stdout) = start();
    let services = services(&mut stdout);
    let mut told = String::new();
    stdout.read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{told}");
    assert!(told.contains("9 steps, all green"), "{told}");
    all_gone(&services);
}

#[test]
fn a_service_that_dies_fails_it() {
    let (mut child, mut stdout) = start();
    let services = services(&mut stdout);
    let (_, web) = services.iter().find(|(name, _)| name == "web-2").unwrap();
    kill_process(*web, Signal::KILL).unwrap();
    let mut told = String::new();
    stdout.read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{told}");
    assert!(told.contains('✗') && !told.contains("all green"), "{told}");
    all_gone(&services);
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let (mut child, mut stdout) = start();
    let services = services(&mut stdout);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    all_gone(&services);
}

#[test]
fn even_kill_9_leaves_nothing_behind() {
    let (mut child, mut stdout) = start();
    let services = services(&mut stdout);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    all_gone(&services);
}
