//! Debian's Consul, one server, as it comes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use peers::{Running, reserve_port};
use tempfile::TempDir;

use crate::harness::cores::Cores;
use crate::harness::machine;

/// How long it may take to elect itself.
const LIMIT: Duration = Duration::from_secs(60);

/// A running Consul with an empty store on disk.
pub(crate) struct Consul {
    pub(crate) process: Running,
    pub(crate) api: SocketAddr,
    pub(crate) dns: SocketAddr,
    _folder: TempDir,
}

/// Where it is.
pub(crate) fn program() -> Result<PathBuf> {
    peers::tool("consul").map_err(|missing| anyhow!("{missing}"))
}

/// For the report.
pub(crate) fn version() -> Result<String> {
    Ok(machine::version(&program()?, &["version"]))
}

impl Consul {
    pub(crate) fn start(cores: &Cores, scratch: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(scratch).context("make a folder for Consul")?;
        let mut ports = [0_u16; 5];
        for port in &mut ports {
            *port = reserve_port().context("find a port")?;
        }
        let [http, dns, server, lan, wan] = ports;
        // As many connections from one address as a watcher of everything has, and no limit on how fast.
        let config = format!(
            r#"{{"bind_addr": "127.0.0.1", "server": true, "bootstrap_expect": 1, "log_level": "err",
                "disable_update_check": true, "limits": {{"http_max_conns_per_client": 12000}},
                "performance": {{"raft_multiplier": 1}},
                "ports": {{"http": {http}, "dns": {dns}, "server": {server}, "serf_lan": {lan}, "serf_wan": {wan}, "grpc": -1}}}}"#
        );
        let file = folder.path().join("consul.json");
        std::fs::write(&file, config).context("write Consul's configuration")?;
        let mut command = cores.server(program()?);
        command.arg("agent").arg("-config-file").arg(&file).arg("-data-dir").arg(folder.path().join("data"));
        let mut process = Running::start(&mut command)?;
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ready = || {
            super::ask::json(at(http), Duration::from_secs(2), "GET", "/v1/health/service/consul", "")
                .is_some_and(|answer| answer.to_string().contains("serfHealth"))
        };
        process.wait_until(LIMIT, "Consul's leader", ready).map_err(|error| anyhow!("{error}"))?;
        Ok(Consul { process, api: at(http), dns: at(dns), _folder: folder })
    }
}
