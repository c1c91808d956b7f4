//! Debian's authoritative name servers, one worker each, with a zone of as many names as services are
//! registered with Portolan: the same names, one address each.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use peers::{Running, reserve_port};
use tempfile::TempDir;

use crate::harness::cores::Cores;
use crate::harness::machine;
use crate::load::dns::Resolver;

/// A million names take a while to load.
const LIMIT: Duration = Duration::from_secs(120);
/// The zone, which is the part of our names behind the service's.
const ORIGIN: &str = "service.consul";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Knot,
    Nsd,
}

/// One of them, running.
pub(crate) struct NameServer {
    pub(crate) process: Running,
    pub(crate) address: SocketAddr,
    _folder: TempDir,
}

/// The name that all servers have under a number.
pub(crate) fn name(number: u64) -> String {
    format!("service-{number}.{ORIGIN}")
}

/// Writes the zone's file, once for all rounds.
pub(crate) fn write(path: &Path, names: u64) -> Result<()> {
    let mut text = format!(
        "$ORIGIN {ORIGIN}.\n$TTL 5\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns\nns A 127.0.0.1\n"
    );
    for number in 0..names {
        let [_, a, b, c] = (number as u32).to_be_bytes();
        writeln!(text, "service-{number} A 10.{a}.{b}.{c}")?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Knot => "Knot",
            Kind::Nsd => "NSD",
        })
    }
}

impl Kind {
    fn program(self) -> Result<std::path::PathBuf> {
        let name = match self {
            Kind::Knot => "knotd",
            Kind::Nsd => "nsd",
        };
        peers::tool(name).map_err(|missing| anyhow!("{missing}"))
    }

    /// For the report.
    pub(crate) fn version(self) -> Result<String> {
        let flag = match self {
            Kind::Knot => "--version",
            Kind::Nsd => "-v",
        };
        Ok(machine::version(&self.program()?, &[flag]))
    }

    fn settings(self, folder: &Path, zone: &Path, address: SocketAddr) -> String {
        let (folder, zone, port) = (folder.display(), zone.display(), address.port());
        match self {
            Kind::Knot => format!(
                "server:\n  rundir: {folder}\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  \
                 background-workers: 1\ndatabase:\n  storage: {folder}\ntemplate:\n- id: default\n  \
                 storage: {folder}\n  semantic-checks: off\n  journal-content: none\n  zonefile-load: whole\n\
                 zone:\n- domain: {ORIGIN}\n  file: {zone}\n"
            ),
            Kind::Nsd => format!(
                "server:\n  ip-address: 127.0.0.1\n  port: {port}\n  server-count: 1\n  reuseport: yes\n  \
                 username: \"\"\n  zonesdir: {folder}\n  pidfile: {folder}/nsd.pid\n  database: \"\"\n  \
                 xfrdfile: {folder}/xfrd.state\n  zonelistfile: {folder}/zone.list\n  xfrdir: {folder}\n  \
                 rrl-ratelimit: 0\nremote-control:\n  control-enable: no\nzone:\n  name: {ORIGIN}\n  \
                 zonefile: {zone}\n"
            ),
        }
    }

    /// Starts one and waits until it answers.
    pub(crate) fn start(self, scratch: &Path, zone: &Path, cores: &Cores) -> Result<NameServer> {
        let folder = tempfile::tempdir_in(scratch).context("make a folder for a name server")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, reserve_port().context("find a port")?));
        let config = folder.path().join("server.conf");
        std::fs::write(&config, self.settings(folder.path(), zone, address)).context("write its settings")?;
        let mut command: Command = cores.server(self.program()?);
        command.arg("-c").arg(&config);
        if self == Kind::Nsd {
            command.arg("-d");
        }
        let mut process = Running::start(&mut command)?;
        let answers = || {
            let asked = Resolver::new(address).and_then(|mut resolver| resolver.addresses(&name(7)));
            asked.is_ok_and(|count| count == 1)
        };
        process.wait_until(LIMIT, "a name server to answer", answers).map_err(|error| anyhow!("{error}"))?;
        Ok(NameServer { process, address, _folder: folder })
    }
}
