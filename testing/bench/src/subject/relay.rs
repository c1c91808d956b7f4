//! Proxies that relay one listener to one server: Debian's HAProxy and nginx with one worker each, and ours.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use peers::{Running, reserve_port};
use tempfile::TempDir;

use super::ask;
use super::portolan::{Home, Portolan, RANGE};
use crate::harness::cores::Cores;
use crate::harness::{Context, machine};

const LIMIT: Duration = Duration::from_secs(20);
/// The module that Debian packages apart from nginx itself.
const STREAM_MODULE: &str = "root/usr/lib/nginx/modules/ngx_stream_module.so";

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Portolan,
    Haproxy,
    /// With `splice-request` and `splice-response`, which make it splice whatever the flow looks like.
    HaproxySplicing,
    Nginx,
}

/// What is relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// One of them, running.
pub(crate) struct Relay {
    pub(crate) pid: u32,
    /// Its listeners, in the order of the servers given.
    pub(crate) listeners: Vec<SocketAddr>,
    running: Program,
}

enum Program {
    Portolan(Portolan, Home),
    Peer(Running, TempDir),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Portolan => "Portolan",
            Kind::Haproxy => "HAProxy",
            Kind::HaproxySplicing => "HAProxy, splicing",
            Kind::Nginx => "nginx stream",
        }
    }

    /// For the report.
    pub(crate) fn version(self) -> Result<String> {
        Ok(machine::version(&self.program()?, &["-v"]))
    }

    fn program(self) -> Result<PathBuf> {
        let name = if self == Kind::Nginx { "nginx" } else { "haproxy" };
        peers::tool(name).map_err(|missing| anyhow!("{missing}"))
    }

    /// Starts one with a listener for each of `servers`.
    pub(crate) fn start(
        self,
        context: &Context,
        cores: &Cores,
        protocol: Protocol,
        servers: &[SocketAddr],
    ) -> Result<Relay> {
        let routes = servers.iter().map(|server| Ok((port()?, *server))).collect::<Result<Vec<_>>>()?;
        match self {
            Kind::Portolan => ours(context, cores, protocol, &routes, (port()?, "")),
            _ => self.peer(context, cores, protocol, &routes),
        }
    }

    fn peer(
        self,
        context: &Context,
        cores: &Cores,
        protocol: Protocol,
        routes: &[(SocketAddr, SocketAddr)],
    ) -> Result<Relay> {
        let folder = tempfile::tempdir_in(&context.scratch).context("make a folder for a proxy")?;
        let config = folder.path().join("proxy.conf");
        let mut command = cores.server(self.program()?);
        let settings = match self {
            Kind::Nginx => {
                command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c"]).arg(&config);
                nginx(protocol, routes)
            }
            _ => {
                command.args(["-db", "-f"]).arg(&config);
                haproxy(self == Kind::HaproxySplicing, routes)
            }
        };
        std::fs::write(&config, settings).context("write a proxy's settings")?;
        let mut process = Running::start(&mut command)?;
        if protocol == Protocol::Tcp {
            let first = routes[0].0;
            process
                .wait_until(LIMIT, "a proxy to listen", || TcpStream::connect(first).is_ok())
                .map_err(|error| anyhow!("{error}"))?;
        }
        let pid = process.pid();
        Ok(Relay { pid, listeners: listeners(routes), running: Program::Peer(process, folder) })
    }
}

impl Relay {
    /// Our own for TCP, with the HTTP proxy at `http` and further lines of configuration.
    pub(crate) fn ours(
        context: &Context,
        cores: &Cores,
        servers: &[SocketAddr],
        http: SocketAddr,
        more: &str,
    ) -> Result<Relay> {
        let routes = servers.iter().map(|server| Ok((port()?, *server))).collect::<Result<Vec<_>>>()?;
        ours(context, cores, Protocol::Tcp, &routes, (http, more))
    }

    /// The daemon, when it is ours.
    pub(crate) fn portolan(&self) -> Option<&Portolan> {
        match &self.running {
            Program::Portolan(portolan, _) => Some(portolan),
            Program::Peer(..) => None,
        }
    }

    /// Registers one more instance; false when that was refused.
    pub(crate) fn register(&self, service: &str, id: &str, at: SocketAddr) -> Result<bool> {
        let portolan = self.portolan().context("only our own relay takes registrations")?;
        Ok(register(portolan.api, service, id, at) == Some(200))
    }

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

/// A free one, for now.
pub(crate) fn port() -> Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, reserve_port().context("find a port")?).into())
}

fn listeners(routes: &[(SocketAddr, SocketAddr)]) -> Vec<SocketAddr> {
    routes.iter().map(|(listener, _)| *listener).collect()
}

fn haproxy(splices: bool, routes: &[(SocketAddr, SocketAddr)]) -> String {
    let mut text = "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
                    timeout client 1h\n  timeout server 1h\n"
        .to_owned();
    if splices {
        text += "  option splice-request\n  option splice-response\n";
    }
    for (number, (listener, server)) in routes.iter().enumerate() {
        let _ = writeln!(text, "listen l{number}\n  bind {listener}\n  server s {server}");
    }
    text
}

fn nginx(protocol: Protocol, routes: &[(SocketAddr, SocketAddr)]) -> String {
    let module = peers::folder().join(STREAM_MODULE);
    let mut text = format!(
        "load_module {};\ndaemon off;\nmaster_process off;\npid nginx.pid;\nworker_rlimit_nofile 18000;\n\
         events {{ worker_connections 8000; }}\nstream {{\n",
        module.display()
    );
    let udp = if protocol == Protocol::Udp { " udp" } else { "" };
    for (listener, server) in routes {
        let _ = writeln!(text, "  server {{ listen {listener}{udp}; proxy_pass {server}; }}");
    }
    text + "}\n"
}

fn ours(
    context: &Context,
    cores: &Cores,
    protocol: Protocol,
    routes: &[(SocketAddr, SocketAddr)],
    (http, more): (SocketAddr, &str),
) -> Result<Relay> {
    let key = if protocol == Protocol::Udp { "proxy.udp" } else { "proxy.tcp" };
    let lines = routes.iter().enumerate().map(|(number, (listener, _))| {
        format!("{{ listen = \"{listener}\", service = \"relayed-{number}\" }}")
    });
    let lines = lines.collect::<Vec<_>>().join(", ");
    let home = Home::serving(&context.scratch, http, &format!("{RANGE}\n{key} = [{lines}]\n{more}"))?;
    let portolan = home.start(context, cores)?;
    for (number, (_, server)) in routes.iter().enumerate() {
        let service = format!("relayed-{number}");
        let registered = register(portolan.api, &service, &service, *server);
        ensure!(registered == Some(200), "a registration was answered with {registered:?}");
    }
    let pid = portolan.process.pid();
    Ok(Relay { pid, listeners: listeners(routes), running: Program::Portolan(portolan, home) })
}

/// The status of the answer.
fn register(api: SocketAddr, service: &str, id: &str, at: SocketAddr) -> Option<u16> {
    let (ip, port) = (at.ip(), at.port());
    let body = format!("{{\"ID\":\"{id}\",\"Name\":\"{service}\",\"Address\":\"{ip}\",\"Port\":{port}}}");
    ask::status(api, LIMIT, "PUT", "/v1/agent/service/register", &body)
}
