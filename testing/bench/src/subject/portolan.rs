//! The binary under test: one durable node on loopback, on ports of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use peers::{Running, reserve_port};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::Context;
use crate::harness::cores::Cores;

/// A setting: a range of virtual addresses in which a million services find room.
pub(crate) const RANGE: &str = "hostnet.range = \"127.128.0.0/9\"";

/// How long a start or a stop may take before it counts as failed.
const LIMIT: Duration = Duration::from_secs(60);

/// A running node.
pub(crate) struct Portolan {
    pub(crate) process: Running,
    pub(crate) api: SocketAddr,
    pub(crate) dns: SocketAddr,
}

/// A data directory with its configuration, kept over restarts.
pub(crate) struct Home {
    folder: TempDir,
    api: SocketAddr,
    dns: SocketAddr,
    http: SocketAddr,
    /// Further lines of its configuration.
    more: String,
}

impl Home {
    pub(crate) fn new(scratch: &Path) -> Result<Self> {
        Self::with(scratch, "")
    }

    /// With the HTTP proxy at this address, and further lines of configuration.
    pub(crate) fn serving(scratch: &Path, http: SocketAddr, more: &str) -> Result<Self> {
        Self::made(scratch, http, more)
    }

    /// With further lines of configuration, `key.in.full = value` each.
    pub(crate) fn with(scratch: &Path, more: &str) -> Result<Self> {
        Self::made(scratch, (Ipv4Addr::LOCALHOST, 0).into(), more)
    }

    fn made(scratch: &Path, http: SocketAddr, more: &str) -> Result<Self> {
        let folder = tempfile::tempdir_in(scratch).context("make a folder for portolan")?;
        let port = || -> Result<SocketAddr> {
            Ok((Ipv4Addr::LOCALHOST, reserve_port().context("find a port")?).into())
        };
        let home = Home { folder, api: port()?, dns: port()?, http, more: more.to_owned() };
        let path = home.config();
        std::fs::write(&path, home.settings()).with_context(|| format!("write {}", path.display()))?;
        Ok(home)
    }

    fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("portolan.toml")
    }

    /// Defaults but for the addresses; the proxies are there, on ports that nobody asks for.
    fn settings(&self) -> String {
        let Home { api, dns, http, more, .. } = self;
        format!(
            "api.listen = [\"{api}\"]\ndns.listen = [\"{dns}\"]\n\
             proxy.named = [\"127.0.0.1:0\"]\nproxy.http.listen = [\"{http}\"]\n{more}\n"
        )
    }

    /// Starts and waits until it serves.
    pub(crate) fn start(&self, context: &Context, cores: &Cores) -> Result<Portolan> {
        let mut portolan = self.launch(context, cores)?;
        let api = self.api;
        portolan
            .process
            .wait_until(LIMIT, "portolan to be ready", || is_ready(api))
            .map_err(|error| anyhow!("{error}"))?;
        Ok(portolan)
    }

    /// Starts and does not wait.
    pub(crate) fn launch(&self, context: &Context, cores: &Cores) -> Result<Portolan> {
        let mut command = cores.server(&context.portolan);
        command.arg("serve").arg("--config").arg(self.config());
        command.arg("--data-dir").arg(self.folder.path().join("data")).env("RUST_LOG", "warn");
        let process = Running::start(&mut command)?;
        Ok(Portolan { process, api: self.api, dns: self.dns })
    }
}

impl Portolan {
    /// Asks it to finish, as a service manager does.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM).context("ask portolan to stop")?;
        let status = self.process.ended(LIMIT)?;
        ensure!(status.success(), "portolan stopped with {status}: {}", self.process.said());
        Ok(())
    }
}

/// Whether `/readyz` says yes. Without a client library: it is asked every few milliseconds.
pub(crate) fn is_ready(api: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(api)?;
        stream.write_all(
            format!("GET /readyz HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
