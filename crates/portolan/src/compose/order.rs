//! The one order that this node takes part in: which engine carries it, and the store on top.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use log::paxos::{Begin, ServerId};
use log::transport::LinkReceiver;
use log::{Log, LogError};
use store::{Events, Store};

use super::etcd;
use crate::config::{Carried, Config, Storage};
use crate::daemon::home::Home;
use crate::daemon::lives::Lives;
use crate::many::begin;
use crate::many::carrier::Carrier;
use crate::many::member::Membership;
use crate::many::order::{SharedOrder, must_be_ours};
use crate::progress;

/// One turn of a shared order may hold this much.
const LEAST_SHARED_SEGMENT: u64 = 64 << 20;

/// How long the others may take to agree before whoever waits is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open order.
pub(super) struct Order {
    pub(super) store: Store,
    /// Where several nodes agree: who leads, who votes.
    pub(super) shared: Option<SharedOrder>,
}

/// A member's part of it.
pub(super) struct Part<'a> {
    pub(super) member: &'a Membership,
    pub(super) carrier: &'a Carrier,
    pub(super) frames: LinkReceiver,
}

/// Opens the order and replays what this node knows of it.
pub(super) async fn open(
    settings: &Config,
    home: Option<&Home>,
    part: Option<Part<'_>>,
    node: &str,
) -> anyhow::Result<Order> {
    let member = part.as_ref().map(|part| part.member);
    let mut lives = home.map(|home| Lives::begin(home.dir())).transpose()?;
    let (log, events, shared) = engine(settings, home, part).await?;
    let mut config = store::Config::new(node);
    config.checkpoint_bytes = settings.storage.checkpoint_size;
    config.least_epoch = lives.as_ref().map_or(1, Lives::count);
    config.patience = shared.is_some().then_some(PATIENCE);
    let say = |seconds| tracing::info!(seconds, "replaying the log");
    let store = progress::watched(store::open(config, log, events), say).await.context("open the catalog")?;
    if let Some((prefix, member)) = etcd::prefix(shared.as_ref(), settings).zip(member) {
        must_be_ours(&prefix, store.now().cluster().id(), &member.cluster(), member.is_founder())?;
    }
    // Before anything is submitted.
    lives.as_mut().map_or(Ok(()), |lives| lives.advance_to(store.epoch()))?;
    Ok(Order { store, shared })
}

pub(super) type Engine = (Arc<dyn Log>, Events, Option<SharedOrder>);

async fn engine(settings: &Config, home: Option<&Home>, part: Option<Part<'_>>) -> anyhow::Result<Engine> {
    let Some(home) = home else {
        let (log, events) = log::memory::open(log::memory::Config::default());
        return Ok((log, events, None));
    };
    let (alone, order) = (home.dir().join("log"), home.dir().join("order"));
    match part {
        None => open_alone(&settings.storage, &alone),
        Some(part) if settings.cluster.order == Carried::Etcd => {
            etcd::open(settings, (&alone, &order), &part).await
        }
        Some(part) => {
            etcd::must_not_be_in_etcd(&order)?;
            open_shared(&settings.storage, &alone, &order, part)
        }
    }
}

/// One node that agrees with itself.
fn open_alone(settings: &Storage, folder: &Path) -> anyhow::Result<Engine> {
    let mut disk = log::solo::Config::new(folder);
    disk.segment_bytes = settings.segment_size;
    let (log, events) = opened(log::solo::open(&disk), folder)?;
    warn_of(&*log);
    Ok((log, events, None))
}

/// Several nodes that agree, or one that is about to be joined. Whoever joins begins with nothing and is sent
/// everything; what it had decided alone is put aside.
fn open_shared(settings: &Storage, alone: &Path, order: &Path, part: Part<'_>) -> anyhow::Result<Engine> {
    match part.member.is_founder() {
        true => take_over(settings, alone, order, part.member)?,
        false => begin::set_aside(alone)?,
    }
    let config = shared_config(settings, order, part.member);
    let (log, events) =
        opened(log::paxos::open(&config, Arc::new(part.carrier.clone()), part.frames), order)?;
    warn_of(&*log);
    Ok((log.clone(), events, Some(SharedOrder::Servers(log))))
}

/// Makes the order of a member that does not run need one of its two voters no more.
///
/// # Errors
/// More vote, or others; what the disk says.
pub(crate) fn recover(
    settings: &Config,
    home: &Home,
    member: &Membership,
    lost: u64,
) -> anyhow::Result<log::paxos::GoesOn> {
    if settings.cluster.order == Carried::Etcd {
        bail!("etcd keeps this cluster's order, and needs its own majority");
    }
    if lost == member.server() {
        bail!("that is this node itself");
    }
    let order = home.dir().join("order");
    let config = shared_config(&settings.storage, &order, member);
    Ok(log::paxos::go_on_without(&config, ServerId(lost))?)
}

/// The founder goes on with what it had decided alone.
fn take_over(settings: &Storage, alone: &Path, order: &Path, member: &Membership) -> anyhow::Result<()> {
    let mut from = log::solo::Config::new(alone);
    from.segment_bytes = settings.segment_size;
    let taken = log::paxos::take_over(&from, &shared_config(settings, order, member));
    taken.with_context(|| format!("go on with the order in {} as a cluster's", alone.display()))?;
    Ok(())
}

fn shared_config(settings: &Storage, order: &Path, member: &Membership) -> log::paxos::Config {
    let mut config = log::paxos::Config::new(order, ServerId(member.number()));
    config.segment_bytes = settings.segment_size.max(LEAST_SHARED_SEGMENT);
    config.begin = if member.is_founder() { Begin::Never } else { Begin::Join };
    config
}

fn opened<T>(result: Result<T, LogError>, folder: &Path) -> anyhow::Result<T> {
    result.with_context(|| format!("open the log in {}", folder.display()))
}

pub(super) fn warn_of(log: &dyn Log) {
    for warning in log.status().warnings {
        tracing::warn!(warning, "the log was opened, but not as it was left");
    }
}
