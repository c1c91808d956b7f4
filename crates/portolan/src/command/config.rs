//! `portolan config show`: every setting in effect, and who gave it.

use serde::Serialize;

use super::sources::SourceArgs;
use crate::cli::Global;
use crate::config::load;
use crate::exit::Result;
use crate::output::Row;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Config {
    /// Print every setting as `serve` would see it
    Show(Show),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    sources: SourceArgs,
    /// Say where each value came from: `file:line`, `env NAME`, `flag --NAME` or `default`
    #[arg(long)]
    origin: bool,
}

#[derive(Serialize)]
struct Plain {
    key: String,
    value: serde_json::Value,
}

#[derive(Serialize)]
struct WithOrigin {
    key: String,
    value: serde_json::Value,
    origin: String,
}

impl Row for Plain {
    const COLUMNS: &'static [&'static str] = &["key", "value"];
    fn cells(&self) -> Vec<String> {
        vec![self.key.clone(), shown(&self.value)]
    }
}

impl Row for WithOrigin {
    const COLUMNS: &'static [&'static str] = &["key", "value", "origin"];
    fn cells(&self) -> Vec<String> {
        vec![self.key.clone(), shown(&self.value), self.origin.clone()]
    }
}

fn shown(value: &serde_json::Value) -> String {
    if value.is_null() { "(unset)".into() } else { value.to_string() }
}

pub(crate) fn run(Config::Show(args): Config, global: &Global) -> Result {
    let loaded = load(&args.sources.sources()?)?;
    let settings = loaded.settings.into_iter();
    if args.origin {
        let rows = settings.map(|(key, setting)| WithOrigin {
            key,
            value: setting.value,
            origin: setting.origin.to_string(),
        });
        global.out().list(&rows.collect::<Vec<_>>())?;
    } else {
        let rows = settings.map(|(key, setting)| Plain { key, value: setting.value });
        global.out().list(&rows.collect::<Vec<_>>())?;
    }
    Ok(())
}
