//! `portolan instances [SERVICE]`

use client::Indexed;
use consul::listing::{ServiceEntry, ServiceTags};
use serde::Serialize;
use serde::de::IgnoredAny;

use super::listing::{self, Watch};
use crate::cli::Global;
use crate::exit::{Exit, Result};
use crate::output::Row;
use crate::remote::{Remote, encoded};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only instances of this service
    service: Option<String>,
    #[command(flatten)]
    watch: Watch,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        match args.service {
            Some(service) => {
                let path = format!("/v1/health/service/{}", encoded(&service));
                listing::show(&remote, global, &path, args.watch, |entries: Vec<ServiceEntry>| {
                    entries.into_iter().map(Instance).collect()
                })
                .await
            }
            None if args.watch.watch => watch_all(&remote, global).await,
            None => Ok(global.out().list(&all(&remote).await?)?),
        }
    })
}

async fn all(remote: &Remote) -> Result<Vec<Instance>> {
    let names: ServiceTags = remote.get("/v1/catalog/services").await?.value;
    let mut rows = Vec::new();
    for name in names.keys() {
        let path = format!("/v1/health/service/{}", encoded(name));
        let entries: Vec<ServiceEntry> = remote.get(&path).await?.value;
        rows.extend(entries.into_iter().map(Instance));
    }
    Ok(rows)
}

/// Waits on what depends on every instance, and lists them anew whenever it moved.
async fn watch_all(remote: &Remote, global: &Global) -> Result {
    let mut seen = 0;
    loop {
        let moved: Indexed<IgnoredAny> = listing::next(remote, "/v1/portolan/services", seen).await?;
        if moved.index == seen {
            continue;
        }
        match all(remote).await {
            Ok(rows) => global.out().state(moved.index, &rows)?,
            // Asked again from the start: the next question waits for the daemon to come back.
            Err(failure) if failure.exit == Exit::Unreachable => {
                seen = 0;
                continue;
            }
            Err(failure) => return Err(failure),
        }
        seen = moved.index;
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Instance(ServiceEntry);

impl Instance {
    fn address(&self) -> String {
        let own = &self.0.service.address;
        let address = if own.is_empty() { &self.0.node.address } else { own };
        match address.contains(':') {
            true => format!("[{address}]:{}", self.0.service.port),
            false => format!("{address}:{}", self.0.service.port),
        }
    }

    /// The worst of its checks.
    fn status(&self) -> &str {
        let has = |status: &str| self.0.checks.iter().any(|check| &*check.status == status);
        ["critical", "warning"].into_iter().find(|status| has(status)).unwrap_or("passing")
    }
}

impl Row for Instance {
    const COLUMNS: &'static [&'static str] = &["service", "instance", "node", "address", "health", "tags"];
    fn cells(&self) -> Vec<String> {
        let entry = &self.0;
        vec![
            entry.service.service.to_string(),
            entry.service.id.to_string(),
            entry.node.node.to_string(),
            self.address(),
            self.status().to_owned(),
            entry.service.tags.join(","),
        ]
    }
}
