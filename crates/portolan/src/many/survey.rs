//! How every member does, asked through the mesh: only so is it seen who reaches whom.

use std::io;
use std::time::Duration;

use consul::own;
use mesh::{Incoming, Kind, Lane, Mesh, frame};
use state::Drain;
use store::Store;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use super::face::{Linked, own_status};

const KIND: Kind = Kind::of("status");
/// A few hundred links fit.
const MAX_STATUS: usize = 1 << 20;
/// How long a member may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks all members at once.
pub(super) async fn everybody(own: own::NodeStatus, store: &Store, mesh: &Mesh) -> own::ClusterStatus {
    let view = store.now();
    let mut asked = JoinSet::new();
    for member in view.cluster().members().filter(|member| member.name != own.node) {
        let (mesh, name) = (mesh.clone(), member.name.clone());
        asked.spawn(async move {
            let answer = match tokio::time::timeout(PATIENCE, ask(&mesh, &name)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {PATIENCE:?}")),
            };
            (name, answer)
        });
    }
    let (mut others, mut silent) = (Vec::new(), Vec::new());
    for (node, answer) in asked.join_all().await {
        match answer {
            Ok(status) => others.push(status),
            Err(problem) => silent.push(own::Silent { node, problem: problem.into() }),
        }
    }
    others.sort_by(|a, b| a.node.cmp(&b.node));
    silent.sort_by(|a, b| a.node.cmp(&b.node));
    own::ClusterStatus { own, others, silent }
}

async fn ask(mesh: &Mesh, peer: &str) -> io::Result<own::NodeStatus> {
    let mut stream = mesh.open(peer, KIND, Lane::Control).await.map_err(io::Error::other)?;
    stream.shutdown().await?;
    let answer = frame::read(&mut stream, MAX_STATUS).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Answers other members until the drain starts.
pub(crate) async fn serve(store: Store, linked: Linked, drain: Drain) {
    let mut incoming = linked.mesh.accept(KIND);
    loop {
        let Incoming { peer, mut stream, .. } = tokio::select! {
            Some(stream) = incoming.recv() => stream,
            () = drain.started() => return,
        };
        let status = own_status(&store, Some(&linked));
        tokio::spawn(async move {
            let answer = async {
                frame::write(&mut stream, &serde_json::to_vec(&status)?).await?;
                stream.shutdown().await
            };
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(peer, %error, "a question for the status was not answered"),
                Err(_) => tracing::debug!(peer, "nobody took the answer to a question for the status"),
            }
        });
    }
}
