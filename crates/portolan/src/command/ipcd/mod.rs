//! `portolan ipcd`, and the binary called as `ipcd`: the seed's daemon with the flags that it promises. It opens none
//! of the node's ports and keeps nothing; it is a broker with rules of its own.
//!
//! Where to look: which words belong to which flag, and stars that a shell replaced, in [`words`]; what they mean in
//! [`rules`]; hosts whose addresses are judged in [`hosts`].

mod hosts;
mod rules;
mod words;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Parser;
use prometheus_client::registry::Registry;
use relay::tls::CertificateFiles;
use relay::{Relay, TcpDial};
use route::{Here, Routes};

use crate::cli::Global;
use crate::config::{LogFormat, Logging};
use crate::exit::{Exit, Failure, Result};
use crate::logging;
use crate::signals::{Signals, Word};
use rules::Said;

/// How long connections whose bytes are moved may take to finish at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where the two generations of libipc look when nothing else is said.
const FOLDER_OF_C: &str = "/run/ipc";
const FOLDER_OF_ZIG: &str = "/tmp/.libipc-run";

const RULES: &str = "\
Rules and redirections, as often as needed; of all --allow and --deny, the first that matches decides:
  --allow in|out SERVICE URI    let connections pass
  --deny in|out SERVICE URI     refuse them
  --redirect NAME NEW [NEW…]    lead a name elsewhere: to another name or a URI, with =WEIGHT for shares

SERVICE is a name, or any (or '*', in quotes). URI is the other side: any, tls:any, tls:example.com, or
tls:example.com:9000. Coming in, tls:HOST is the name that its certificate proves; by other schemes, HOST is an
address, a network, or a name whose addresses are judged. Going out, it is the host in the route.
What no rule matches is refused if any rule is about its direction, else let pass. What goes from a program to
a service on this host goes neither in nor out; unix:any in the place of the URI is about that.";

/// Connections for programs that ask with IPC_NETWORK, and for `portolan connect`
#[derive(Debug, Parser)]
#[command(name = "ipcd", version, after_help = RULES, max_term_width = 100)]
struct Flags {
    /// Folder of libipc's generation in C; `network` is opened in it [default: /run/ipc, if it can be had]
    #[arg(long, env = "IPC_RUNDIR", value_name = "FOLDER")]
    c: Option<PathBuf>,
    /// Folder of libipc's generation in Zig; `ipc` is opened in it [default: /tmp/.libipc-run]
    #[arg(long, env = "RUNDIR", value_name = "FOLDER")]
    zig: Option<PathBuf>,
    /// Socket for `portolan connect` and other programs of ours [default: none]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Where names lead that nobody here knows, as a URI; the name is put behind it
    #[arg(long, value_name = "URI")]
    default_route: Option<String>,
    /// Authorities that servers of tls and wss routes are verified by, in a PEM file [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Pre-shared keys of tls routes, as `portolan psk create` writes them
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Let programs of other hosts in, as tcpd and tlsd did: tcp:ADDRESS:PORT, or tls:ADDRESS:PORT
    #[arg(long, value_name = "WHERE", value_parser = place)]
    listen: Vec<Place>,
    /// Certificate of this host, with those between it and its authority, in a PEM file: for them, and for servers
    /// of tls routes that ask for one. Without it, only those who have a key of --keys can tell who answers
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Authorities that vouch for their certificates, in a PEM file
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,
    /// How much is told: error, warn, info, debug, trace
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "LEVEL")]
    log_level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    by_tls: bool,
    address: SocketAddr,
}

fn place(text: &str) -> std::result::Result<Place, String> {
    let (scheme, address) = text.split_once(':').unwrap_or((text, ""));
    let by_tls = match scheme {
        "tcp" => false,
        "tls" => true,
        _ => return Err("it begins with tcp: or tls:".to_owned()),
    };
    let address = address.trim_start_matches("//").parse();
    address.map(|address| Place { by_tls, address }).map_err(|_| "an address and a port follow".to_owned())
}

/// True when this process was started under ipcd's name.
pub(crate) fn is_meant(arguments: &[OsString]) -> bool {
    let name = arguments.first().map(Path::new).and_then(Path::file_stem);
    name.is_some_and(|name| name == "ipcd")
}

/// Runs until a signal ends it; `arguments` without the program's name.
pub(crate) fn run(arguments: Vec<OsString>, global: &Global) -> Result {
    let usage = |why: String| Failure::new(Exit::Usage, anyhow!(why)).advise("`ipcd --help` shows them all");
    let (flags, rest) = words::split(arguments).map_err(usage)?;
    // It ends the process by itself when help is asked for or something is wrong.
    let settings = Flags::parse_from(std::iter::once("ipcd".into()).chain(rest));
    let said = rules::read(&flags, &words::files()).map_err(usage)?;
    let level = settings.log_level.clone();
    logging::start(&Logging { level, format: LogFormat::Human }, global.out().colored_errors())?;
    said.notes.iter().for_each(|note| tracing::warn!("{note}"));
    if let Err(cause) = sys::process::raise_descriptor_limit() {
        tracing::warn!(error = %cause, "could not raise the limit of open descriptors");
    }
    let config = settings.config().map_err(usage)?;
    guard(&config.incoming, &said).map_err(usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start a runtime")?.block_on(serve(config, said)).map_err(Failure::from)
}

impl Flags {
    fn config(self) -> std::result::Result<broker::Config, String> {
        let (mut c, mut zig) = (self.c, self.zig);
        if c.is_none() && zig.is_none() {
            c = Some(PathBuf::from(FOLDER_OF_C)).filter(|folder| can_be_had(folder));
            zig = Some(PathBuf::from(FOLDER_OF_ZIG));
        }
        if let Some(route) = &self.default_route {
            broker::uri::Uri::parse(route).map_err(|error| format!("--default-route: {error}"))?;
        }
        let at = |by_tls| {
            self.listen.iter().filter(move |place| place.by_tls == by_tls).map(|place| place.address)
        };
        let files = self.certificate.zip(self.key);
        let incoming = broker::Incoming {
            tcp: at(false).collect(),
            tls: at(true).collect(),
            clients: self.clients,
            ..broker::Incoming::default()
        };
        let certificate = files.map(|(certificate, key)| CertificateFiles { certificate, key });
        if !incoming.tls.is_empty() && certificate.is_none() && self.keys.is_none() {
            return Err("--listen tls: needs --certificate and --key, or --keys".to_owned());
        }
        Ok(broker::Config {
            incoming,
            certificate,
            // Empty: the usual place belongs to the node's daemon.
            socket: Some(self.socket.unwrap_or_default()),
            libipc: broker::Libipc { c, zig },
            default_route: self.default_route,
            tls_ca: self.ca,
            keys: self.keys,
            ..broker::Config::default()
        })
    }
}

/// Beyond loopback, who may come in by plain TCP must have been said.
fn guard(incoming: &broker::Incoming, said: &Said) -> std::result::Result<(), String> {
    let open = incoming.tcp.iter().find(|address| !address.ip().is_loopback());
    match open.filter(|_| !said.is_about_incoming()) {
        Some(address) => Err(format!(
            "--listen tcp:{address}: whoever comes would be let in unasked; say who may, with --allow in and --deny in"
        )),
        None => Ok(()),
    }
}

/// Whether a socket can be opened in a folder that we may have to make.
fn can_be_had(folder: &Path) -> bool {
    let is_writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    let made = if folder.is_dir() { Some(folder) } else { folder.parent() };
    let found = made.is_some_and(is_writable);
    if !found {
        tracing::info!(folder = %folder.display(), "programs of libipc's in C find no broker: --c names a folder");
    }
    found
}

async fn serve(config: broker::Config, mut said: Said) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let (trigger, drain) = state::drain();
    let mut registry = Registry::default();
    let ends = crate::daemon::guard::own_ends();
    said.ends_handed = ends.is_some();
    let here = hosts::first(&said).await?;
    let (publisher, routes) = state::channel(routes(here));
    let threads = relay::Config { threads: 1, ..relay::Config::default() };
    let relay =
        Relay::start(threads, &routes, Arc::new(TcpDial), &mut registry).context("start the data thread")?;
    let listeners = broker::Listeners::reserve(&config)?;
    listeners.paths().for_each(|path| tracing::info!(path = %path.display(), "local programs may ask"));
    listeners.addresses().iter().for_each(|address| tracing::info!(%address, "other hosts may come in"));
    let inputs = broker::Inputs {
        relay: relay.clone(),
        domain: "".into(),
        mesh: None,
        offers: None,
        routes,
        ends,
        metrics: broker::Metrics::register(&mut registry),
        patience: FAREWELL,
    };
    let running = tokio::spawn(broker::run(config, listeners, inputs, drain.clone()));
    let following = tokio::spawn(hosts::follow(said, publisher, drain));
    tracing::info!("serving");
    let signal = match signals.next().await {
        Word::Leave(signal) => signal,
        // As the original.
        Word::Reload => "SIGHUP",
    };
    tracing::info!(signal, "leaving");
    trigger.start();
    running.await.context("the broker failed")?;
    following.await.context("following the addresses of hosts failed")?;
    tokio::task::spawn_blocking(move || relay.stop()).await.context("stop the data thread")?;
    Ok(())
}

/// What is known of services: nothing; of rules and redirections: those of the flags.
fn routes(here: Here) -> Routes {
    Routes::project_on(&catalog::Snapshot::default(), Arc::new(here))
}
