//! Bridges from WebSocket to TCP: our gateway, Debian's v2ray-plugin (Go) and PyPI's websockify (Python).

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use peers::{Running, reserve_port};

use super::ask;
use super::portolan::{Home, Portolan};
use crate::harness::Context;
use crate::harness::cores::Cores;

const LIMIT: Duration = Duration::from_secs(20);
/// What the server is called.
const SERVICE: &str = "bridged";

/// Which bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Portolan,
    V2ray,
    Websockify,
}

/// A running bridge to one server.
pub(crate) struct Bridge {
    pub(crate) pid: u32,
    pub(crate) listener: SocketAddr,
    /// What is asked for.
    pub(crate) path: String,
    running: Program,
}

enum Program {
    Portolan(Box<(Portolan, Home)>),
    Peer(Running),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn python() -> Result<PathBuf> {
    peers::python(&["websockify"]).map_err(|missing| anyhow!("{missing}"))
}

fn v2ray() -> Result<PathBuf> {
    peers::tool("ss-v2ray-plugin").map_err(|missing| anyhow!("{missing}"))
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Portolan => "Portolan",
            Kind::V2ray => "v2ray-plugin",
            Kind::Websockify => "websockify",
        }
    }

    /// For the report.
    pub(crate) fn version(self) -> Result<String> {
        match self {
            // It does not tell its own.
            Kind::V2ray => Ok("Debian's v2ray-plugin".to_owned()),
            _ => {
                let ask = "import importlib.metadata as m; print(m.version('websockify'))";
                let output = std::process::Command::new(python()?).args(["-c", ask]).output();
                let output = output.context("ask for websockify's version")?;
                Ok(format!("websockify {}", String::from_utf8_lossy(&output.stdout).trim()))
            }
        }
    }

    pub(crate) fn start(self, context: &Context, cores: &Cores, server: SocketAddr) -> Result<Bridge> {
        let port = reserve_port().context("find a port")?;
        let listener = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command = match self {
            Kind::Portolan => return ours(context, cores, listener, server),
            Kind::V2ray => {
                let mut command = cores.server(v2ray()?);
                // Without streams of its own within the WebSocket.
                command.args(["-server", "-mux", "0", "-localAddr", "127.0.0.1"]);
                command.args(["-localPort", &port.to_string(), "-remoteAddr", &server.ip().to_string()]);
                command.args(["-remotePort", &server.port().to_string()]);
                command
            }
            Kind::Websockify => {
                let mut command = cores.server(python()?);
                command.args(["-m", "websockify", &listener.to_string(), &server.to_string()]);
                command
            }
        };
        let process = Running::start(&mut command)?;
        let pid = process.pid();
        Ok(Bridge { pid, listener, path: "/".to_owned(), running: Program::Peer(process) })
    }
}

fn ours(context: &Context, cores: &Cores, listener: SocketAddr, server: SocketAddr) -> Result<Bridge> {
    let settings = format!("relay.threads = 1\nbroker.socket = \"\"\ngateway.listen = [\"{listener}\"]");
    let home = Home::with(&context.scratch, &settings)?;
    let portolan = home.start(context, cores)?;
    let (ip, port) = (server.ip(), server.port());
    let body = format!("{{\"Name\":\"{SERVICE}\",\"Address\":\"{ip}\",\"Port\":{port}}}");
    let registered = ask::status(portolan.api, LIMIT, "PUT", "/v1/agent/service/register", &body);
    ensure!(registered == Some(200), "a registration was answered with {registered:?}");
    let pid = portolan.process.pid();
    Ok(Bridge {
        pid,
        listener,
        path: format!("/{SERVICE}"),
        running: Program::Portolan(Box::new((portolan, home))),
    })
}

impl Bridge {
    pub(crate) fn stop(self) -> Result<()> {
        match self.running {
            Program::Portolan(running) => {
                let (portolan, _home) = *running;
                portolan.stop()
            }
            Program::Peer(process) => {
                drop(process);
                Ok(())
            }
        }
    }
}
