//! The real daemon on one of the hosts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use peers::{Running, until};
use rustix::process::Signal;
use serde_json::Value;

use crate::LIMIT;
use crate::clock::Clock;
use crate::error::{Failure, Missing};
use crate::host::Host;
use crate::http::{self, Answer, NoAnswer, Request};

/// Every host has its own loopback, so every daemon has the port that people know.
pub(crate) const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8500);

/// How a daemon is started, and started again.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    host: &'a Host,
    program: PathBuf,
    data: PathBuf,
    settings: Vec<String>,
    environment: Vec<(&'static str, String)>,
    clock: Option<&'a Clock>,
    token: Option<String>,
}

impl<'a> Start<'a> {
    /// On this host, with its data here.
    ///
    /// # Errors
    /// The binary is missing: a reason to skip.
    pub fn new(host: &'a Host, data: impl Into<PathBuf>) -> Result<Start<'a>, Missing> {
        let program = peers::portolan()?;
        // Allocating 64 MiB for each of many short lives would only wear the disk.
        let settings = vec!["storage.segment_size=8MiB".to_owned(), format!("node.name={}", host.name)];
        Ok(Start {
            host,
            program,
            data: data.into(),
            settings,
            environment: Vec::new(),
            clock: None,
            token: None,
        })
    }

    /// Where it runs.
    pub fn host(&self) -> &'a Host {
        self.host
    }

    /// Where its data is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// With one more setting, `key=value`.
    pub fn set(mut self, setting: impl Into<String>) -> Self {
        self.settings.push(setting.into());
        self
    }

    /// With a variable in its environment.
    pub fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// With its data in another place.
    pub fn at(mut self, data: impl Into<PathBuf>) -> Self {
        self.data = data.into();
        self
    }

    /// By this clock.
    pub fn by(mut self, clock: &'a Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Requests carry this token.
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// A `portolan` command on this host with this data directory in its environment, and nothing of the
    /// tests' own.
    pub fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(&self.program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["PORTOLAN_", "CONSUL_"].iter().any(|ours| name.starts_with(ours)) || name == "RUST_LOG" {
                command.env_remove(&*name);
            }
        }
        // The command line finds the daemon of a data directory by its Unix socket, and is known there.
        command.env("PORTOLAN_NODE__DATA_DIR", &self.data);
        command.args(arguments).current_dir(self.data.parent().unwrap_or(&self.data));
        if let Some(clock) = self.clock {
            clock.give_to(&mut command);
        }
        command
    }

    /// Whether the binary has the commands for it.
    pub(crate) fn makes_clusters(&self) -> bool {
        let asked = Command::new(&self.program).args(["init", "--help"]).output();
        asked.is_ok_and(|output| output.status.success())
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or does not become ready.
    pub fn run(&self) -> Result<Daemon<'a>, Failure> {
        let mut daemon = self.launch()?;
        let Daemon { process, host, .. } = &mut daemon;
        let ready = || {
            let request = Request::new("GET", "/readyz");
            let answer = host.enter(|| http::ask(API, Duration::from_secs(2), &request));
            answer.is_ok_and(|answer| answer.status == 200)
        };
        process.wait_until(LIMIT, "/readyz", ready).map_err(|error| Failure::Daemon(error.to_string()))?;
        Ok(daemon)
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn launch(&self) -> Result<Daemon<'a>, Failure> {
        let folder = self.data.parent().unwrap_or(&self.data);
        std::fs::create_dir_all(folder).map_err(Failure::io(format!("make {}", folder.display())))?;
        let mut command = self.cli(&["serve"]);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let process = Running::start(&mut command).map_err(|error| Failure::Daemon(format!("{error:?}")))?;
        Ok(Daemon { host: self.host, process, start: self.clone() })
    }
}

/// A running daemon; it ends with the value.
pub struct Daemon<'a> {
    /// Where it runs.
    pub host: &'a Host,
    process: Running,
    start: Start<'a>,
}

impl Daemon<'_> {
    /// One request to its API from its own host.
    ///
    /// # Errors
    /// Nobody listens, or the answer does not come within `limit`.
    pub fn ask(&self, limit: Duration, method: &str, path: &str, body: &str) -> Result<Answer, NoAnswer> {
        let request = Request { body, token: self.start.token.as_deref(), ..Request::new(method, path) };
        self.host.enter(|| http::ask(API, limit, &request))
    }

    /// A PUT that must succeed; its body.
    ///
    /// # Errors
    /// No answer, or another status than 200.
    pub fn put(&self, path: &str, body: &str) -> Result<String, Failure> {
        self.must("PUT", path, body)
    }

    /// A GET that must succeed, as JSON.
    ///
    /// # Errors
    /// No answer, another status than 200, or no JSON.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        let body = self.must("GET", path, "")?;
        serde_json::from_str(&body).map_err(|cause| Failure::Daemon(format!("GET {path}: {cause}: {body}")))
    }

    fn must(&self, method: &str, path: &str, body: &str) -> Result<String, Failure> {
        let name = &self.host.name;
        match self.ask(LIMIT, method, path, body) {
            Ok(answer) if answer.status == 200 => Ok(answer.body),
            Ok(answer) => Err(Failure::Daemon(format!("{method} {path} on {name}: {answer:?}"))),
            Err(error) => Err(Failure::Daemon(format!("{method} {path} on {name}: {error:?}"))),
        }
    }

    /// Requests carry this token from now on.
    pub fn use_token(&mut self, token: &str) {
        self.start.token = Some(token.to_owned());
    }

    /// Runs the command line against it, on its host.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output, Failure> {
        self.start.cli(arguments).output().map_err(Failure::io("run portolan"))
    }

    /// The same where it must succeed: what it printed.
    ///
    /// # Errors
    /// It cannot be started, or says no.
    pub fn say(&self, arguments: &[&str]) -> Result<String, Failure> {
        let output = self.cli(arguments)?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(Failure::Command { command: arguments.join(" "), said })
            }
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        self.process.signal(signal).map_err(Failure::io("signal a daemon"))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It goes on.
    pub fn ended(&mut self) -> Result<ExitStatus, Failure> {
        self.process.ended(LIMIT).map_err(|timeout| Failure::Daemon(timeout.to_string()))
    }

    /// Kills it at once, as a power cut would.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Everything it has printed.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Polls until there is something.
    ///
    /// # Errors
    /// There never is, with what the daemon said.
    pub fn eventually<T>(&self, what: &str, look: impl FnMut(&Self) -> Option<T>) -> Result<T, Failure> {
        let mut look = look;
        until(LIMIT, what, || look(self)).map_err(|timeout| {
            Failure::Daemon(format!("{timeout}; {} said:\n{}", self.host.name, self.said()))
        })
    }
}
