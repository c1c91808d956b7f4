//! A daemon in memory, on ports that nobody else has.

use std::process::Command;

use peers::{Missing, Running};
use serde_json::Value;

use crate::LIMIT;

/// A running `portolan dev`; it ends with the value.
pub struct Daemon {
    /// Port of the HTTP API.
    pub api: u16,
    /// Port of DNS, UDP and TCP.
    pub dns: u16,
    /// Port of the TCP proxy.
    pub tcp: u16,
    /// Port of the HTTP proxy.
    pub http: u16,
    process: Running,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Daemon {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// The binary is missing, which is a reason to skip.
    ///
    /// # Panics
    /// When it does not become ready: that is a failed test.
    pub fn start() -> Result<Daemon, Missing> {
        Daemon::start_with(&[])
    }

    /// The same with further settings, as environment variables.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    ///
    /// # Panics
    /// As [`Daemon::start`].
    #[allow(clippy::panic, reason = "a daemon that does not start is a failed test")]
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Daemon, Missing> {
        let binary = peers::portolan()?;
        peers::tool("curl")?;
        let mut command = Command::new(binary);
        command.envs(settings.iter().copied());
        match Daemon::launch(command) {
            Ok(daemon) => Ok(daemon),
            Err(error) => panic!("start portolan dev: {error}"),
        }
    }

    fn launch(mut command: Command) -> Result<Daemon, Failure> {
        let [api, dns, tcp, http] = [(); 4].map(|()| peers::reserve_port());
        let (api, dns, tcp, http) = (api?, dns?, tcp?, http?);
        let on = |port: u16| format!("127.0.0.1:{port}");
        command
            .arg("dev")
            .env("PORTOLAN_API__LISTEN", on(api))
            .env("PORTOLAN_DNS__LISTEN", on(dns))
            .env("PORTOLAN_PROXY__NAMED", on(tcp))
            .env("PORTOLAN_PROXY__HTTP__LISTEN", on(http));
        let process = Running::start(&mut command)?;
        let mut daemon = Daemon { api, dns, tcp, http, process };
        let ready = daemon.url("/readyz");
        daemon.process.wait_until(LIMIT, "/readyz", || curl(&["-f", &ready]).is_ok())?;
        Ok(daemon)
    }

    /// Address of the API, as clients are told.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.api)
    }

    /// A URL of the API.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.api)
    }

    /// Registers with Consul's agent API.
    ///
    /// # Errors
    /// What `curl` or the daemon says.
    pub fn register(&self, definition: &Value) -> Result<(), Failure> {
        self.put("/v1/agent/service/register", &definition.to_string()).map(drop)
    }

    /// A PUT; its answer.
    ///
    /// # Errors
    /// What `curl` or the daemon says.
    pub fn put(&self, path: &str, body: &str) -> Result<String, Failure> {
        curl(&["-f", "-X", "PUT", "--data-binary", body, &self.url(path)])
    }

    /// A GET; its JSON.
    ///
    /// # Errors
    /// What `curl` or the daemon says, or an answer that is not JSON.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(serde_json::from_str(&curl(&["-f", &self.url(path)])?)?)
    }

    /// A GET; its answer as it is.
    ///
    /// # Errors
    /// What `curl` or the daemon says.
    pub fn text(&self, path: &str) -> Result<String, Failure> {
        curl(&["-f", &self.url(path)])
    }

    /// Everything it has printed, for a failing test.
    pub fn said(&self) -> String {
        self.process.said()
    }
}

/// Runs the real `curl`; what it printed.
///
/// # Errors
/// A status other than success, with what it said.
pub(crate) fn curl(arguments: &[&str]) -> Result<String, Failure> {
    let curl = peers::tool("curl")?;
    let output = Command::new(curl).args(["-sS", "-m", "20"]).args(arguments).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}
