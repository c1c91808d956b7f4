//! Debian's etcd, one node, as it comes.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use peers::{Running, reserve_port};
use tempfile::TempDir;

use crate::harness::cores::Cores;
use crate::harness::machine;

/// A running etcd with an empty store.
pub(crate) struct Etcd {
    pub(crate) process: Running,
    pub(crate) address: SocketAddr,
    _folder: TempDir,
}

/// Where it is.
pub(crate) fn program() -> Result<PathBuf> {
    peers::tool("etcd").map_err(|missing| anyhow!("{missing}"))
}

/// For the report.
pub(crate) fn version() -> Result<String> {
    Ok(machine::version(&program()?, &["--version"]))
}

impl Etcd {
    pub(crate) fn start(cores: &Cores, scratch: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(scratch).context("make a folder for etcd")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, reserve_port().context("find a port")?));
        let peer = format!("http://127.0.0.1:{}", reserve_port().context("find a port")?);
        let client = format!("http://{address}");
        let mut command = cores.server(program()?);
        command.arg("--data-dir").arg(folder.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"]);
        let mut process = Running::start(&mut command)?;
        process
            .wait_until(Duration::from_secs(20), "etcd to answer", || TcpStream::connect(address).is_ok())
            .map_err(|error| anyhow!("{error}"))?;
        Ok(Etcd { process, address, _folder: folder })
    }
}
