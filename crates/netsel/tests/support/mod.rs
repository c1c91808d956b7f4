//! A network of our own for tests that need the seed's fixed ports, and processes that end with their test.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking, like tests"
)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Set inside the network.
const INSIDE: &str = "NETSEL_TEST_OWN_NETWORK";
/// What a shell does there first.
const SET_UP: &str = "ip link set lo up && exec \"$0\" \"$@\"";

/// True inside a network namespace that holds nothing but a loopback device. Outside, this runs the test of
/// that name again inside of one, sees to it that it passes, and returns false: then there is nothing left
/// to do.
pub(crate) fn in_own_network(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "sh", "-c", SET_UP]);
        command
    };
    let probe = unshare().arg("true").stdin(Stdio::null()).output();
    match probe {
        Ok(probe) if probe.status.success() => {}
        Ok(probe) => {
            println!("skipped: no network namespace: {}", String::from_utf8_lossy(&probe.stderr).trim());
            return false;
        }
        Err(cause) => {
            println!("skipped: no network namespace: run unshare: {cause}");
            return false;
        }
    }
    let mut inside = unshare();
    inside.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture", "--test-threads=1"]);
    let status = inside.env(INSIDE, "1").stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{test} in a network of its own: {status}");
    false
}

/// An example of this package, as cargo built it for its tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().unwrap().parent().unwrap().join("examples").join(name)
}

/// A running program with the lines that it prints.
pub(crate) struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Program {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                println!("    {line}");
                let _ = sender.send(line);
            }
        });
        Program { child, lines }
    }

    /// The lines up to one that begins so, it included.
    pub(crate) fn lines_until(&self, beginning: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let is_last = line.starts_with(beginning);
                    seen.push(line);
                    if is_last {
                        return seen;
                    }
                }
                Err(_) => panic!("no line {beginning:?} among {seen:#?}"),
            }
        }
    }

    /// Interrupts it, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    /// Its end, with the lines that nobody has read.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.lines.iter().collect());
            }
            assert!(Instant::now() < deadline, "a program does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// True when every one of `wanted` is among `lines`, in that order.
pub(crate) fn in_order(lines: &[String], wanted: &[&str]) -> bool {
    let mut lines = lines.iter();
    wanted.iter().all(|wanted| lines.any(|line| line == wanted))
}
