//! What speaks TLS 1.3 toward a server for a client that does not: the broker's `tls` route, and HAProxy. The server is
//! another HAProxy, on the load's part of the processors, before the sink.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use peers::{Running, reserve_port};
use tempfile::TempDir;

use super::portolan::{Home, Portolan};
use crate::harness::Context;
use crate::harness::cores::Cores;

const LIMIT: Duration = Duration::from_secs(20);
/// What both sides of every contestant agree on.
const CIPHER: &str = "TLS_AES_256_GCM_SHA384";

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Portolan,
    Haproxy,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Kind::Portolan { "Portolan" } else { "HAProxy" })
    }
}

/// A TLS server before a sink, with an authority and a certificate of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    folder: TempDir,
    _running: Running,
}

/// One that speaks TLS for others, running.
pub(crate) enum Secured {
    /// With where it is asked for a connection.
    Portolan(Box<(Portolan, Home, TempDir)>),
    /// With where it listens.
    Haproxy(Running, SocketAddr),
}

fn tool(name: &str) -> Result<PathBuf> {
    peers::tool(name).map_err(|missing| anyhow!("{missing}"))
}

fn port() -> Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, reserve_port().context("find a port")?).into())
}

/// An authority, and a certificate for loopback's address with its key in the same file.
fn papers(folder: &Path) -> Result<()> {
    let openssl = tool("openssl")?;
    let make = |arguments: &[&str]| {
        let output = Command::new(&openssl).args(arguments).current_dir(folder).output();
        let output = output.context("run openssl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "openssl {}: {said}", arguments.join(" "));
        Ok(())
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    make(
        &[&["req", "-x509"], &key[..], &["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca"]].concat(),
    )?;
    make(&[&["req"], &key[..], &["-keyout", "key.pem", "-out", "csr", "-subj", "/CN=server"]].concat())?;
    std::fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")?;
    let sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext"];
    make(&[&["x509", "-req", "-in", "csr", "-out", "crt.pem"], &sign[..]].concat())?;
    let both = [std::fs::read(folder.join("crt.pem"))?, std::fs::read(folder.join("key.pem"))?].concat();
    std::fs::write(folder.join("server.pem"), both).context("write a certificate")
}

/// HAProxy with one thread, relaying a listener to a server, either of them with TLS as the words after it say.
fn haproxy(mut command: Command, config: &Path, bind: &str, server: &str) -> Result<Running> {
    let text = format!(
        "global\n  nbthread 1\n  maxconn 1000\n  ssl-default-bind-ciphersuites {CIPHER}\n  \
         ssl-default-server-ciphersuites {CIPHER}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client \
         1h\n  timeout server 1h\nlisten l\n  bind {bind}\n  server s {server}\n"
    );
    std::fs::write(config, text).context("write HAProxy's settings")?;
    command.args(["-db", "-f"]).arg(config);
    Ok(Running::start(&mut command)?)
}

fn wait(process: &mut Running, listener: SocketAddr) -> Result<()> {
    process
        .wait_until(LIMIT, "HAProxy to listen", || TcpStream::connect(listener).is_ok())
        .map_err(|error| anyhow!("{error}"))
}

impl Server {
    pub(crate) fn start(context: &Context, sink: SocketAddr) -> Result<Server> {
        let folder = tempfile::tempdir_in(&context.scratch).context("make a folder for papers")?;
        papers(folder.path())?;
        let address = port()?;
        let bind = format!("{address} ssl crt {} force-tlsv13", folder.path().join("server.pem").display());
        let config = folder.path().join("server.conf");
        let mut running = haproxy(Command::new(tool("haproxy")?), &config, &bind, &sink.to_string())?;
        wait(&mut running, address)?;
        Ok(Server { address, folder, _running: running })
    }

    fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

impl Kind {
    pub(crate) fn start(self, context: &Context, cores: &Cores, server: &Server) -> Result<Secured> {
        let authority = server.authority();
        let authority = authority.display();
        if self == Kind::Haproxy {
            let listener = port()?;
            let to = format!("{} ssl verify required ca-file {authority} force-tlsv13", server.address);
            let config = server.folder.path().join("client.conf");
            let mut running = haproxy(cores.server(tool("haproxy")?), &config, &listener.to_string(), &to)?;
            wait(&mut running, listener)?;
            return Ok(Secured::Haproxy(running, listener));
        }
        let folder = tempfile::tempdir_in(&context.scratch).context("make a folder for a socket")?;
        let socket = broker(&folder);
        let settings =
            format!("relay.threads = 1\nbroker.socket = {socket:?}\nbroker.tls_ca = \"{authority}\"");
        let home = Home::with(&context.scratch, &settings)?;
        let portolan = home.start(context, cores)?;
        Ok(Secured::Portolan(Box::new((portolan, home, folder))))
    }
}

fn broker(folder: &TempDir) -> PathBuf {
    folder.path().join("broker.sock")
}

impl Secured {
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Secured::Portolan(running) => running.0.process.pid(),
            Secured::Haproxy(process, _) => process.pid(),
        }
    }

    /// Where our own is asked.
    pub(crate) fn broker(&self) -> Option<PathBuf> {
        match self {
            Secured::Portolan(running) => Some(broker(&running.2)),
            Secured::Haproxy(..) => None,
        }
    }

    /// Where the other one is connected to.
    pub(crate) fn listener(&self) -> Option<SocketAddr> {
        match self {
            Secured::Portolan(..) => None,
            Secured::Haproxy(_, listener) => Some(*listener),
        }
    }

    pub(crate) fn stop(self) -> Result<()> {
        match self {
            Secured::Portolan(running) => {
                let (portolan, _home, _folder) = *running;
                portolan.stop()
            }
            Secured::Haproxy(process, _) => {
                drop(process);
                Ok(())
            }
        }
    }
}
