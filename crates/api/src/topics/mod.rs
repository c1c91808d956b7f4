//! Topics: messages of local programs in one agreed order, the same on every node.
//!
//! `paths` are the HTTP endpoints. `lines` and `fifo` are for programs that speak no HTTP: a Unix socket that
//! takes lines and acknowledges each, and FIFOs, which acknowledge nothing because a pipe cannot.

mod fifo;
mod lines;
mod paths;

use std::path::PathBuf;

use bytes::Bytes;
use catalog::{Command, Outcome, TopicCommand};
use serde::{Deserialize, Serialize};
use state::Drain;
use store::Store;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

pub(crate) use paths::{list, publish, read, remove, retain};

/// Settings of the ways in for programs that speak no HTTP. None of them is there unless configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Unix socket that takes lines: `publish TOPIC`, then one message per line.
    pub socket: Option<PathBuf>,
    /// Users (by number) that may use the socket, beside root and the daemon's own.
    pub users: Vec<u32>,
    /// FIFOs whose lines are published. Made where they are missing, for the daemon's user alone.
    pub fifos: Vec<Fifo>,
}

/// One FIFO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fifo {
    /// Where.
    pub path: PathBuf,
    /// Topic that its lines go to.
    pub topic: String,
}

/// Serves what is configured until it is time to leave.
pub async fn run(config: Config, store: Store, drain: Drain) {
    let fifos = config.fifos.iter().map(|fifo| fifo::follow(fifo, &store, &drain));
    let socket = async {
        if let Some(path) = &config.socket {
            lines::listen(path, &config.users, &store, &drain).await;
        }
    };
    tokio::join!(futures_util::future::join_all(fifos), socket);
    drain.started().await;
}

/// Publishes one message; its number, or why not in words.
async fn append(store: &Store, topic: &str, payload: Bytes) -> Result<u64, String> {
    let command = TopicCommand::Publish { topic: topic.into(), messages: vec![payload], producer: None };
    match store.submit(Command::Topic(command)).await {
        Ok(applied) => match applied.outcome {
            Outcome::Published { last, .. } => Ok(last),
            other => Err(format!("nothing was published: {other:?}")),
        },
        Err(error) => Err(crate::http::chain(&error)),
    }
}

/// A line without its end; none at the end of everything.
///
/// # Errors
/// The reader's, and a line that is larger than a message may be.
async fn next_line(from: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Bytes>> {
    let most = catalog::topic::MAX_MESSAGE as u64 + 1;
    let mut line = Vec::new();
    let count = (&mut *from).take(most).read_until(b'\n', &mut line).await?;
    if count == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if count as u64 == most {
        return Err(std::io::Error::other(format!("a line is larger than {} bytes", most - 1)));
    }
    Ok(Some(line.into()))
}
