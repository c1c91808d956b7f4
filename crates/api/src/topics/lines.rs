//! The Unix socket for programs that speak no HTTP.
//!
//! | first line | then |
//! |---|---|
//! | `publish TOPIC` | every line is a message; each is answered with its number when it is decided |
//! | `subscribe TOPIC [FROM]` | lines `NUMBER LENGTH MESSAGE` come, from number FROM on, else new ones |
//!
//! What goes wrong is said in a line that begins with `error: `, and then the connection ends.

use std::path::Path;
use std::sync::Arc;

use state::Drain;
use store::{Store, Watched};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{append, next_line};

/// Most connections at a time; further ones wait.
const MAX_CONNECTIONS: usize = 256;
/// Most messages that are looked up at a time.
const MAX_PAGE: usize = 256;

/// Accepts until it is time to leave.
pub(super) async fn listen(path: &Path, users: &[u32], store: &Store, drain: &Drain) {
    let shown = path.display();
    let listener = crate::serve::reserve_unix(path).map_err(|error| crate::http::chain(&error));
    let listener = match listener.and_then(|l| UnixListener::from_std(l).map_err(|e| e.to_string())) {
        Ok(listener) => listener,
        Err(why) => return tracing::error!(path = %shown, why, "no socket for topics"),
    };
    tracing::info!(path = %shown, "taking lines for topics");
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = room.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            both = accepted => both,
            () = drain.started() => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (store, users) = (store.clone(), users.to_vec());
        connections.spawn(async move {
            let _permit = permit;
            serve(stream, &users, &store).await;
        });
        while connections.try_join_next().is_some() {}
    }
    let _ = std::fs::remove_file(path);
    // What was sent and not answered may be sent again; nobody is waited for.
    connections.shutdown().await;
}

async fn serve(stream: UnixStream, users: &[u32], store: &Store) {
    let is_known = stream.peer_cred().is_ok_and(|who| {
        let uid = who.uid();
        uid == 0 || uid == rustix::process::geteuid().as_raw() || users.contains(&uid)
    });
    let (from, mut to) = stream.into_split();
    let ended = match is_known {
        true => converse(BufReader::new(from), &mut to, store).await,
        false => Err("this user may not use topics: name it in topics.users".to_owned()),
    };
    if let Err(why) = ended {
        let _ = to.write_all(format!("error: {why}\n").as_bytes()).await;
    }
}

async fn converse(
    mut from: BufReader<OwnedReadHalf>,
    to: &mut OwnedWriteHalf,
    store: &Store,
) -> Result<(), String> {
    let Some(first) = next_line(&mut from).await.map_err(|error| error.to_string())? else { return Ok(()) };
    let first = String::from_utf8_lossy(&first);
    let words: Vec<_> = first.split_ascii_whitespace().collect();
    match words[..] {
        ["publish", topic] => publish(topic, from, to, store).await,
        ["subscribe", topic] => {
            let next = store.now().topic(topic).map_or(1, |topic| topic.next);
            subscribe(topic, next, from, to, store).await
        }
        ["subscribe", topic, number] => {
            let number = number.parse().map_err(|_| format!("{number:?} is no number of a message"))?;
            subscribe(topic, number, from, to, store).await
        }
        _ => Err("the first line is `publish TOPIC` or `subscribe TOPIC [FROM]`".to_owned()),
    }
}

async fn publish(
    topic: &str,
    mut from: BufReader<OwnedReadHalf>,
    to: &mut OwnedWriteHalf,
    store: &Store,
) -> Result<(), String> {
    while let Some(line) = next_line(&mut from).await.map_err(|error| error.to_string())? {
        let number = append(store, topic, line).await?;
        to.write_all(format!("{number}\n").as_bytes()).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn subscribe(
    topic: &str,
    mut next: u64,
    mut from: BufReader<OwnedReadHalf>,
    to: &mut OwnedWriteHalf,
    store: &Store,
) -> Result<(), String> {
    let scope = || [Watched::Topic(catalog::Topic::Messages(topic.into()))];
    let mut watch = store.watch(scope());
    loop {
        let now = store.now();
        let found =
            now.topic(topic).map(|entry| entry.from(next).take(MAX_PAGE).cloned().collect::<Vec<_>>());
        drop(now);
        let found = found.unwrap_or_default();
        for message in &found {
            let mut line = format!("{} {} ", message.index, message.payload.len()).into_bytes();
            line.extend_from_slice(&message.payload);
            line.push(b'\n');
            to.write_all(&line).await.map_err(|error| error.to_string())?;
            next = message.index + 1;
        }
        if found.is_empty() {
            tokio::select! {
                () = watch.changed() => {}
                // Whoever listens says nothing more; the end of its side is the end.
                _ = next_line(&mut from) => return Ok(()),
            }
        }
    }
}
