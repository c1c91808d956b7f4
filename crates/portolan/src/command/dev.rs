//! `portolan dev`: a node in memory on loopback, and what to type next; or several as a cluster (`nodes`).

mod nodes;

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::daemon::{self, Daemon};
use super::sources::SourceArgs;
use crate::cli::Global;
use crate::compose::{Memory, Node};
use crate::config::{Config, load_over};
use crate::exit::Result;
use crate::listeners::avoid_taken;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
    /// Run a whole cluster of this many nodes on this host instead, each a process of its own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=nodes::MOST as i64))]
    nodes: Option<u8>,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let sources = args.sources.sources()?;
    if let Some(count) = args.nodes {
        return super::block_on(nodes::run(count.into(), sources, global));
    }
    let mut defaults = Config::default();
    avoid_taken(&mut defaults);
    let loaded = load_over(&sources, &defaults)?;
    daemon::run(
        Daemon {
            sources,
            defaults,
            loaded,
            memory: Memory::Volatile,
            greet: Some(banner),
            notes: Vec::new(),
            definitions: None,
        },
        global,
    )
}

/// Every listener, and three commands that really work when pasted.
fn banner(node: &Node) -> String {
    let mut text = format!(
        "portolan {} on node \"{}\": everything is in memory and gone when this stops (Ctrl-C)\n\n",
        env!("CARGO_PKG_VERSION"),
        node.identity.name
    );
    for (what, address) in node.addresses.iter() {
        let _ = writeln!(text, "  {what:<11} {}", shown(what, address));
    }
    text.push_str("\nIn another terminal:\n\n");
    for line in commands(node) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

fn shown(what: &str, address: SocketAddr) -> String {
    match what {
        "HTTP API" => format!("http://{address}"),
        "DNS" => format!("{address}  udp and tcp"),
        "TCP proxy" => format!("{address}  send a service's name and a newline, then talk"),
        "HTTP proxy" => format!("{address}  by Host name or path prefix"),
        _ => address.to_string(),
    }
}

/// Only programs that are here are named.
fn commands(node: &Node) -> Vec<String> {
    let program = program();
    let Some(api) = node.addresses.http.first() else { return Vec::new() };
    let is_default = api.port() == 8500 && api.ip().is_loopback();
    let option = if is_default { String::new() } else { format!(" --api {api}") };
    let register = match is_on_path("curl") {
        true => format!(
            "curl -X PUT http://{api}/v1/agent/service/register -d '{{\"Name\": \"web\", \"Port\": {}}}'",
            api.port()
        ),
        false => format!("{program} register web --port {}{option}", api.port()),
    };
    let resolve = match node.addresses.dns.first() {
        Some(dns) if is_on_path("dig") => {
            format!("dig @{} -p {} web.svc.internal +short", dns.ip(), dns.port())
        }
        _ => format!("{program} resolve web{option}"),
    };
    vec![register, resolve, format!("{program} services{option}")]
}

/// `portolan`, or where it is when the shell would not find it.
fn program() -> String {
    let own = std::env::current_exe().ok();
    let found = on_path("portolan").and_then(|path| path.canonicalize().ok());
    match own {
        Some(own) if own.canonicalize().ok() != found => own.display().to_string(),
        _ => "portolan".to_owned(),
    }
}

fn is_on_path(program: &str) -> bool {
    on_path(program).is_some()
}

fn on_path(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}
