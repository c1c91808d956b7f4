//! `portolan snapshot save|restore|inspect`: the whole state as a file.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::remote::Remote;

/// Most bytes that an archive may hold.
const LARGEST: usize = 1 << 30;
/// A large state takes its time on the way; `--timeout` may ask for more.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Snapshot {
    /// Save the state of the cluster
    Save {
        /// File to write, which only its owner may read: keys hold secrets
        file: PathBuf,
        /// Take what the node has that is asked, also when it is cut off from the others
        #[arg(long)]
        stale: bool,
    },
    /// Replace the state of the cluster by a saved one
    Restore {
        /// File to read
        file: PathBuf,
    },
    /// Check a saved state and show what it is of
    Inspect {
        /// File to read
        file: PathBuf,
    },
}

pub(crate) fn run(snapshot: Snapshot, global: &Global) -> Result {
    match snapshot {
        Snapshot::Save { file, stale } => save(&file, stale, global),
        Snapshot::Restore { file } => restore(&file, global),
        Snapshot::Inspect { file } => inspect(&file, global),
    }
}

fn save(file: &Path, stale: bool, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let path = if stale { "/v1/snapshot?stale" } else { "/v1/snapshot" };
        let limit = PATIENCE.max(global.timeout);
        let archive = remote.client.get_bytes(path, LARGEST, limit).await.map_err(Failure::from)?;
        // What cannot be read back is not kept.
        let meta = meta(&archive.value).with_context(|| "check the snapshot that the daemon sent")?;
        write(file, &archive.value).with_context(|| format!("write {}", file.display()))?;
        let index = &meta["Index"];
        Ok(global.out().say(&format!("saved the state at index {index} to {}", file.display()))?)
    })
}

/// Writes beside and renames, so that a file of that name is whole or the one before.
fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let mut options = fs::OpenOptions::new();
    let mut to = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    to.write_all(bytes)?;
    to.sync_all()?;
    fs::rename(unfinished, file)
}

fn restore(file: &Path, global: &Global) -> Result {
    let bytes = read(file)?;
    meta(&bytes).with_context(|| format!("read {}", file.display()))?;
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let limit = PATIENCE.max(global.timeout);
        remote.client.put_bytes("/v1/snapshot", bytes, limit).await.map_err(Failure::from)?;
        Ok(global.out().say(&format!("the state is that of {} now", file.display()))?)
    })
}

fn inspect(file: &Path, global: &Global) -> Result {
    let bytes = read(file)?;
    let mut meta = meta(&bytes).with_context(|| format!("read {}", file.display()))?;
    let state = catalog::checkpoint::read(&state(&bytes)?[..]).context("read the state")?;
    let counts = serde_json::json!({
        "nodes": state.nodes().count(), "services": state.service_count(), "instances": state.instance_count(),
        "keys": state.keys_under("").count(), "sessions": state.sessions().count(),
        "queries": state.queries().count(), "topics": state.topics().count(),
    });
    meta["Holds"] = counts;
    Ok(global.out().one(&meta, || {
        let line = |name: &str, value: &Value| match value {
            Value::String(text) => format!("{name:12} {text}"),
            other => format!("{name:12} {other}"),
        };
        let own = meta.as_object().into_iter().flatten().filter(|(name, _)| *name != "Holds");
        let held = meta["Holds"].as_object().into_iter().flatten();
        own.chain(held).map(|(name, value)| line(name, value)).collect::<Vec<_>>().join("\n")
    })?)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|cause| {
        let exit = if cause.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failure };
        Failure::new(exit, anyhow!(cause).context(format!("read {}", file.display())))
    })
}

/// What an archive says of itself, once its sums are right.
fn meta(bytes: &[u8]) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&part(bytes, "meta.json")?)?)
}

fn state(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    part(bytes, "state.bin")
}

fn part(bytes: &[u8], name: &str) -> anyhow::Result<Vec<u8>> {
    let files = archive::unpack(bytes, LARGEST)?;
    let file = files.into_iter().find(|file| file.name == name);
    Ok(file.with_context(|| format!("there is no {name} in it"))?.bytes)
}
