//! `portolan orphans`: public names that carry this node's mark and that nobody wishes any more.

use std::collections::BTreeSet;

use consul::exposure::Exposures;
use expose::NameSettings;
use expose::names::{Key, Provider as _, Rfc2136};
use serde::Serialize;

use super::sources::SourceArgs;
use crate::cli::Global;
use crate::compose::keeper;
use crate::config::load;
use crate::exit::{Exit, Failure, Result};
use crate::output::Row;
use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
    /// Take them away
    #[arg(long)]
    remove: bool,
    /// Also list names of other owners and whatever is wished, with each one's owner; never removes those
    #[arg(long, conflicts_with = "remove")]
    all: bool,
}

/// A name with a mark.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Marked {
    name: String,
    kind: &'static str,
    owner: String,
    state: &'static str,
}

impl Row for Marked {
    const COLUMNS: &'static [&'static str] = &["name", "kind", "owner", ""];
    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.kind.to_owned(), self.owner.clone(), self.state.to_owned()]
    }
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let config = load(&args.sources.sources()?)?.config;
    let remote = Remote::new(global)?;
    super::block_on(async move {
        // Without the daemon nobody knows what is wished, and every name would seem to be an orphan.
        let shown = remote.get::<Exposures>("/v1/portolan/exposures").await?.value;
        if !shown.heard {
            return Err(Failure::new(Exit::Failure, unheard(&shown))
                .advise("try again when all are heard: portolan exposures"));
        }
        let wished: BTreeSet<&str> = shown.names.iter().map(|name| &**name).collect();
        let mut rows = Vec::new();
        for settings in &config.public_dns {
            let NameSettings::Rfc2136(settings) = settings else { continue };
            let owner = settings.owner.clone().unwrap_or_else(|| shown.node.to_string());
            let names = keeper(settings, &shown.node)?;
            for (key, marked) in names.marked().await.map_err(anyhow::Error::from)? {
                let state = match () {
                    // Proof for an authority, there for moments.
                    () if key.0.starts_with("_acme-challenge.") => continue,
                    () if wished.contains(&*key.0) => "wished",
                    () if marked != owner => "another's",
                    () if args.remove => taken_away(&names, &key).await?,
                    () => "orphan",
                };
                rows.push(Marked { name: key.0.to_string(), kind: key.1.word(), owner: marked, state });
            }
        }
        rows.retain(|row| args.all || ["orphan", "removed"].contains(&row.state));
        if rows.is_empty() && !args.all {
            global.out().say("no public name is left behind")?;
            if global.output == crate::output::Format::Table {
                return Ok(());
            }
        }
        Ok(global.out().list(&rows)?)
    })
}

async fn taken_away(names: &Rfc2136, key: &Key) -> Result<&'static str> {
    names.remove(key).await.map_err(anyhow::Error::from)?;
    Ok("removed")
}

/// Who is not heard may wish any of them.
fn unheard(shown: &Exposures) -> anyhow::Error {
    let trouble = if shown.trouble.is_empty() { "it has just begun" } else { &shown.trouble };
    anyhow::anyhow!("the daemon does not know yet which names are wished ({trouble})")
}
