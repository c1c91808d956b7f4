//! A FIFO whose lines are published. Best effort: a writer learns nothing of what became of its lines, and what
//! is in the pipe when the daemon is killed is lost.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use state::Drain;
use store::Store;
use tokio::io::BufReader;
use tokio::net::unix::pipe::{OpenOptions, Receiver};

use super::{Fifo, append, next_line};

/// Publishes lines until it is time to leave.
pub(super) async fn follow(fifo: &Fifo, store: &Store, drain: &Drain) {
    let path = fifo.path.display();
    let pipe = match open(&fifo.path) {
        Ok(pipe) => pipe,
        Err(error) => {
            return tracing::error!(%path, %error, "the FIFO cannot be read; its topic goes on without it");
        }
    };
    tracing::info!(%path, topic = fifo.topic, "publishing the lines of a FIFO");
    let mut lines = BufReader::new(pipe);
    loop {
        let line = tokio::select! {
            line = next_line(&mut lines) => line,
            () = drain.started() => return,
        };
        match line {
            Ok(Some(line)) => {
                if let Err(why) = append(store, &fifo.topic, line).await {
                    tracing::warn!(%path, topic = fifo.topic, why, "a line of a FIFO was not published");
                }
            }
            Ok(None) => return tracing::error!(%path, "the FIFO has ended"),
            Err(error) => tracing::warn!(%path, %error, "a line of a FIFO cannot be published"),
        }
    }
}

/// Open for writing too, so that it does not end with its last writer.
fn open(path: &Path) -> io::Result<Receiver> {
    match mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) => {}
        Err(error) if error == rustix::io::Errno::EXIST => {}
        Err(error) => return Err(error.into()),
    }
    OpenOptions::new().read_write(true).open_receiver(path)
}
