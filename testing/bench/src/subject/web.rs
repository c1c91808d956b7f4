//! HTTP proxies with one worker each, before one server that answers with little or with 10 KB: Debian's HAProxy and
//! nginx, and ours.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use peers::{Running, reserve_port};
use tempfile::TempDir;

use super::ask;
use super::portolan::{Home, Portolan};
use crate::harness::cores::Cores;
use crate::harness::{Context, machine};

const LIMIT: Duration = Duration::from_secs(20);

/// The path of the large answer, and its size.
pub(crate) const LARGE: &str = "/large";
const LARGE_BYTES: usize = 10 * 1024;

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Portolan,
    Haproxy,
    Nginx,
}

/// A running proxy.
pub(crate) struct Web {
    pub(crate) pid: u32,
    pub(crate) listener: SocketAddr,
    running: Program,
}

enum Program {
    Portolan(Portolan, Home),
    Peer(Running, TempDir),
}

/// The server behind all of them, on the load's part of the processors.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _running: (Running, TempDir),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn tool(name: &str) -> Result<PathBuf> {
    peers::tool(name).map_err(|missing| anyhow!("{missing}"))
}

fn port() -> Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, reserve_port().context("find a port")?).into())
}

fn nginx(mut command: std::process::Command, folder: &Path, server: &str) -> Result<Running> {
    let config = folder.join("nginx.conf");
    let text = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nworker_rlimit_nofile 18000;\n\
         events {{ worker_connections 8000; }}\nhttp {{\n  access_log off;\n  keepalive_requests 1000000000;\n  \
         client_body_temp_path {0};\n  proxy_temp_path {0};\n  fastcgi_temp_path {0};\n  uwsgi_temp_path {0};\n  \
         scgi_temp_path {0};\n{server}}}\n",
        folder.display()
    );
    std::fs::write(&config, text).context("write nginx's settings")?;
    command.arg("-p").arg(folder).args(["-e", "stderr", "-c"]).arg(&config);
    Running::start(&mut command).map_err(|error| anyhow!("{error}"))
}

fn wait(process: &mut Running, listener: SocketAddr) -> Result<()> {
    process
        .wait_until(LIMIT, "a proxy to listen", || TcpStream::connect(listener).is_ok())
        .map_err(|error| anyhow!("{error}"))
}

impl Server {
    pub(crate) fn start(context: &Context) -> Result<Server> {
        let folder = tempfile::tempdir_in(&context.scratch).context("make a folder for a server")?;
        std::fs::write(folder.path().join("large"), vec![b'x'; LARGE_BYTES]).context("write a page")?;
        let address = port()?;
        let server = format!(
            "  sendfile on;\n  tcp_nopush on;\n  server {{ listen {address}; location = / {{ return 200 \"hello, \
             world\"; }} location = {LARGE} {{ root {}; }} }}\n",
            folder.path().display()
        );
        let mut process = nginx(std::process::Command::new(tool("nginx")?), folder.path(), &server)?;
        wait(&mut process, address)?;
        Ok(Server { address, _running: (process, folder) })
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Portolan => "Portolan",
            Kind::Haproxy => "HAProxy",
            Kind::Nginx => "nginx",
        }
    }

    /// For the report.
    pub(crate) fn version(self) -> Result<String> {
        let name = if self == Kind::Nginx { "nginx" } else { "haproxy" };
        Ok(machine::version(&tool(name)?, &["-v"]))
    }

    pub(crate) fn start(self, context: &Context, cores: &Cores, server: SocketAddr) -> Result<Web> {
        if self == Kind::Portolan {
            return ours(context, cores, server);
        }
        let (listener, folder) = (port()?, tempfile::tempdir_in(&context.scratch).context("make a folder")?);
        let mut process = match self {
            Kind::Nginx => {
                let settings = format!(
                    "  upstream web {{ server {server}; keepalive 512; keepalive_requests 1000000000; }}\n  server {{ \
                     listen {listener}; location / {{ proxy_pass http://web; proxy_http_version 1.1; \
                     proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_set_header \
                     X-Forwarded-For $remote_addr; }} }}\n"
                );
                nginx(cores.server(tool("nginx")?), folder.path(), &settings)?
            }
            _ => {
                let config = folder.path().join("haproxy.conf");
                let text = format!(
                    "global\n  nbthread 1\n  maxconn 8000\ndefaults\n  mode http\n  http-reuse always\n  option \
                     forwardfor\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\nfrontend in\n  bind \
                     {listener}\n  default_backend web\nbackend web\n  server s {server}\n"
                );
                std::fs::write(&config, text).context("write HAProxy's settings")?;
                let mut command = cores.server(tool("haproxy")?);
                command.args(["-db", "-f"]).arg(&config);
                Running::start(&mut command)?
            }
        };
        wait(&mut process, listener)?;
        Ok(Web { pid: process.pid(), listener, running: Program::Peer(process, folder) })
    }
}

impl Web {
    pub(crate) fn stop(self) -> Result<()> {
        match self.running {
            Program::Portolan(portolan, _home) => portolan.stop(),
            Program::Peer(process, _folder) => {
                drop(process);
                Ok(())
            }
        }
    }
}

fn ours(context: &Context, cores: &Cores, server: SocketAddr) -> Result<Web> {
    let listener = port()?;
    let home = Home::serving(&context.scratch, listener)?;
    let portolan = home.start(context, cores)?;
    let body = format!("{{\"Name\":\"web\",\"Address\":\"{}\",\"Port\":{}}}", server.ip(), server.port());
    let registered = ask::status(portolan.api, LIMIT, "PUT", "/v1/agent/service/register", &body);
    ensure!(registered == Some(200), "a registration was answered with {registered:?}");
    let pid = portolan.process.pid();
    Ok(Web { pid, listener, running: Program::Portolan(portolan, home) })
}
