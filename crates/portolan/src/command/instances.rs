//! `portolan instances [SERVICE]`

use anyhow::anyhow;
use consul::listing::{ServiceEntry, ServiceTags};
use serde::Serialize;

use super::listing::{self, Watch};
use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
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
            None if args.watch.watch => {
                let cause = anyhow!("--watch follows the instances of one service");
                Err(Failure::new(Exit::Usage, cause).advise("portolan instances SERVICE --watch"))
            }
            None => all(&remote, global).await,
        }
    })
}

async fn all(remote: &Remote, global: &Global) -> Result {
    let names: ServiceTags = remote.get("/v1/catalog/services").await?.value;
    let mut rows = Vec::new();
    for name in names.keys() {
        let path = format!("/v1/health/service/{}", encoded(name));
        let entries: Vec<ServiceEntry> = remote.get(&path).await?.value;
        rows.extend(entries.into_iter().map(Instance));
    }
    Ok(global.out().list(&rows)?)
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
