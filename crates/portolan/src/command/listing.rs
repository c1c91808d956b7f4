//! Lists from the daemon, once or as they change.

use std::time::Duration;

use client::Indexed;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::Global;
use crate::exit::{Exit, Result};
use crate::output::Row;
use crate::remote::Remote;

/// `--watch`, the same on every list.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Watch {
    /// Show the list again whenever it changes, until interrupted
    #[arg(long, short)]
    pub(crate) watch: bool,
}

/// Shows what `path` answers as rows. Of keys "not found" is an empty list, as Consul has it; of anything else it means that
/// whatever answers is no daemon of ours.
pub(crate) async fn show<T, R>(
    remote: &Remote,
    global: &Global,
    path: &str,
    watch: Watch,
    rows: impl Fn(T) -> Vec<R>,
) -> Result
where
    T: DeserializeOwned + Default,
    R: Row + Serialize,
{
    let out = global.out();
    let first = or_empty(path, remote.get(path).await)?;
    if !watch.watch {
        return Ok(out.list(&rows(first.value))?);
    }
    let mut seen = first.index;
    out.state(seen, &rows(first.value))?;
    loop {
        let next: Indexed<T> = next(remote, path, seen).await?;
        // An index that went back belongs to another history: begin anew, as Consul's clients do.
        if next.index != seen {
            out.state(next.index, &rows(next.value))?;
        }
        seen = next.index;
    }
}

/// The next answer; a daemon that restarts is waited for.
pub(crate) async fn next<T: DeserializeOwned + Default>(
    remote: &Remote,
    path: &str,
    seen: u64,
) -> Result<Indexed<T>> {
    let mut is_lost = false;
    loop {
        match or_empty(path, remote.get_after(path, if is_lost { 0 } else { seen }).await) {
            Err(failure) if failure.exit == Exit::Unreachable => {
                if !is_lost {
                    eprintln!("lost the daemon at {}; trying again", remote.client.address());
                }
                is_lost = true;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            // Without an index to wait on, ask again at leisure rather than at once.
            Ok(answer) if answer.index == 0 => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                return Ok(answer);
            }
            answer => return answer,
        }
    }
}

fn or_empty<T: Default>(path: &str, answer: Result<Indexed<T>>) -> Result<Indexed<T>> {
    match answer {
        Err(failure) if failure.exit == Exit::NotFound && path.starts_with("/v1/kv") => {
            Ok(Indexed { value: T::default(), index: 0 })
        }
        answer => answer,
    }
}
