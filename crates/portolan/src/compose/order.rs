//! The one order that this node takes part in: which engine carries it, and the store on top.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use log::Log;
use store::{Events, Store};

use crate::config::Storage;
use crate::daemon::home::Home;
use crate::daemon::lives::Lives;
use crate::progress;

/// Opens the order and replays what this node knows of it.
pub(super) async fn open(settings: &Storage, home: Option<&Home>, node: &str) -> anyhow::Result<Store> {
    let mut lives = home.map(|home| Lives::begin(home.dir())).transpose()?;
    let (log, events) = engine(settings, home)?;
    let mut config = store::Config::new(node);
    config.checkpoint_bytes = settings.checkpoint_size;
    config.least_epoch = lives.as_ref().map_or(1, Lives::count);
    let say = |seconds| tracing::info!(seconds, "replaying the log");
    let store = progress::watched(store::open(config, log, events), say).await.context("open the catalog")?;
    // Before anything is submitted.
    lives.as_mut().map_or(Ok(()), |lives| lives.advance_to(store.epoch()))?;
    Ok(store)
}

fn engine(settings: &Storage, home: Option<&Home>) -> anyhow::Result<(Arc<dyn Log>, Events)> {
    match home {
        None => {
            let (log, events) = log::memory::open(log::memory::Config::default());
            Ok((log, events))
        }
        Some(home) => alone(settings, &home.dir().join("log")),
    }
}

/// One node that agrees with itself.
fn alone(settings: &Storage, folder: &Path) -> anyhow::Result<(Arc<dyn Log>, Events)> {
    let mut disk = log::solo::Config::new(folder);
    disk.segment_bytes = settings.segment_size;
    let opened = log::solo::open(&disk);
    let (log, events) = opened.with_context(|| format!("open the log in {}", folder.display()))?;
    for warning in log.status().warnings {
        tracing::warn!(warning, "the log was opened, but not as it was left");
    }
    Ok((log, events))
}
