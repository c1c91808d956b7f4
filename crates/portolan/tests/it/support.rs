//! A daemon as a child process, and the command line pointed at it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_portolan");

/// Longest that anything is waited for; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until there is something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Every listener on a free port of loopback, and no broker socket: the usual place is for one daemon of a host.
pub(crate) const FREE_PORTS: [&str; 10] = [
    "--set",
    "broker.socket=",
    "--set",
    "api.listen=127.0.0.1:0",
    "--set",
    "dns.listen=127.0.0.1:0",
    "--set",
    "proxy.named=127.0.0.1:0",
    "--set",
    "proxy.http.listen=127.0.0.1:0",
];

/// A running daemon. Dropping it kills it.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    /// Addresses by what listens there: `HTTP API`, `DNS`, …
    pub(crate) addresses: BTreeMap<String, SocketAddr>,
}

impl Daemon {
    /// `portolan dev` with these further arguments.
    pub(crate) fn dev(arguments: &[&str]) -> Daemon {
        Daemon::start(Command::new(PROGRAM).arg("dev").args(FREE_PORTS).args(arguments))
    }

    /// `portolan serve` on this data directory.
    pub(crate) fn serve(data_dir: &Path, arguments: &[&str]) -> Daemon {
        Daemon::start(Daemon::serving(data_dir).args(arguments))
    }

    /// The command that [`Daemon::serve`] starts.
    pub(crate) fn serving(data_dir: &Path) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg("--data-dir").arg(data_dir).args(FREE_PORTS);
        // Allocating 64 MiB for each of many short lives would only wear the disk.
        command.args(["--set", "storage.segment_size=8MiB"]);
        command
    }

    /// Starts it and waits until it serves.
    pub(crate) fn start(command: &mut Command) -> Daemon {
        match Daemon::try_start(command) {
            Ok(daemon) => daemon,
            Err(text) => panic!("the daemon did not start: {text}"),
        }
    }

    /// The same; what it said on standard error when it ended instead.
    pub(crate) fn try_start(command: &mut Command) -> Result<Daemon, String> {
        let mut child = clean(command)
            .args(["--log-format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = follow(&mut child, log.clone());
        let mut addresses = BTreeMap::new();
        let mut said = String::new();
        loop {
            let Ok(line) = lines.recv_timeout(PATIENCE) else {
                // The end of its standard error is the end of it.
                let _ = child.kill();
                let _ = child.wait();
                return Err(said);
            };
            said.push_str(&line);
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            match event["fields"]["message"].as_str() {
                Some("listening") => {
                    let field = |name: &str| event["fields"][name].as_str().unwrap().to_owned();
                    addresses.insert(field("face"), field("address").parse().unwrap());
                }
                Some("serving") => return Ok(Daemon { child, log, addresses }),
                _ => {}
            }
        }
    }

    /// Where the API is.
    pub(crate) fn api(&self) -> String {
        self.addresses["HTTP API"].to_string()
    }

    /// Runs the command line against it.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        clean(Command::new(PROGRAM).args(arguments)).env("PORTOLAN_ADDR", self.api()).output().unwrap()
    }

    /// The same where it must succeed: its standard output.
    pub(crate) fn say(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        eventually("the daemon to end", || self.child.try_wait().unwrap())
    }

    /// Waits until it has logged this message; its fields.
    pub(crate) fn logged(&self, message: &str) -> Value {
        eventually(message, || {
            let log = self.log.lock().unwrap();
            log.iter().find(|event| event["fields"]["message"] == message).map(|e| e["fields"].clone())
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads standard error for as long as there is any, so that the child never waits for a reader.
fn follow(child: &mut Child, log: Arc<Mutex<Vec<Value>>>) -> Receiver<String> {
    let stderr = child.stderr.take().unwrap();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            let Ok(line) = line else { return };
            if let Ok(event) = serde_json::from_str(&line) {
                log.lock().unwrap().push(event);
            }
            // Nobody waits for the start any more.
            let _ = sender.send(line + "\n");
        }
    });
    receiver
}

/// Without what the environment of the tests says about the daemon.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_str().is_some_and(|name| {
            name.starts_with("PORTOLAN_") || name.starts_with("CONSUL_") || name == "RUST_LOG"
        });
        if is_ours {
            command.env_remove(name);
        }
    }
    command
}

/// One HTTP request to the API or to a proxy: status and body.
pub(crate) fn http(address: SocketAddr, host: &str, path: &str) -> std::io::Result<(u16, String)> {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned());
    Ok((status, body))
}
