//! HTTP proxies before one server that answers with little or with 10 KB: Debian's HAProxy and nginx, and ours.

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

/// A running proxy. The host `two` is led to where the server speaks HTTP/2, any other to where it does not.
pub(crate) struct Web {
    pub(crate) pid: u32,
    pub(crate) listener: SocketAddr,
    /// The same by TLS.
    pub(crate) secure: SocketAddr,
    running: Program,
    _folder: TempDir,
}

enum Program {
    Portolan(Box<(Portolan, Home)>),
    Peer(Running),
}

/// The server behind all of them, on the load's part of the processors.
pub(crate) struct Server {
    address: SocketAddr,
    /// The same by HTTP/2 without TLS.
    two: SocketAddr,
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
        let (address, two) = (port()?, port()?);
        let server = format!(
            "  sendfile on;\n  tcp_nopush on;\n  server {{ listen {address}; listen {two} http2; location = / {{ return \
             200 \"hello, world\"; }} location = {LARGE} {{ root {}; }} }}\n",
            folder.path().display()
        );
        let mut process = nginx(std::process::Command::new(tool("nginx")?), folder.path(), &server)?;
        wait(&mut process, address)?;
        Ok(Server { address, two, _running: (process, folder) })
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

    /// Starts it with so many threads, on the processors that `cores` has for servers.
    pub(crate) fn start(
        self,
        context: &Context,
        cores: &Cores,
        server: &Server,
        threads: usize,
    ) -> Result<Web> {
        let folder = tempfile::tempdir_in(&context.scratch).context("make a folder")?;
        let entrance = Entrance { listener: port()?, secure: port()?, threads, folder: folder.path() };
        certify(entrance.folder)?;
        let (pid, running) = match self {
            Kind::Portolan => ours(context, cores, server, &entrance)?,
            Kind::Haproxy | Kind::Nginx => {
                let mut process = match self {
                    Kind::Nginx => {
                        nginx(cores.server(tool("nginx")?), entrance.folder, &entrance.nginx(server))?
                    }
                    _ => entrance.haproxy(cores, server)?,
                };
                wait(&mut process, entrance.listener)?;
                (process.pid(), Program::Peer(process))
            }
        };
        let Entrance { listener, secure, .. } = entrance;
        Ok(Web { pid, listener, secure, running, _folder: folder })
    }
}

/// A certificate that nobody checks, and its key: `web.pem` has both, as HAProxy wants them.
fn certify(folder: &Path) -> Result<()> {
    let pair = rcgen::generate_simple_self_signed(["web".to_owned()]).context("make a certificate")?;
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let both = format!("{certificate}{key}");
    [("web.crt", &certificate), ("web.key", &key), ("web.pem", &both)]
        .into_iter()
        .try_for_each(|(name, text)| std::fs::write(folder.join(name), text).context("write a certificate"))
}

/// Where a proxy is entered, and with what.
struct Entrance<'a> {
    listener: SocketAddr,
    secure: SocketAddr,
    threads: usize,
    folder: &'a Path,
}

impl Entrance<'_> {
    fn nginx(&self, server: &Server) -> String {
        let Entrance { listener, secure, folder, .. } = self;
        format!(
            "  upstream web {{ server {}; keepalive 512; keepalive_requests 1000000000; }}\n  server {{ listen \
             {listener}; listen {secure} ssl; ssl_certificate {1}/web.crt; ssl_certificate_key {1}/web.key; location / \
             {{ proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header \
             Host $host; proxy_set_header X-Forwarded-For $remote_addr; }} }}\n",
            server.address,
            folder.display()
        )
    }

    fn haproxy(&self, cores: &Cores, server: &Server) -> Result<Running> {
        let Entrance { listener, secure, threads, folder } = self;
        let config = folder.join("haproxy.conf");
        let text = format!(
            "global\n  nbthread {threads}\n  maxconn 8000\n  tune.ssl.default-dh-param 2048\ndefaults\n  mode http\n  \
             http-reuse always\n  option forwardfor\n  timeout connect 5s\n  timeout client 1h\n  timeout server \
             1h\nfrontend in\n  bind {listener}\n  bind {secure} ssl crt {}/web.pem alpn h2,http/1.1\n  use_backend two \
             if {{ req.hdr(host) -i two }}\n  default_backend web\nbackend web\n  server s {}\nbackend two\n  server s \
             {} proto h2\n",
            folder.display(),
            server.address,
            server.two
        );
        std::fs::write(&config, text).context("write HAProxy's settings")?;
        let mut command = cores.server(tool("haproxy")?);
        command.args(["-db", "-f"]).arg(&config);
        Ok(Running::start(&mut command)?)
    }
}

impl Web {
    pub(crate) fn stop(self) -> Result<()> {
        match self.running {
            Program::Portolan(ours) => {
                let (portolan, _home) = *ours;
                portolan.stop()
            }
            Program::Peer(process) => {
                drop(process);
                Ok(())
            }
        }
    }
}

fn ours(
    context: &Context,
    cores: &Cores,
    server: &Server,
    entrance: &Entrance<'_>,
) -> Result<(u32, Program)> {
    let Entrance { listener, secure, threads, folder } = entrance;
    let more = format!(
        "relay.threads = {threads}\nproxy.tls.listen = [\"{secure}\"]\nproxy.tls.certificates = [{{ certificate = \
         \"{0}/web.crt\", key = \"{0}/web.key\" }}]",
        folder.display()
    );
    let home = Home::serving(&context.scratch, *listener, &more)?;
    let portolan = home.start(context, cores)?;
    for (name, address, protocol) in [("web", server.address, "http"), ("two", server.two, "h2c")] {
        let body = format!(
            "{{\"Name\":\"{name}\",\"Address\":\"{}\",\"Port\":{},\"Meta\":{{\"protocol\":\"{protocol}\"}}}}",
            address.ip(),
            address.port()
        );
        let registered = ask::status(portolan.api, LIMIT, "PUT", "/v1/agent/service/register", &body);
        ensure!(registered == Some(200), "a registration was answered with {registered:?}");
    }
    Ok((portolan.process.pid(), Program::Portolan(Box::new((portolan, home)))))
}
