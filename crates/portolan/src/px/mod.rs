//! A px node: the mesh, the agreed order, and nothing else. Lines come in by standard input or a named pipe, and go
//! out by standard output, in the same order on every node.
//!
//! The order is the log's, by the same engine as a cluster's, on a fixed list of servers: the file's. Their numbers
//! are made of their names, so that nobody has to be told them; what holds the nodes of different lists apart is the
//! kind of their streams, which is made of the list.
//!
//! Absent: registry, names, proxies, API.

mod carrier;
mod kept;
mod lines;
mod order;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use log::paxos::{Begin, Identity, ServerId};
use mesh::{Kind, Mesh, Peers};

use crate::signals::{Signals, Word};
use carrier::Carrier;
use lines::Lines;
use order::Order;

/// What a px node is started with.
pub(crate) struct Node {
    /// The px file.
    pub(crate) file: PathBuf,
    /// Where the order is kept.
    pub(crate) data_dir: PathBuf,
    /// Print lines from this place in the order on, those of earlier runs too.
    pub(crate) from: Option<u64>,
}

/// Segments of the order's file, and what may be under way: lines are short.
const SEGMENT: u64 = 16 << 20;
const WINDOW: u64 = 1 << 20;
/// Single entries that are kept behind a summary.
const RETAIN: u64 = 256;

/// Runs until a signal says otherwise.
pub(crate) async fn run(node: Node) -> Result<()> {
    let mut signals = Signals::listen()?;
    let config = px::Config::load(&node.file)?;
    let trust = px::load_trust(&config)?;
    // Held here: when they are gone, so is the mesh's knowledge of whom to link with.
    let (_trust, trust) = state::channel(trust);
    let wanted = config.servers.iter().map(|server| (server.name.clone(), [server.address.clone()]));
    let (_peers, peers) = state::channel(Peers::of(wanted));
    let settings = mesh_config(&config).await?;
    let mesh = Mesh::start(settings, trust, peers)?;
    tokio::spawn(px::dialect::serve(config.id.clone(), mesh.guests(), Arc::default()));

    let names = names(&config)?;
    let (carrier, links) = Carrier::start(&mesh, kind(&names), &names);
    let members: Vec<Identity> = names.keys().map(|server| identity(*server)).collect();
    let order = log_config(node.data_dir.join(&config.id), server(&config.id), members);
    std::fs::create_dir_all(&order.dir).with_context(|| format!("make {}", order.dir.display()))?;
    let (log, events) = log::paxos::open(&order, Arc::new(carrier), links)?;
    tracing::info!(node = config.id, address = %mesh.local_addr()?, servers = names.len(), "px node runs");

    let mut lines = Lines::read(config.pipe.clone());
    let mut order = Order::new(log, events, config.id, node.from, config.retention);
    let ended = loop {
        tokio::select! {
            stopped = order.turn() => break stopped,
            Some(line) = lines.next() => order.propose(&line).await?,
            word = signals.next() => if let Word::Leave(signal) = word {
                tracing::info!(signal, "px node leaves");
                break Ok(());
            },
        }
    };
    order.close().await;
    mesh.close(Duration::from_secs(2)).await;
    ended
}

async fn mesh_config(config: &px::Config) -> Result<mesh::Config> {
    let resolved = tokio::net::lookup_host(config.address.as_str()).await;
    let resolved = resolved.with_context(|| format!("resolve me.addr, {}", config.address))?.next();
    let listen = resolved.with_context(|| format!("me.addr, {}, has no address", config.address))?;
    Ok(mesh::Config {
        listen,
        carrier: false,
        retry_first: config.retry_delay,
        retry_cap: config.retry_cap(),
        guests: px::dialect::guests(config.allow_without_certificate),
        ..mesh::Config::default()
    })
}

/// Every server by its number, this one among them.
fn names(config: &px::Config) -> Result<BTreeMap<ServerId, String>> {
    let mut names = BTreeMap::new();
    let all = config.servers.iter().map(|server| &server.name).chain([&config.id]);
    for name in all {
        if let Some(other) = names.insert(server(name), name.clone()) {
            bail!("the names {name:?} and {other:?} make the same number; change one of them");
        }
    }
    Ok(names)
}

fn server(name: &str) -> ServerId {
    ServerId(hash(b"server", name).max(1))
}

/// The disk's number too is made of the name: the list must be the same everywhere before any disk exists. So a
/// node that lost its disk must come back under another name; the documentation says so.
fn identity(server: ServerId) -> Identity {
    Identity { server, disk: hash(b"disk", &server.to_string()) }
}

/// FNV-1a, with a last mix so that its upper bits are as good. Names are the operator's own.
fn hash(salt: &[u8], text: &str) -> u64 {
    let bytes = salt.iter().copied().chain(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    let sum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (sum ^ sum >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Nodes whose files list other servers have another kind, and are refused with that reason.
fn kind(names: &BTreeMap<ServerId, String>) -> Kind {
    let list = names.values().map(String::as_str).collect::<Vec<_>>().join(" ");
    let name = format!("px-{:016x}", hash(b"list", &list));
    Kind::read(name.as_bytes()).unwrap_or(Kind::of("px"))
}

fn log_config(dir: PathBuf, server: ServerId, members: Vec<Identity>) -> log::paxos::Config {
    let mut config = log::paxos::Config::new(dir, server).beginning(Begin::FoundWith(members));
    config.segment_bytes = SEGMENT;
    config.max_command_bytes = lines::LONGEST * 2;
    // Beside what the state keeps, for nodes that lag a little.
    config.setup.retain = RETAIN;
    config.setup.window_bytes = WINDOW;
    config.setup.undecided_bytes = WINDOW;
    config.setup.park_bytes = WINDOW;
    config
}
