//! Lists from the daemon, once or as they change.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::Global;
use crate::exit::{Exit, Result};
use crate::output::Row;
use crate::remote::{Answer, Remote};

/// `--watch`, the same on every list.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Watch {
    /// Show the list again whenever it changes, until interrupted
    #[arg(long, short)]
    pub(crate) watch: bool,
}

/// Shows what `path` answers as rows.
pub(crate) async fn show<T: DeserializeOwned, R: Row + Serialize>(
    remote: &Remote,
    global: &Global,
    path: &str,
    watch: Watch,
    rows: impl Fn(T) -> Vec<R>,
) -> Result {
    show_answers(remote, global, path, watch, |answer| answer.json().map(&rows)).await
}

/// The same where "not found" means an empty list, as with keys.
pub(crate) async fn show_or_empty<T: DeserializeOwned + Default, R: Row + Serialize>(
    remote: &Remote,
    global: &Global,
    path: &str,
    watch: Watch,
    rows: impl Fn(T) -> Vec<R>,
) -> Result {
    if !watch.watch {
        return match remote.get(path).await {
            Err(failure) if failure.exit == Exit::NotFound => Ok(global.out().list(&rows(T::default()))?),
            answer => Ok(global.out().list(&rows(answer?.json()?))?),
        };
    }
    show_answers(remote, global, path, watch, |answer| answer.json().map(&rows)).await
}

async fn show_answers<R: Row + Serialize>(
    remote: &Remote,
    global: &Global,
    path: &str,
    watch: Watch,
    rows: impl Fn(&Answer) -> Result<Vec<R>>,
) -> Result {
    let out = global.out();
    if !watch.watch {
        return Ok(out.list(&rows(&remote.get(path).await?)?)?);
    }
    let first = remote.get(path).await?;
    let mut seen = first.index;
    out.state(seen, &rows(&first)?)?;
    loop {
        let answer = next(remote, path, seen).await?;
        // An index that went back belongs to another history: begin anew, as Consul's clients do.
        if answer.index != seen {
            out.state(answer.index, &rows(&answer)?)?;
        }
        seen = answer.index;
    }
}

/// The next answer; a daemon that restarts is waited for.
async fn next(remote: &Remote, path: &str, seen: u64) -> Result<Answer> {
    let mut is_lost = false;
    loop {
        match remote.get_after(path, if is_lost { 0 } else { seen }).await {
            Err(failure) if failure.exit == Exit::Unreachable => {
                if !is_lost {
                    eprintln!("lost the daemon at {}; trying again", remote.shown());
                }
                is_lost = true;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            answer => return answer,
        }
    }
}
