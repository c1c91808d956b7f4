//! The daemon under load.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use peers::{Running, reserve_port};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(120);

/// Where it listens.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) api: SocketAddr,
    pub(crate) dns: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) udp: SocketAddr,
}

/// What it holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) kib: u64,
    pub(crate) fds: u64,
}

pub(crate) struct Daemon {
    pub(crate) ports: Ports,
    process: Running,
    folder: TempDir,
}

impl Daemon {
    pub(crate) fn start(program: &Path, settings: impl FnOnce(Ports) -> String) -> Daemon {
        Daemon::start_by(Command::new(program), settings)
    }

    /// Starts it by a command that ends in the program's name.
    pub(crate) fn start_by(mut command: Command, settings: impl FnOnce(Ports) -> String) -> Daemon {
        let port = || SocketAddr::from((Ipv4Addr::LOCALHOST, reserve_port().unwrap()));
        let ports = Ports { api: port(), dns: port(), http: port(), tcp: port(), udp: port() };
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("portolan.toml");
        std::fs::write(&config, common(ports) + &settings(ports)).unwrap();
        command.arg("serve").arg("--config").arg(&config).arg("--data-dir").arg(folder.path().join("data"));
        command.env("RUST_LOG", "warn");
        let mut process = Running::start(&mut command).unwrap();
        let ready = || {
            get(ports.api, "/readyz").is_some_and(|answer| {
                answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200")
            })
        };
        process.wait_until(LIMIT, "portolan to be ready", ready).unwrap();
        Daemon { ports, process, folder }
    }

    /// Gives it other settings.
    pub(crate) async fn reconfigure(&self, settings: &str) {
        let text = common(self.ports) + settings;
        std::fs::write(self.folder.path().join("portolan.toml"), text).unwrap();
        put(self.ports.api, "/v1/agent/reload", "").await;
    }

    pub(crate) fn usage(&self) -> Usage {
        let folder = format!("/proc/{}", self.process.pid());
        let statm = std::fs::read_to_string(format!("{folder}/statm")).unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        let fds = std::fs::read_dir(format!("{folder}/fd")).unwrap().count() as u64;
        Usage { kib: pages * rustix::param::page_size() as u64 / 1024, fds }
    }

    /// Waits until it holds no connection any more.
    pub(crate) fn is_quiet(&self) {
        let open = || (self.metric("portolan_relay_open")? == 0).then_some(());
        peers::until(LIMIT, "all connections to end", open).unwrap();
    }

    /// A number of its metrics.
    pub(crate) fn metric(&self, name: &str) -> Option<u64> {
        let metrics = get(self.ports.api, "/metrics")?;
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// Its processor time so far, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        ticks * 1000 / rustix::param::clock_ticks_per_second()
    }
}

/// What every daemon here begins with.
fn common(ports: Ports) -> String {
    format!("api.listen = [\"{}\"]\ndns.listen = [\"{}\"]\n", ports.api, ports.dns)
}

fn get(api: SocketAddr, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(api).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Tells the daemon something; it must agree.
pub(crate) async fn put(api: SocketAddr, path: &str, body: &str) {
    let mut stream = TcpStream::connect(api).await.unwrap();
    let request = format!(
        "PUT {path} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "PUT {path} {body}: {answer}");
}
