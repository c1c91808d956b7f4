//! Looks from outside: a node in another home connects to a port that is exposed here, and says whether it got in.
//!
//! ```text
//! request  frame with an address as JSON
//! answer   frame with {"Ok": null} or {"Err": why} as JSON
//! ```
//!
//! Whoever is asked connects to public addresses alone and closes at once: nobody learns anything of its own network.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use catalog::Snapshot;
use expose::router::{BoxFuture, is_public};
use expose::source::household::SITE;
use expose::{Lookout, Sight};
use mesh::{Incoming, Kind, Lane, Mesh, Stream, frame};
use state::Drain;
use store::Store;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const KIND: Kind = Kind::of("look");
const MAX_FRAME: usize = 1 << 10;
/// How long a connection may take, and then the word of it.
const CONNECT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(3);
/// Most nodes that are asked before it is given up.
const MOST: usize = 2;
/// Most looks at a time: more wait.
const AT_ONCE: usize = 64;

type Answer = Result<(), String>;

/// Asks nodes of other homes.
pub(crate) struct FromElsewhere {
    pub(crate) mesh: Mesh,
    pub(crate) store: Store,
    /// Our home.
    pub(crate) site: Arc<str>,
}

impl Lookout for FromElsewhere {
    fn look(&self, at: SocketAddr) -> BoxFuture<'_, Option<Sight>> {
        Box::pin(async move {
            for by in elsewhere(&self.store.now(), &self.site, &self.mesh.name()) {
                match tokio::time::timeout(PATIENCE, ask(&self.mesh, &by, at)).await {
                    Ok(Ok(outcome)) => return Some(Sight { by, outcome }),
                    Ok(Err(error)) => tracing::debug!(node = %by, %error, "a node elsewhere does not look"),
                    Err(_) => tracing::debug!(node = %by, "a node elsewhere takes too long to look"),
                }
            }
            None
        })
    }
}

/// Nodes that say that they are in another home, and live.
fn elsewhere(snapshot: &Snapshot, site: &Arc<str>, own: &str) -> Vec<Arc<str>> {
    let nodes = snapshot.nodes().filter(|node| {
        let is_elsewhere = node.def.meta.get(SITE).is_some_and(|theirs| theirs != site);
        is_elsewhere && node.down.is_none() && *node.def.name != *own
    });
    nodes.map(|node| node.def.name.clone()).take(MOST).collect()
}

async fn ask(mesh: &Mesh, node: &str, at: SocketAddr) -> io::Result<Answer> {
    let mut stream: Stream = mesh.open(node, KIND, Lane::Control).await.map_err(io::Error::other)?;
    frame::write(&mut stream, &serde_json::to_vec(&at)?).await?;
    stream.flush().await?;
    let answer = frame::read(&mut stream, MAX_FRAME).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Looks for other nodes, until the drain starts.
pub(crate) async fn serve(mesh: Mesh, drain: Drain) {
    let mut incoming = mesh.accept(KIND);
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Some(stream) = incoming.recv(), if open.len() < AT_ONCE => drop(open.spawn(answer(stream))),
            Some(_) = open.join_next(), if !open.is_empty() => {}
            () = drain.started() => return,
        }
    }
}

async fn answer(Incoming { peer, mut stream, .. }: Incoming) {
    let exchange = async {
        let request = frame::read(&mut stream, MAX_FRAME).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let at: SocketAddr = serde_json::from_slice(&request)?;
        let outcome = look(at).await;
        frame::write(&mut stream, &serde_json::to_vec(&outcome)?).await?;
        stream.shutdown().await
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(peer, %error, "a node that asked for a look was not answered"),
        Err(_) => tracing::debug!(peer, "a look took too long"),
    }
}

async fn look(at: SocketAddr) -> Answer {
    if !is_public(at.ip()) {
        return Err(format!("{at} is no address of the Internet"));
    }
    match tokio::time::timeout(CONNECT, TcpStream::connect(at)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(cause)) => Err(format!("connect to {at}: {cause}")),
        Err(_) => Err(format!("{at} does not answer within {CONNECT:?}")),
    }
}
