//! A real Consul in memory, on ports that nobody else has.

use std::process::Command;
use std::time::Duration;

use peers::{Missing, Running};
use serde_json::Value;

use crate::daemon::curl;

/// Longest that it takes to elect itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `consul agent -dev`; it ends with the value.
pub struct Consul {
    /// Port of the HTTP API.
    pub http: u16,
    /// Port of DNS, UDP and TCP.
    pub dns: u16,
    process: Running,
    _folder: tempfile::TempDir,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Consul {
    /// Starts one with this much more in its configuration, and waits until a path answers with these words.
    ///
    /// # Errors
    /// The program is missing, which is a reason to skip.
    ///
    /// # Panics
    /// When it does not become ready: that is a failed test.
    #[allow(clippy::panic, reason = "a Consul that does not start is a failed test")]
    pub fn start(more: &str, (path, words): (&str, &str)) -> Result<Consul, Missing> {
        let program = peers::tool("consul")?;
        peers::tool("curl")?;
        let ready = || -> Result<Consul, Failure> {
            let mut consul = Consul::launch(Command::new(program), more)?;
            let url = consul.url(path);
            let answers = || curl(&[&url]).is_ok_and(|said| said.contains(words));
            consul.process.wait_until(PATIENCE, "Consul's leader", answers)?;
            Ok(consul)
        };
        match ready() {
            Ok(consul) => Ok(consul),
            Err(error) => panic!("start Consul: {error}"),
        }
    }

    fn launch(mut command: Command, more: &str) -> Result<Consul, Failure> {
        let [http, dns, server, lan, wan] = [(); 5].map(|()| peers::reserve_port());
        let (http, dns, server, lan, wan) = (http?, dns?, server?, lan?, wan?);
        let config = format!(
            r#"{{"bind_addr": "127.0.0.1", "log_level": "warn", "ports": {{"http": {http}, "dns": {dns},
                "server": {server}, "serf_lan": {lan}, "serf_wan": {wan}, "grpc": -1}}{more}}}"#
        );
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("consul.json");
        std::fs::write(&file, config)?;
        let process = Running::start(command.args(["agent", "-dev", "-config-file"]).arg(&file))?;
        Ok(Consul { http, dns, process, _folder: folder })
    }

    /// A URL of the API.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// A request with a token and a body; its answer.
    ///
    /// # Errors
    /// What `curl` or Consul says.
    pub fn send(&self, method: &str, path: &str, token: &str, body: &Value) -> Result<String, Failure> {
        let (token, body) = (format!("X-Consul-Token: {token}"), body.to_string());
        curl(&["-f", "-X", method, "-H", &token, "--data-binary", &body, &self.url(path)])
    }
}
