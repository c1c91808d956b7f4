//! A cluster's order in etcd: how a node takes part in it, and what it remembers of that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::order::{Engine, Part, warn_of};
use crate::config::{Carried, Config, EtcdOrder};
use crate::daemon::file;
use crate::many::begin;
use crate::many::order::SharedOrder;

/// What a node writes down about its order in etcd, so that no other settings lead it elsewhere unnoticed.
const MARK: &str = "etcd.json";

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// What the order's keys begin with.
    prefix: String,
    /// Names the hand-over of what the first node had decided alone.
    hand_over: String,
}

/// Opens it; the founder goes on with what it had decided alone, the others put theirs aside.
pub(super) async fn open(
    config: &Config,
    (alone, order): (&Path, &Path),
    part: &Part<'_>,
) -> anyhow::Result<Engine> {
    let own = part.member.server();
    let mut settings = settings(&config.cluster.etcd)?;
    settings.candidate = (own != 0).then_some(own);
    let mark = mark(order, &settings.prefix)?;
    if part.member.is_founder() && alone.is_dir() {
        let mut from = log::solo::Config::new(alone);
        from.segment_bytes = config.storage.segment_size;
        let begun = log::etcd::take_over(&from, &settings, &mark.hand_over).await;
        let begun = begun.with_context(|| format!("go on in etcd with the order in {}", alone.display()))?;
        tracing::info!(last = begun.last, "what this node had decided alone is in etcd now");
    }
    begin::set_aside(alone)?;
    let (log, events) = log::etcd::open(&settings).context("open the order in etcd")?;
    warn_of(&*log);
    Ok((log.clone(), events, Some(SharedOrder::Etcd(log, own))))
}

/// Refuses where the order of this node's cluster is known to be in etcd.
pub(super) fn must_not_be_in_etcd(order: &Path) -> anyhow::Result<()> {
    match read(order)? {
        None => Ok(()),
        Some(mark) => bail!(
            "the order of this node's cluster is in etcd, under {}: say cluster.order = \"etcd\" and \
             cluster.etcd.endpoints",
            mark.prefix
        ),
    }
}

fn path(order: &Path) -> PathBuf {
    order.join(MARK)
}

fn read(order: &Path) -> anyhow::Result<Option<Mark>> {
    let path = path(order);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let mark = serde_json::from_slice(&bytes);
            mark.map(Some).with_context(|| format!("read where the order is from {}", path.display()))
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause).with_context(|| format!("read {}", path.display())),
    }
}

/// The mark of an earlier start, else one that is written now.
fn mark(order: &Path, prefix: &str) -> anyhow::Result<Mark> {
    if let Some(mark) = read(order)? {
        if mark.prefix != prefix {
            bail!(
                "the order of this node's cluster is in etcd under {}, and cluster.etcd.prefix is {prefix}",
                mark.prefix
            );
        }
        return Ok(mark);
    }
    if order.is_dir() {
        bail!(
            "the servers of this node's cluster keep its order, in {}: cluster.order = \"etcd\" must be said \
             before `portolan init`",
            order.display()
        );
    }
    let mark = Mark { prefix: prefix.to_owned(), hand_over: format!("{:016x}", fastrand::u64(..)) };
    let written = || {
        std::fs::create_dir_all(order)?;
        file::replace(&path(order), &serde_json::to_vec(&mark)?)
    };
    written().with_context(|| format!("write {}", path(order).display()))?;
    Ok(mark)
}

/// What the log wants to know, with the files checked.
///
/// # Errors
/// Which setting or file makes no sense.
fn settings(etcd: &EtcdOrder) -> anyhow::Result<log::etcd::Config> {
    let mut settings = log::etcd::Config::new(etcd.endpoints.clone());
    settings.prefix = etcd.prefix.clone();
    settings.files = log::etcd::Files {
        ca: etcd.ca_file.clone(),
        cert: etcd.cert_file.clone(),
        key: etcd.key_file.clone(),
    };
    settings.login = match (&etcd.user, &etcd.password_file) {
        (None, None) => None,
        (Some(user), Some(path)) => {
            let password = std::fs::read_to_string(path)
                .with_context(|| format!("read cluster.etcd.password_file {}", path.display()))?;
            Some(log::etcd::Login { user: user.clone(), password: password.trim_end().to_owned() })
        }
        _ => bail!("cluster.etcd.user needs cluster.etcd.password_file, and that a user"),
    };
    settings.check().context("use the settings in [cluster.etcd]")?;
    Ok(settings)
}

/// Fails where etcd is to carry the order and the settings say no sense, or name files that do not read; also before
/// this node is a member, when nothing of it is needed yet.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    match config.cluster.order {
        Carried::Servers => Ok(()),
        Carried::Etcd => settings(&config.cluster.etcd).map(drop),
    }
}

/// What the keys begin with, where this engine carries the order.
pub(super) fn prefix(shared: Option<&SharedOrder>, config: &Config) -> Option<Arc<str>> {
    matches!(shared, Some(SharedOrder::Etcd(..))).then(|| config.cluster.etcd.prefix.as_str().into())
}
