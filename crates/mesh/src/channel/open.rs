//! How sessions begin: the elder opens the streams of all lanes, the younger collects them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::Hub;
use super::session;
use crate::dial::Waits;
use crate::open::Lane;
use crate::serve::Incoming;
use crate::stream::Stream;

/// How long the lanes of a session may take to come together.
const TIME: Duration = Duration::from_secs(10);
/// Waits between tries while the control link is up: the other side may not have the channel yet.
const WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Streams of sessions that are not complete, by peer and the elder's tag.
type Incomplete = HashMap<String, (u64, Vec<Option<Stream>>)>;

/// The younger's side.
pub(super) async fn accept(hub: Arc<Hub>, mut incoming: mpsc::Receiver<Incoming>) {
    let incomplete = Arc::new(Mutex::new(Incomplete::new()));
    // They end with this task, and do not hold the mesh any longer.
    let mut tasks = JoinSet::new();
    while let Some(one) = incoming.recv().await {
        while tasks.try_join_next().is_some() {}
        let (hub, incomplete) = (hub.clone(), incomplete.clone());
        tasks.spawn(async move {
            let Incoming { peer, mut stream, .. } = one;
            let Ok(Ok((tag, lane))) = tokio::time::timeout(TIME, read_header(&mut stream, &hub)).await else {
                return stream.reset();
            };
            let complete = collect(
                &mut incomplete.lock().unwrap_or_else(PoisonError::into_inner),
                Part { peer: &peer, tag, lane, lanes: hub.lanes.len(), stream },
            );
            if let Some(streams) = complete {
                session::run(&hub, &peer, streams).await;
            }
        });
    }
}

struct Part<'a> {
    peer: &'a str,
    tag: u64,
    lane: usize,
    lanes: usize,
    stream: Stream,
}

/// Adds a lane; all of them, if it was the last that was missing. Another tag begins anew: the elder gave up the one
/// before.
fn collect(incomplete: &mut Incomplete, part: Part<'_>) -> Option<Vec<Stream>> {
    let none = || (part.tag, (0..part.lanes).map(|_| None).collect());
    let (tag, lanes) = incomplete.entry(part.peer.to_owned()).or_insert_with(none);
    if *tag != part.tag {
        (*tag, *lanes) = none();
    }
    *lanes.get_mut(part.lane)? = Some(part.stream);
    if lanes.iter().any(Option::is_none) {
        return None;
    }
    let (_, lanes) = incomplete.remove(part.peer)?;
    lanes.into_iter().collect()
}

/// The tag of the session, which lane this is, and of how many.
async fn read_header(stream: &mut Stream, hub: &Hub) -> io::Result<(u64, usize)> {
    let (tag, lane, lanes) = (stream.read_u64().await?, stream.read_u8().await?, stream.read_u8().await?);
    let (lane, lanes) = (usize::from(lane), usize::from(lanes));
    if lanes != hub.lanes.len() || lane >= lanes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the other side has other lanes"));
    }
    Ok((tag, lane))
}

/// The elder's side: a task for every linked peer with a larger name.
pub(super) async fn follow_links(hub: Arc<Hub>) {
    let mut links = hub.shared.table.reader();
    let mut tasks = JoinSet::new();
    let mut serving: HashMap<String, (u64, AbortHandle)> = HashMap::new();
    let mut now = links.now();
    loop {
        let own = hub.shared.name();
        for (peer, state) in now.0.iter().filter(|(peer, _)| **peer > own) {
            let Some(session) = state.up.as_ref().map(|up| up.session) else { continue };
            if serving.get(peer).is_some_and(|(known, _)| *known == session) {
                continue;
            }
            // The task of the link before ends with its streams, and tells its `Down`.
            let task = tasks.spawn(keep(hub.clone(), peer.clone(), session));
            serving.insert(peer.clone(), (session, task));
        }
        while tasks.try_join_next().is_some() {}
        serving.retain(|_, (_, task)| !task.is_finished());
        let Some(next) = links.next().await else { return };
        now = next;
    }
}

/// Keeps a session as long as this control link lasts.
async fn keep(hub: Arc<Hub>, peer: String, link: u64) {
    let mut waits = Waits::new(WAIT.0, WAIT.1);
    while hub.shared.table.control(&peer).is_some_and(|control| control.session == link) {
        match tokio::time::timeout(TIME, open(&hub, &peer, link)).await {
            Ok(Ok(streams)) => {
                waits.reset();
                session::run(&hub, &peer, streams).await;
            }
            Ok(Err(error)) => tracing::debug!(peer, kind = %hub.kind, %error, "no session yet"),
            Err(_) => tracing::debug!(peer, kind = %hub.kind, "no session in time"),
        }
        tokio::time::sleep(waits.next()).await;
    }
}

async fn open(hub: &Hub, peer: &str, link: u64) -> io::Result<Vec<Stream>> {
    let tag = fastrand::u64(..);
    let count = u8::try_from(hub.lanes.len()).map_err(io::Error::other)?;
    let mut streams = Vec::new();
    for (at, lane) in (0..count).zip(&hub.lanes) {
        let opened = match lane {
            Lane::Control => hub.shared.open_in_session(peer, hub.kind, Some(link)).await,
            lane => hub.shared.open(peer, hub.kind, *lane).await,
        };
        let mut stream = opened.map_err(io::Error::other)?;
        stream.write_u64(tag).await?;
        stream.write_all(&[at, count]).await?;
        stream.flush().await?;
        streams.push(stream);
    }
    for stream in &mut streams {
        stream.taken().await?;
    }
    Ok(streams)
}
