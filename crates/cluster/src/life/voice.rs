//! How nodes hear each other: a small trait, and the mesh behind it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mesh::{Incoming, Kind, Lane, Mesh, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::life::wire::MOST_BYTES;

const BEATS: Kind = Kind::of("life");
const PROBES: Kind = Kind::of("life-probe");
/// Messages that wait for one peer. More are dropped: the next one says it again.
const WAITING: usize = 32;
/// Messages that wait for this node.
const HEARD: usize = 4096;

/// A message and who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Name of the peer, as its certificate says.
    pub peer: String,
    /// What it said.
    pub message: Bytes,
}

/// Carries messages between nodes that are linked. Nothing is promised: what is lost is said again.
pub trait Voice: Send + Sync {
    /// Says something to a peer, without waiting.
    fn say(&self, peer: &str, message: Bytes);
    /// Whether a peer answers at all, by a way of its own, within a time.
    fn reaches<'a>(&'a self, peer: &'a str, within: Duration) -> BoxFuture<'a, bool>;
}

/// The mesh as a voice. Lives until it is dropped.
pub struct MeshVoice {
    mesh: Mesh,
    lines: Arc<Mutex<HashMap<String, mpsc::Sender<Bytes>>>>,
    tasks: tokio::task::JoinSet<()>,
}

impl MeshVoice {
    /// Takes the mesh's streams of these kinds; the receiver gets what peers say.
    pub fn new(mesh: Mesh) -> (MeshVoice, mpsc::Receiver<Heard>) {
        let (sender, receiver) = mpsc::channel(HEARD);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(hear(mesh.accept(BEATS), sender));
        tasks.spawn(answer_probes(mesh.accept(PROBES)));
        (MeshVoice { mesh, lines: Arc::default(), tasks }, receiver)
    }
}

impl Drop for MeshVoice {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

impl Voice for MeshVoice {
    fn say(&self, peer: &str, message: Bytes) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let message = match lines.get(peer) {
            Some(line) => match line.try_send(message) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => return,
                Err(mpsc::error::TrySendError::Closed(message)) => message,
            },
            None => message,
        };
        let (line, waiting) = mpsc::channel(WAITING);
        if line.try_send(message).is_ok() {
            lines.insert(peer.to_owned(), line);
            tokio::spawn(speak(self.mesh.clone(), peer.to_owned(), waiting));
        }
    }

    fn reaches<'a>(&'a self, peer: &'a str, within: Duration) -> BoxFuture<'a, bool> {
        let probe = async {
            let mut stream = self.mesh.open(peer, PROBES, Lane::Data).await.ok()?;
            stream.write_u8(1).await.ok()?;
            stream.flush().await.ok()?;
            stream.read_u8().await.ok()
        };
        Box::pin(async move { matches!(tokio::time::timeout(within, probe).await, Ok(Some(_))) })
    }
}

/// Says what waits on one stream, until that breaks or nobody has anything to say any more.
async fn speak(mesh: Mesh, peer: String, mut waiting: mpsc::Receiver<Bytes>) {
    let Ok(mut stream) = mesh.open(&peer, BEATS, Lane::Control).await else { return };
    while let Some(message) = waiting.recv().await {
        let said = async {
            frame::write(&mut stream, &message).await?;
            stream.flush().await
        };
        if said.await.is_err() {
            return;
        }
    }
}

async fn hear(mut streams: mpsc::Receiver<Incoming>, to: mpsc::Sender<Heard>) {
    let mut listening = tokio::task::JoinSet::new();
    while let Some(incoming) = streams.recv().await {
        while listening.try_join_next().is_some() {}
        listening.spawn(listen(incoming, to.clone()));
    }
}

async fn listen(incoming: Incoming, to: mpsc::Sender<Heard>) {
    let Incoming { peer, mut stream, .. } = incoming;
    while let Ok(Some(message)) = frame::read(&mut stream, MOST_BYTES).await {
        if to.send(Heard { peer: peer.clone(), message }).await.is_err() {
            return;
        }
    }
}

async fn answer_probes(mut streams: mpsc::Receiver<Incoming>) {
    while let Some(mut incoming) = streams.recv().await {
        tokio::spawn(async move {
            let answer = async {
                let byte = incoming.stream.read_u8().await?;
                incoming.stream.write_u8(byte).await?;
                incoming.stream.shutdown().await
            };
            // Whoever asked does not wait longer than this either.
            let _ = tokio::time::timeout(Duration::from_secs(10), answer).await;
        });
    }
}
